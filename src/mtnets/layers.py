"""Which leaves of a parameter tree make a layer, in the order in which the network uses them.

A layer is a weight of rank ≥ 2 that enters a matrix product, a convolution or a table look-up, together with the bias
beside it. Both facts are read off the tree and off the traced computation, never off names.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.compat import is_condition, scanned, sub_programs
from mtnets.errors import OptionError

LINEAR = {"dot_general", "conv_general_dilated", "gather"}
ADDITIVE = {"add", "sub", "add_any"}
# Operations that only rearrange or convert a leaf; what they return still counts as that leaf.
TRANSPARENT = {"reshape", "transpose", "rev", "convert_element_type", "squeeze", "copy", "copy_p", "broadcast_in_dim"}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A weight and its bias.

    Attributes:
      name: the path of the container that holds both.
      weight: path of the weight in the parameter tree.
      bias: path of the bias, or None.
      shape: shape of the weight.
      out_axes: the axes of the weight that index its output units, in order.
      groups: of a grouped convolution: its outputs are as many runs of units, each computed from inputs of its own.
      bias_shape: shape of the bias, if it is another than that of one output: flat.
    """

    name: str
    weight: str
    bias: str | None
    shape: tuple[int, ...]
    out_axes: tuple[int, ...]
    groups: int = 1
    bias_shape: tuple[int, ...] | None = None

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

    The output axes of a weight are read off the first operation that it enters, as those of the result that they
    become: the free axes of a matrix product, the features of a convolution, the last axis of an entry of a table.
    They are followed back through transposing, flipping and merging axes; where an axis was split before, the last axis
    of the weight is taken. A weight that is used again, by a recurrent cell or tied to another layer, is one layer. A
    bias is the next leaf of the same container that is used after its weight, if it has the shape of the output axes
    (or is flat, with as many elements; with axes of size one where a convolution has its image) and is added.

    Args:
      forward: the network as a function of its parameters; it is traced, never run.
      params: parameters or their shapes.

    Raises:
      OptionError: if no weight of rank ≥ 2 enters a linear operation.
    """
    closed = jax.make_jaxpr(forward)(params)
    shapes = {path: tuple(leaf.shape) for path, leaf in leaves_by_path(params).items()}
    paths = list(shapes)
    layers: dict[str, Layer] = {}  # by the path of the weight, in the order of first use
    waiting: dict[str, Use] = {}  # container → the use of the weight in it whose bias may come next
    for use in first_uses(closed.jaxpr):
        path = paths[use.leaf.number]
        container, shape = path.rpartition(".")[0], shapes[path]
        weight = waiting.pop(container, None)
        layer = layers[paths[weight.leaf.number]] if weight else None
        if layer and weight and use.primitive in ADDITIVE and _is_bias(shape, layer, weight):
            layers[layer.weight] = dataclasses.replace(
                layer, bias=path, bias_shape=None if shape == layer.out_shape else shape
            )
        elif len(shape) >= 2 and use.primitive in LINEAR:
            axes, groups = ((len(shape) - 1,), 1) if (free := out_axes(use)) is None else (free, use.groups)
            if not axes and shape[-1] == 1:  # the only unit
                axes = (len(shape) - 1,)
            layers[path] = Layer(container or path, path, None, shape, axes, groups)
            waiting[container] = use

    if not layers:
        found = ", ".join(f"{path} {shape}" for path, shape in shapes.items()) or "no parameters"
        raise OptionError(
            f"The network has no layer to adapt (found {found}); it needs a weight of rank ≥ 2 that enters a matrix "
            "product, a convolution or a table look-up."
        )
    names = [layer.name for layer in layers.values()]
    return tuple(
        layer if names.count(layer.name) == 1 else dataclasses.replace(layer, name=layer.weight)
        for layer in layers.values()
    )


def named(
    layers: Sequence[Layer], naming: Mapping[str, tuple[str, str | None]], leaves: Mapping[str, Any]
) -> tuple[Layer, ...]:
    """Layers by names of the user's, in the order of their first use.

    Args:
      layers: as found.
      naming: names, with the paths of their weight and bias.
      leaves: all leaves by path.

    Raises:
      OptionError: for a weight that enters no linear operation, or a bias that does not fit it.
    """
    found = {layer.weight: layer for layer in layers}
    chosen: dict[str, Layer] = {}
    for name, (weight, bias) in naming.items():
        if weight not in found:
            raise OptionError(f"Layer {name}: {weight} is no weight of a layer; there are {', '.join(found)}.")
        layer = found[weight]
        shape = "nothing" if bias is None or bias not in leaves else tuple(leaves[bias].shape)
        if bias not in (None, layer.bias) and shape not in (layer.out_shape, (layer.units,)):
            raise OptionError(f"Layer {name}: the bias {bias} is {shape}; {weight} needs {layer.out_shape}.")
        other = None if shape in ("nothing", layer.out_shape) else shape
        chosen[weight] = dataclasses.replace(layer, name=name, bias=bias, bias_shape=other)
    return tuple(chosen[layer.weight] for layer in layers if layer.weight in chosen)


class Leaf(NamedTuple):
    """A variable that still is a leaf: which one, which of its axes each axis runs over (None: part of one), and which
    of them run backwards."""

    number: int
    axes: tuple[tuple[int, ...] | None, ...]
    flipped: frozenset[int] = frozenset()


class Use(NamedTuple):
    """An operation on a leaf, as which of its operands."""

    leaf: Leaf
    eqn: Any
    position: int

    @property
    def primitive(self) -> str:
        """The name of the operation."""
        return self.eqn.primitive.name

    @property
    def groups(self) -> int:
        """Of a convolution by the leaf."""
        counts = self.eqn.params.get("feature_group_count", 1) * self.eqn.params.get("batch_group_count", 1)
        return counts if self.position else 1


def first_uses(jaxpr: Any) -> Iterator[Use]:
    """The first use of each input, in the order of the computation."""
    seen: set[int] = set()
    leaves = {var: Leaf(i, tuple((axis,) for axis in range(len(var.aval.shape)))) for i, var in enumerate(jaxpr.invars)}
    for use in _uses(jaxpr, leaves):
        if use.leaf.number not in seen:
            seen.add(use.leaf.number)
            yield use


def _uses(jaxpr: Any, leaves: dict[Any, Leaf]) -> Iterator[Use]:
    """Walks a program in order, into its sub-programs; `leaves` says which variables still are a leaf."""
    for eqn in jaxpr.eqns:
        operands = [None if hasattr(var, "val") else leaves.get(var) for var in eqn.invars]
        known = [leaf for leaf in operands if leaf is not None]
        if not known:
            continue
        name = eqn.primitive.name
        if programs := sub_programs(eqn):
            for sub in programs:
                inside = {v: leaf for v, leaf in zip(sub.invars, _operands(eqn, sub, operands), strict=True) if leaf}
                yield from _uses(sub, inside)
                if name not in {"scan", "while", "cond"} and len(sub.outvars) == len(eqn.outvars):
                    outputs = zip(eqn.outvars, sub.outvars, strict=True)
                    leaves.update({o: inside[s] for o, s in outputs if not hasattr(s, "val") and s in inside})
        elif name in TRANSPARENT:
            leaves[eqn.outvars[0]] = _rearranged(eqn, known[0])
        else:
            yield from (Use(leaf, eqn, position) for position, leaf in enumerate(operands) if leaf is not None)


def _operands(eqn: Any, sub: Any, operands: list[Leaf | None]) -> list[Leaf | None]:
    """Which leaf each input of a sub-program is."""
    if eqn.primitive.name == "while":
        conditions, bodies = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        carry = operands[conditions + bodies :]
        constants = operands[:conditions] if is_condition(eqn, sub) else operands[conditions : conditions + bodies]
        return constants + carry
    if eqn.primitive.name == "scan":
        # what is scanned over is a stack of leaves, one for each pass, and stays as it is
        return [None if slices else leaf for leaf, slices in zip(operands, scanned(eqn, sub), strict=True)]
    # a branch index comes first
    return operands[len(operands) - len(sub.invars) :]


def _rearranged(eqn: Any, leaf: Leaf) -> Leaf:
    """The leaf after an operation that only rearranges or converts it."""
    axes, before, after = leaf.axes, eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    flipped = leaf.flipped
    match eqn.primitive.name:
        case "transpose":
            axes = tuple(axes[axis] for axis in eqn.params["permutation"])
        case "squeeze":
            axes = tuple(part for axis, part in enumerate(axes) if axis not in eqn.params["dimensions"])
        case "broadcast_in_dim":
            placed = dict(zip(eqn.params["broadcast_dimensions"], zip(before, axes, strict=True), strict=True))
            axes = tuple(placed[i][1] if i in placed and placed[i][0] == n else () for i, n in enumerate(after))
        case "reshape":
            axes = _reshaped(axes, before, after)
        case "rev":
            flipped ^= {axis for i in eqn.params["dimensions"] for axis in axes[i] or ()}
    return leaf._replace(axes=axes, flipped=flipped)


def _reshaped(axes: Sequence[Any], before: Sequence[int], after: Sequence[int]) -> tuple[Any, ...]:
    """What the axes of an array run over once it is reshaped: axes are merged, and None where one is split."""
    if 0 in before:
        return (None,) * len(after)
    found: list[Any] = []
    i = 0
    while len(found) < len(after):
        # the shortest runs of old and of new axes that hold as many elements
        merged: list[Any] = []
        old, new, count = 1, after[len(found)], 1
        while old != new:
            if old < new:
                merged += [axes[i]] if before[i] > 1 else []
                old, i = old * before[i], i + 1
            else:
                new, count = new * after[len(found) + count], count + 1
        whole = None if None in merged or count > 1 else sum(merged, ())
        found += [whole] * count
    return tuple(found)


def out_axes(use: Use) -> tuple[int, ...] | None:
    """The axes of a leaf that index the outputs of the operation that it enters; None where one was split."""
    leaf, position = use.leaf, use.position
    axes, numbers = range(len(leaf.axes)), use.eqn.params.get("dimension_numbers")
    if use.primitive == "dot_general":
        contracted, batch = (sides[position] for sides in numbers)
        axes = [axis for axis in axes if axis not in contracted and axis not in batch]
    elif use.primitive == "conv_general_dilated":
        axes = [(numbers.lhs_spec, numbers.rhs_spec)[position][0]]
    elif use.primitive == "gather":
        axes = [axis for axis in axes if axis not in numbers.start_index_map][-1:]
    parts = [leaf.axes[axis] for axis in axes]
    return None if None in parts else sum(parts, ())


def _is_bias(shape: tuple[int, ...], layer: Layer, weight: Use) -> bool:
    """Whether what is added after a weight has the shape of its outputs, as broadcasting lines them up."""
    after = 0
    if weight.primitive == "conv_general_dilated":
        spec = weight.eqn.params["dimension_numbers"].out_spec
        after = len(spec) - 1 - spec[1]  # axes of the image: a bias [features, 1, 1] where channels are first
    for outputs in (layer.out_shape, (layer.units,)):
        before = len(shape) - len(outputs) - after
        if shape in (outputs, (1,) * before + outputs + (1,) * after):
            return True
    return False
