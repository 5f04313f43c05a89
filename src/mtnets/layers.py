"""Which leaves of a parameter tree make a layer, in the order in which the network uses them.

A layer is a weight of rank ≥ 2 that enters a matrix product, a convolution or a table look-up, together with the bias
beside it. Both facts are read off the tree and off the traced computation, never off names.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError

LINEAR = {"dot_general", "conv_general_dilated", "gather"}
# Operations that only rearrange or convert a leaf; what they return still counts as that leaf.
TRANSPARENT = {"reshape", "transpose", "convert_element_type", "squeeze", "copy", "copy_p", "broadcast_in_dim"}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A weight and its bias.

    Attributes:
      name: the path of the container that holds both.
      weight: path of the weight in the parameter tree.
      bias: path of the bias, or None.
      shape: shape of the weight.
      out_axes: the axes of the weight that index its output units, in order.
    """

    name: str
    weight: str
    bias: str | None
    shape: tuple[int, ...]
    out_axes: tuple[int, ...]

    @property
    def units(self) -> int:
        """Number of output units."""
        return math.prod(self.out_shape)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of one output: the shape of the bias."""
        return tuple(self.shape[axis] for axis in self.out_axes)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the weight and, where there is one, of the bias."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

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
        return result if self.bias is None else result | {self.bias: matrix[inputs].reshape(self.out_shape)}

    @property
    def _last(self) -> tuple[int, ...]:
        return tuple(range(len(self.shape) - len(self.out_axes), len(self.shape)))


def path_of(keys: Sequence[Any]) -> str:
    """`a.0.kernel` for the key path of a leaf."""
    return ".".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in keys)


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """All leaves of a tree by their path."""
    return {path_of(keys): leaf for keys, leaf in jax.tree.leaves_with_path(tree)}


def replace_leaves(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """The tree with the leaves at the given paths replaced."""
    return jax.tree.map_with_path(lambda keys, leaf: leaves.get(path_of(keys), leaf), tree)


def find_layers(forward: Callable[[Any], Any], params: Any) -> tuple[Layer, ...]:
    """Finds the layers of a network and orders them by first use.

    A bias is the first leaf used after its weight that stands in the same container and has the shape of the weight's
    trailing axes. Weights are laid out with their output axes last, as in JAX's neural network libraries.

    Args:
      forward: the network as a function of its parameters; it is traced, never run.
      params: parameters or their shapes.

    Raises:
      OptionError: if no weight of rank ≥ 2 enters a linear operation.
    """
    closed = jax.make_jaxpr(forward)(params)
    shapes = {path: tuple(leaf.shape) for path, leaf in leaves_by_path(params).items()}
    paths = list(shapes)
    uses = {paths[i]: primitive for i, primitive in _first_uses(closed.jaxpr)}  # first use first
    layers: list[Layer] = []
    open_weights: dict[str, str] = {}  # container → the weight in it that still looks for its bias

    for path, primitive in uses.items():
        container, shape = path.rpartition(".")[0], shapes[path]
        weight = open_weights.get(container)
        if weight and shape and shapes[weight][-len(shape) :] == shape and len(shape) < len(shapes[weight]):
            ndim = len(shapes[weight])
            layers[[layer.weight for layer in layers].index(weight)] = Layer(
                container or weight, weight, path, shapes[weight], tuple(range(ndim - len(shape), ndim))
            )
            del open_weights[container]
        elif len(shape) >= 2 and primitive in LINEAR:
            layers.append(Layer(container or path, path, None, shape, (len(shape) - 1,)))
            open_weights[container] = path

    if not layers:
        found = ", ".join(f"{path} {shape}" for path, shape in shapes.items()) or "no parameters"
        raise OptionError(
            f"The network has no layer to adapt (found {found}); it needs a weight of rank ≥ 2 that enters a matrix "
            "product, a convolution or a table look-up."
        )
    names = [layer.name for layer in layers]
    return tuple(
        layer if names.count(layer.name) == 1 else dataclasses.replace(layer, name=layer.weight) for layer in layers
    )


def _first_uses(jaxpr: Any) -> Iterator[tuple[int, str]]:
    """Yields (index of an input, primitive) in the order in which the inputs are first used."""
    seen: set[int] = set()
    for index, primitive in _uses(jaxpr, {var: i for i, var in enumerate(jaxpr.invars)}):
        if index not in seen:
            seen.add(index)
            yield index, primitive


def _uses(jaxpr: Any, alias: dict[Any, int]) -> Iterator[tuple[int, str]]:
    """Walks a jaxpr in order, into its sub-programs; `alias` says which variables still are an input."""
    for eqn in jaxpr.eqns:
        known = [None if hasattr(v, "val") else alias.get(v) for v in eqn.invars]
        if all(index is None for index in known):
            continue
        name = eqn.primitive.name
        inner = [getattr(sub, "jaxpr", sub) for value in eqn.params.values() for sub in _programs(value)]
        if inner:
            for sub in inner:
                # A sub-program's operands are the last ones of the equation (a branch index may come first).
                n = min(len(sub.invars), len(known))
                inputs = zip(sub.invars[len(sub.invars) - n :], known[len(known) - n :], strict=True)
                sub_alias = {var: index for var, index in inputs if index is not None}
                yield from _uses(sub, sub_alias)
                if name in {"jit", "pjit"}:
                    outputs = zip(eqn.outvars, sub.outvars, strict=True)
                    alias.update({o: sub_alias[s] for o, s in outputs if not hasattr(s, "val") and s in sub_alias})
        elif name in TRANSPARENT:
            alias[eqn.outvars[0]] = next(index for index in known if index is not None)
        else:
            yield from ((index, name) for index in known if index is not None)


def _programs(value: Any) -> list[Any]:
    """The jaxprs among the parameters of an equation."""
    values = value if isinstance(value, tuple | list) else [value]
    return [v for v in values if hasattr(v, "eqns") or hasattr(getattr(v, "jaxpr", None), "eqns")]
