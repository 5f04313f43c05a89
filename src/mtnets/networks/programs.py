"""Reads a network's traced program: which operation uses each parameter first, and how."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mtnets.compat import is_condition, scanned, sub_programs

# Operations that only rearrange or convert an array; their result still counts as the same parameter.
TRANSPARENT = {"reshape", "transpose", "rev", "convert_element_type", "squeeze", "copy", "copy_p", "broadcast_in_dim"}
CALLS = {"jit", "pjit", "closed_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call"}
PRODUCTS = {"dot_general", "conv_general_dilated"}
ROOTS = {"sqrt", "rsqrt"}
ARITHMETIC = {"add", "sub", "mul", "div", "neg", "add_any"}
SCALINGS = {"mul", "div"}
LINEAR = PRODUCTS | {"gather"}


class Leaf(NamedTuple):
    """A variable of the program that holds a parameter, possibly rearranged.

    Attributes:
      number: index of the parameter among the inputs of the program.
      axes: for each axis of the variable, the axes of the parameter that it runs over; None, also among them, for a
        part of an axis.
      flipped: axes of the parameter that run backwards.
      scaled: whether it was multiplied by something that is computed from parameters, as in weight normalisation.
    """

    number: int
    axes: tuple[tuple[int | None, ...] | None, ...]
    flipped: frozenset[int] = frozenset()
    scaled: bool = False


class Made(NamedTuple):
    """Where a variable that holds no parameter comes from, as far as that tells what a parameter beside it is.

    Attributes:
      product: number of the parameter of which it is the product with something else; None if it is none.
      normalised: whether arithmetic leads to it from a square root, as in every normalisation.
      weights: whether it is computed from parameters alone.
    """

    product: int | None = None
    normalised: bool = False
    weights: bool = False


class Use(NamedTuple):
    """An operation that takes a parameter as an operand.

    Attributes:
      leaf: the parameter.
      eqn: the operation.
      position: index of the parameter among the operands.
      beside: where another operand comes from.
    """

    leaf: Leaf
    eqn: Any
    position: int
    beside: Made = Made()

    @property
    def primitive(self) -> str:
        """The name of the operation."""
        return self.eqn.primitive.name

    @property
    def groups(self) -> int:
        """Number of groups of a convolution whose kernel is the parameter; 1 for other operations."""
        counts = self.eqn.params.get("feature_group_count", 1) * self.eqn.params.get("batch_group_count", 1)
        if counts == 1 or not self.position:
            return 1
        units = self.leaf.axes[self.eqn.params["dimension_numbers"].rhs_spec[0]]
        return 1 if units is None or None in units else counts  # of merged axes one has the units of one group


def first_uses(jaxpr: Any) -> Iterator[Use]:
    """The first use of each input of a program, in the order of the computation."""
    seen: set[int] = set()
    known: dict[Any, Leaf | Made] = {
        var: Leaf(i, tuple((axis,) for axis in range(len(var.aval.shape)))) for i, var in enumerate(jaxpr.invars)
    }
    for use in _uses(jaxpr, known):
        if use.leaf.number not in seen:
            seen.add(use.leaf.number)
            yield use


def out_axes(use: Use) -> tuple[int, ...] | None:
    """The axes of a parameter that index the outputs of the operation that uses it; None if an axis was split.

    Of an axis into which a part of another was merged, as in a grouped transposed convolution, its own axes are given.
    """
    leaf, position = use.leaf, use.position
    axes, numbers = range(len(leaf.axes)), use.eqn.params.get("dimension_numbers")
    if use.primitive == "dot_general":
        contracted, batch = (sides[position] for sides in numbers)
        axes = [axis for axis in axes if axis not in contracted and axis not in batch]
    elif use.primitive == "conv_general_dilated":
        axes = [(numbers.lhs_spec, numbers.rhs_spec)[position][0]]
    elif use.primitive == "gather":
        axes = [axis for axis in axes if axis not in numbers.start_index_map][-1:]
    runs = [leaf.axes[axis] for axis in axes]
    whole = tuple(axis for run in runs for axis in run or () if axis is not None)
    return None if None in runs else whole


def _uses(jaxpr: Any, known: dict[Any, Leaf | Made]) -> Iterator[Use]:
    """Walks a program and its sub-programs in order; `known` maps variables to the parameters that they hold, or to
    what they are made from."""
    for eqn in jaxpr.eqns:
        operands = [None if hasattr(var, "val") else known.get(var) for var in eqn.invars]
        name = eqn.primitive.name
        if programs := sub_programs(eqn):
            if name not in CALLS:
                operands = [operand if isinstance(operand, Leaf) else None for operand in operands]
                if not any(operands):
                    continue
            for sub in programs:
                inside = {v: o for v, o in zip(sub.invars, _operands(eqn, sub, operands), strict=True) if o}
                yield from _uses(sub, inside)
                if name not in {"scan", "while", "cond"} and len(sub.outvars) == len(eqn.outvars):
                    outputs = zip(eqn.outvars, sub.outvars, strict=True)
                    known.update({o: inside[s] for o, s in outputs if not hasattr(s, "val") and s in inside})
        elif name in TRANSPARENT and isinstance(operands[0], Leaf):
            known[eqn.outvars[0]] = _rearranged(eqn, operands[0])
        elif name not in LINEAR and (made := _of_weights(eqn, operands)):  # not a use yet
            known[eqn.outvars[0]] = made
        else:
            beside = next((operand for operand in operands if isinstance(operand, Made)), Made())
            for position, operand in enumerate(operands):
                if isinstance(operand, Leaf):
                    yield Use(operand, eqn, position, beside)
            if made := _made(name, operands):
                known[eqn.outvars[0]] = made


def _made(name: str, operands: Sequence[Leaf | Made | None]) -> Made | None:
    """Where the result of an operation comes from; None where that tells nothing."""
    leaves = [operand for operand in operands if isinstance(operand, Leaf)]
    made = [operand for operand in operands if isinstance(operand, Made)]
    if name in PRODUCTS and len(leaves) == 1:
        return Made(product=leaves[0].number)
    if name in TRANSPARENT and made:
        return made[0] if name not in {"transpose", "rev"} else made[0]._replace(product=None)
    if name in ROOTS or (name in ARITHMETIC and any(operand.normalised for operand in made)):
        return Made(normalised=True)
    return None


def _of_weights(eqn: Any, operands: Sequence[Leaf | Made | None]) -> Leaf | Made | None:
    """What the result of an operation holds if all of its operands are computed from parameters: a parameter that was
    scaled, or something else. None if there are other operands."""
    inputs = [operand for operand, var in zip(operands, eqn.invars, strict=True) if not hasattr(var, "val")]
    if not inputs or not all(isinstance(each, Leaf) or (each is not None and each.weights) for each in inputs):
        return None
    if eqn.primitive.name in SCALINGS:
        shape, factors = eqn.outvars[0].aval.shape, eqn.invars[:1] if eqn.primitive.name == "div" else eqn.invars
        leaves = [each for each, var in zip(operands, factors, strict=False) if var.aval.shape == shape]
        leaves = [each for each in leaves if isinstance(each, Leaf) and all(each.axes)]  # not spread over others
        plain = [leaf for leaf in leaves if not leaf.scaled] or leaves
        if len(plain) == 1:
            return plain[0]._replace(scaled=True)
    made = _made(eqn.primitive.name, operands) or Made()
    return made._replace(product=None, weights=True)


def _operands(eqn: Any, sub: Any, operands: list[Any]) -> list[Any]:
    """What each input of a sub-program holds."""
    if eqn.primitive.name == "while":
        conditions, bodies = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        carry = operands[conditions + bodies :]
        constants = operands[:conditions] if is_condition(eqn, sub) else operands[conditions : conditions + bodies]
        return constants + carry
    if eqn.primitive.name == "scan":
        # A scanned operand is a stack with one array per pass: no single parameter enters the sub-program.
        return [None if slices else leaf for leaf, slices in zip(operands, scanned(eqn, sub), strict=True)]
    # The operands of `cond` begin with the index of the branch.
    return operands[len(operands) - len(sub.invars) :]


def _rearranged(eqn: Any, leaf: Leaf) -> Leaf:
    """The parameter after a transparent operation."""
    axes, before, after = leaf.axes, eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    flipped = leaf.flipped
    match eqn.primitive.name:
        case "transpose":
            axes = tuple(axes[axis] for axis in eqn.params["permutation"])
        case "squeeze":
            axes = tuple(run for axis, run in enumerate(axes) if axis not in eqn.params["dimensions"])
        case "broadcast_in_dim":
            placed = dict(zip(eqn.params["broadcast_dimensions"], zip(before, axes, strict=True), strict=True))
            axes = tuple(placed[i][1] if i in placed and placed[i][0] == n else () for i, n in enumerate(after))
        case "reshape":
            axes = _reshaped(axes, before, after)
        case "rev":
            flipped ^= {axis for i in eqn.params["dimensions"] for axis in axes[i] or ()}
    return leaf._replace(axes=axes, flipped=flipped)


def _reshaped(axes: Sequence[Any], before: Sequence[int], after: Sequence[int]) -> tuple[Any, ...]:
    """The runs of axes after a reshape: merged axes are joined, a split axis becomes None, also within a run."""
    if 0 in before:
        return (None,) * len(after)
    result: list[Any] = []
    i = 0
    while len(result) < len(after):
        # Take the shortest runs of old and of new axes with the same number of elements.
        merged: list[Any] = []
        old, new, count = 1, after[len(result)], 1
        while old != new:
            if old < new:
                merged += [axes[i]] if before[i] > 1 else []
                old, i = old * before[i], i + 1
            else:
                new, count = new * after[len(result) + count], count + 1
        whole: tuple[int | None, ...] = sum(((None,) if run is None else run for run in merged), ())
        split = count > 1 or set(whole) == {None}
        result += [None if split else whole] * count
    return tuple(result)
