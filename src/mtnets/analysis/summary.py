"""The layers of a network, which of them a method moves, and how many numbers it learns."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from mtnets.arguments import Steps, checked_arguments
from mtnets.inner import Meta, Method
from mtnets.networks.model import Model
from mtnets.trees import leaves_by_path

FOLD = {"outputs": "T", "inputs": "S", "offsets": "offsets"}  # how people call the arrays of folds
ANY_LR = 0.1  # sizes do not depend on the inner rate


class Row(NamedTuple):
    """A layer.

    Attributes:
      name: name of the layer.
      shape: shape of its weight.
      units: number of outputs.
      groups: number of groups of a grouped convolution, otherwise 1.
      moves: whether a task moves it; None without a method.
      parameters: how many numbers its weight and bias hold.
      learned: how many numbers the method learns for it, by kind: `T`, `S`, `mask`, `rate`, …
    """

    name: str
    shape: tuple[int, ...]
    units: int
    groups: int
    moves: bool | None
    parameters: int
    learned: Mapping[str, int]

    @property
    def total(self) -> int:
        """How many numbers are meta-learned for this layer."""
        return self.parameters + sum(self.learned.values())


@dataclasses.dataclass(frozen=True)
class Summary:
    """The layers of a network, and what a method learns; `print(summary)` is a table.

    Attributes:
      method: name of the method; None without one.
      rows: the layers, in the order of their first use.
      others: shapes of the leaves that are in no layer, by path: scales and offsets of normalisation, warp layers, and
        weights whose use is not linear or is not understood.
      loose: the paths of those among them that a task moves.
      shared: how many numbers the method learns for no layer in particular, by kind.
    """

    method: str | None
    rows: tuple[Row, ...]
    others: Mapping[str, tuple[int, ...]]
    shared: Mapping[str, int]
    loose: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers the network itself has."""
        return sum(row.parameters for row in self.rows) + sum(math.prod(shape) for shape in self.others.values())

    @property
    def learned(self) -> dict[str, int]:
        """How many numbers the method learns besides, by kind."""
        return _sums(part for learned in (*(row.learned for row in self.rows), self.shared) for part in learned.items())

    @property
    def total(self) -> int:
        """How many numbers are meta-learned."""
        return self.parameters + sum(self.learned.values())

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "method": self.method,
            "layers": [{**row._asdict(), "shape": list(row.shape), "total": row.total} for row in self.rows],
            "others": {path: list(shape) for path, shape in self.others.items()},
            "loose": list(self.loose),
            "shared": dict(self.shared),
            "parameters": self.parameters,
            "learned": self.learned,
            "total": self.total,
        }

    def __str__(self) -> str:
        parts = dict.fromkeys(part for row in self.rows for part in row.learned)
        moves = {True: "yes", False: "no", None: ""}
        lines = [("layer", "shape", "units", "groups", "moves", "numbers", *parts, "in all")]
        for row in self.rows:
            learned = [f"{row.learned[part]:,}" if part in row.learned else "" for part in parts]
            numbers = f"{row.units:,}", f"{row.groups:,}", moves[row.moves], f"{row.parameters:,}", *learned
            lines.append((row.name, _times(row.shape), *numbers, f"{row.total:,}"))
        if self.method is None:
            lines = [line[:4] + line[5:6] for line in lines]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        align = [str.ljust] * 2 + [str.rjust] * len(widths)
        text = ["  ".join(f(cell, n) for f, cell, n in zip(align, line, widths, strict=False)) for line in lines]
        for moved, who in ((True, "a task moves them too"), (False, "no task moves them")):
            some = {path: shape for path, shape in self.others.items() if (path in self.loose) == moved}
            if some:
                text += ["", f"In no layer; {who}:", *(f"  {path}  {_times(shape)}" for path, shape in some.items())]
        text += ["", f"The network itself: {self.parameters:,} numbers."]
        if self.method is not None:
            of_layers, shared = (
                ", ".join(f"{part} {count:,}" for part, count in counts.items())
                for counts in (_sums(part for row in self.rows for part in row.learned.items()), self.shared)
            )
            learned = "; ".join(filter(None, [of_layers, f"for no layer alone {shared}" if shared else ""]))
            text += [f"Learned by {self.method} besides: {learned or 'nothing'}."]
            text += [f"In all: {self.total:,} numbers."]
        return "\n".join(text)


@checked_arguments
def summarise(model: Model, method: Method | None = None, inner_steps: Steps = 1) -> Summary:
    """The layers of a network, and what a method learns for each: `print(mtnets.summarise(model, mtnets.mt_net()))`.

    Args:
      model: the network.
      method: the method that will adapt it. Defaults to none, for the network alone.
      inner_steps: of training; some methods learn rates or offsets for each step.

    Raises:
      OptionError: if the network has no layer, or the method cannot adapt it.
    """
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    leaves = leaves_by_path(params)
    in_layers = {path for layer in model.layers for path in layer.paths}
    moving: set[str] = set() if method is None else {layer.name for layer in method.choose(model.layers)}
    counts = [] if method is None else list(_learned(model, method, params, inner_steps))
    rows = tuple(
        Row(
            name=layer.name,
            shape=layer.shape,
            units=layer.units,
            groups=layer.groups,
            moves=None if method is None else layer.name in moving,
            parameters=sum(math.prod(leaves[path].shape) for path in layer.paths),
            learned=_sums((kind, count) for owner, kind, count in counts if owner == layer.name),
        )
        for layer in model.layers
    )
    others = {path: tuple(leaf.shape) for path, leaf in leaves.items() if path not in in_layers}
    shared = _sums((kind, count) for owner, kind, count in counts if owner is None)
    if method is None:
        return Summary(None, rows, others, shared)
    return Summary(method.name, rows, others, shared, method.loose(model))


def _learned(model: Model, method: Method, params: Any, inner_steps: int) -> Iterator[tuple[str | None, str, int]]:
    """For each array that a method learns: its layer or None, its kind, and how many numbers it holds."""

    def init(params: Any) -> Meta:
        return method.init(model, params, jax.random.key(0), inner_lr=ANY_LR, inner_steps=inner_steps)

    meta = jax.eval_shape(init, params)
    owners: dict[str, str | None] = dict.fromkeys([*model.loose, *model.normalisation])
    owners |= {key: layer.name for layer in model.layers for key in (layer.name, *layer.paths)}
    yield from _counts(meta.fold, owners, "T", FOLD)
    chain = {name: name for name in meta.rule} if isinstance(meta.rule, Mapping) else {}
    yield from _counts(meta.rule, owners, "rule", chain)
    if meta.start is not None:
        yield None, "start", _count(meta.start)


def _counts(
    tree: Any, owners: Mapping[str, str | None], kind: str, kinds: Mapping[str, str]
) -> Iterator[tuple[str | None, str, int]]:
    """For each array of a fold or a rule: its layer or None, its kind, and how many numbers it holds.

    Args:
      tree: the arrays.
      owners: layers by their name and by the paths of their leaves; None for leaves in no layer.
      kind: kind of the arrays.
      kinds: kinds of the arrays in nested trees, by key.
    """
    if isinstance(tree, Mapping) and tree.keys() <= owners.keys():
        yield from ((owners[key], kind, _count(arrays)) for key, arrays in tree.items())
    elif isinstance(tree, Mapping):
        for key, arrays in tree.items():
            yield from _counts(arrays, owners, kinds.get(key, kind), kinds)
    else:
        yield None, kind, _count(tree)


def _count(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _sums(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, number in pairs:
        sums[name] = sums.get(name, 0) + number
    return sums


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "one number"
