"""A network's traced program: which operation each of its leaves enters first, and which axes of the leaf are outputs there."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mtnets.compat import is_condition, scanned, sub_programs

# Operations that only rearrange or convert a leaf; what they return still counts as that leaf.
TRANSPARENT = {"reshape", "transpose", "rev", "convert_element_type", "squeeze", "copy", "copy_p", "broadcast_in_dim"}


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
