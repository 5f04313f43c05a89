"""Finds the layers of a network, in the order in which the network uses them.

A layer is a weight of rank ≥ 2 that enters a matrix product, a convolution or a table look-up, together with its bias.
Layers are read off the structure of the parameters and off the traced computation, never off names.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError
from mtnets.networks.programs import Use, first_uses, out_axes
from mtnets.trees import leaves_by_path

LINEAR = {"dot_general", "conv_general_dilated", "gather"}
ADDITIVE = {"add", "sub", "add_any"}
SCALING = {"mul", "div"}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A weight and its bias.

    Attributes:
      name: the path of the container that holds both.
      weight: path of the weight in the parameter tree.
      bias: path of the bias, or None.
      shape: shape of the weight.
      out_axes: the axes of the weight that index its output units, in order.
      groups: number of groups of a grouped convolution, each of which computes a run of units from its share of the
        inputs; otherwise 1.
      bias_shape: shape of the bias where it differs from that of one output, for example where it is flat.
      alike: whether its units are classes, of which there are as many as a task has: then everything that is
        meta-learned of one unit serves all.
    """

    name: str
    weight: str
    bias: str | None
    shape: tuple[int, ...]
    out_axes: tuple[int, ...]
    groups: int = 1
    bias_shape: tuple[int, ...] | None = None
    alike: bool = False

    @property
    def units(self) -> int:
        """Number of output units."""
        return math.prod(self.out_shape)

    @property
    def rows(self) -> int:
        """Rows of the weight as a matrix, the bias being one."""
        return math.prod(self.shape) // self.units + (self.bias is not None)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of one output."""
        return tuple(self.shape[axis] for axis in self.out_axes)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the weight and, where there is one, of the bias."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def of_classes(self, ways: int) -> "Layer":
        """The layer with a unit for each of some classes.

        Raises:
          OptionError: for a layer whose units are not along one axis.
        """
        if len(self.out_axes) != 1 or self.groups != 1 or self.bias_shape is not None:
            raise OptionError(
                f"{self.name} is {self.shape}, whose units are not along one axis; a head for any number of classes "
                "needs a dense layer at the end of the network."
            )
        shape = tuple(ways if axis in self.out_axes else size for axis, size in enumerate(self.shape))
        return dataclasses.replace(self, shape=shape, alike=True)

    def passing(self, dtype: Any) -> dict[str, Array]:
        """Weights with which a dense layer returns what enters it."""
        inputs = self.rows - (self.bias is not None)
        return self.of_classes(inputs).leaves(jnp.eye(self.rows, inputs, dtype=dtype))

    def matrix(self, leaves: Mapping[str, Array]) -> Array:
        """The weight with the bias as its last row, `[inputs (+ 1), units]`."""
        weight = jnp.moveaxis(leaves[self.weight], self.out_axes, self._last).reshape(-1, self.units)
        if self.bias is None:
            return weight
        return jnp.concatenate([weight, leaves[self.bias].reshape(1, self.units)])

    def leaves(self, matrix: Array) -> dict[str, Array]:
        """The inverse of `matrix`."""
        inputs = math.prod(self.shape) // self.units
        front = tuple(size for axis, size in enumerate(self.shape) if axis not in self.out_axes)
        weight = matrix[:inputs].reshape(*front, *self.out_shape)
        result = {self.weight: jnp.moveaxis(weight, self._last, self.out_axes)}
        if self.bias is None:
            return result
        return result | {self.bias: matrix[inputs].reshape(self.bias_shape or self.out_shape)}

    @property
    def _last(self) -> tuple[int, ...]:
        return tuple(range(len(self.shape) - len(self.out_axes), len(self.shape)))


class Structure(NamedTuple):
    """What a network consists of.

    Attributes:
      layers: in the order of their first use.
      loose: shapes of the leaves that lie in no layer, by path.
      normalising: those of them that scale or shift something normalised.
    """

    layers: tuple[Layer, ...]
    loose: dict[str, tuple[int, ...]]
    normalising: frozenset[str]


def find_layers(forward: Callable[[Any], Any], params: Any) -> tuple[Layer, ...]:
    """The layers of a network, ordered by first use; see `structure_of`."""
    return structure_of(forward, params).layers


def structure_of(forward: Callable[[Any], Any], params: Any) -> Structure:
    """Finds the layers of a network, orders them by first use, and lists the leaves in none.

    The output axes of a weight are those that index the outputs of the first operation that it enters: the free axes of
    a matrix product, the features of a convolution, the last axis of a table's entries. They are followed back through
    transposed, flipped and merged axes; where an axis was split, the last axis of the weight is taken. A weight that is
    used several times, as in a recurrent cell, is one layer. The bias of a weight is a leaf that is added to its
    product, or the next leaf of the same container that is used after it and added, provided that it has the shape of
    the output axes. It may also be flat with as many elements, or have axes of size one in place of a convolution's
    image.

    Args:
      forward: the network as a function of its parameters. It is traced, not run.
      params: parameters or their shapes.

    Raises:
      OptionError: if no weight of rank ≥ 2 enters a linear operation.
    """
    closed = jax.make_jaxpr(forward)(params)
    shapes = {path: tuple(leaf.shape) for path, leaf in leaves_by_path(params).items()}
    paths = list(shapes)
    layers: dict[str, Layer] = {}  # by the path of the weight, in the order of first use
    weights: dict[int, Use] = {}  # by number
    waiting: dict[str, Use] = {}  # container → use of the weight in it whose bias may come next
    normalising: set[str] = set()
    for use in first_uses(closed.jaxpr):
        path = paths[use.leaf.number]
        container, shape = path.rpartition(".")[0], shapes[path]
        if use.beside.normalised and use.primitive in ADDITIVE | SCALING:
            normalising.add(path)
        weight = waiting.pop(container, None)
        if use.primitive == "add" and use.beside.product in weights:
            weight = weights[use.beside.product]
        layer = layers[paths[weight.leaf.number]] if weight else None
        if layer and not layer.bias and weight and use.primitive in ADDITIVE and _is_bias(shape, layer, weight):
            layers[layer.weight] = dataclasses.replace(
                layer, bias=path, bias_shape=None if shape == layer.out_shape else shape
            )
        elif len(shape) >= 2 and use.primitive in LINEAR:
            axes, groups = ((len(shape) - 1,), 1) if (free := out_axes(use)) is None else (free, use.groups)
            if not axes and shape[-1] == 1:  # a single unit
                axes = (len(shape) - 1,)
            layers[path] = Layer(container or path, path, None, shape, axes, groups)
            waiting[container] = weights[use.leaf.number] = use

    if not layers:
        leaves = ", ".join(f"{path} {shape}" for path, shape in shapes.items()) or "no parameters"
        raise OptionError(
            f"The network has no layer to adapt (it has {leaves}); it needs a weight of rank ≥ 2 that enters a matrix "
            "product, a convolution or a table look-up."
        )
    names = [layer.name for layer in layers.values()]
    renamed = tuple(
        layer if names.count(layer.name) == 1 else dataclasses.replace(layer, name=layer.weight)
        for layer in layers.values()
    )
    in_layers = {path for layer in renamed for path in layer.paths}
    loose = {path: shape for path, shape in shapes.items() if path not in in_layers}
    return Structure(renamed, loose, frozenset(normalising))


def named(
    layers: Sequence[Layer], naming: Mapping[str, tuple[str, str | None]], leaves: Mapping[str, Any]
) -> tuple[Layer, ...]:
    """The layers that the user names, in the order of their first use.

    Args:
      layers: all layers of the network.
      naming: names, with the paths of their weight and bias.
      leaves: all leaves by path.

    Raises:
      OptionError: for a weight that enters no linear operation, or a bias that does not fit it.
    """
    by_weight = {layer.weight: layer for layer in layers}
    chosen: dict[str, Layer] = {}
    for name, (weight, bias) in naming.items():
        if weight not in by_weight:
            raise OptionError(f"Layer {name}: {weight} is no weight of a layer; there are {', '.join(by_weight)}.")
        layer = by_weight[weight]
        shape = "nothing" if bias is None or bias not in leaves else tuple(leaves[bias].shape)
        if bias not in (None, layer.bias) and shape not in (layer.out_shape, (layer.units,)):
            raise OptionError(f"Layer {name}: the bias {bias} is {shape}; {weight} needs {layer.out_shape}.")
        other = None if shape in ("nothing", layer.out_shape) else shape
        chosen[weight] = dataclasses.replace(layer, name=name, bias=bias, bias_shape=other)
    return tuple(chosen[layer.weight] for layer in layers if layer.weight in chosen)


def _is_bias(shape: tuple[int, ...], layer: Layer, weight: Use) -> bool:
    """Whether an array of this shape, added to the outputs of a layer, broadcasts as a bias does."""
    after = 0  # axes after the features, as in a bias [features, 1, 1] for images with channels first
    if weight.primitive == "conv_general_dilated":
        spec = weight.eqn.params["dimension_numbers"].out_spec
        after = len(spec) - 1 - spec[1]
    for outputs in (layer.out_shape, (layer.units,)):
        before = len(shape) - len(outputs) - after
        if shape in (outputs, (1,) * before + outputs + (1,) * after):
            return True
    return False
