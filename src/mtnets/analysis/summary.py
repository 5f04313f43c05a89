"""What a method makes of a network: which layers it has, which of them move, and how many numbers are meta-learned."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from mtnets.inner.methods import Method
from mtnets.networks.model import Model
from mtnets.trees import leaves_by_path

FOLD = {"outputs": "T", "inputs": "S", "offsets": "offsets"}  # what the arrays of folds are


class Row(NamedTuple):
    """A layer.

    Attributes:
      name: of the layer.
      shape: of its weight.
      units: its outputs.
      groups: of a grouped convolution.
      moves: whether a task moves it; None without a method.
      parameters: numbers in its weight and bias.
      learned: numbers that the method learns for it, by what they are: `T`, `S`, `mask`, `rate`, …
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
        """All that is meta-learned for this layer."""
        return self.parameters + sum(self.learned.values())


@dataclasses.dataclass(frozen=True)
class Summary:
    """The layers of a network, and what a method learns; `print(summary)` is a table.

    Attributes:
      method: its name; None without one.
      rows: the layers, in the order of their first use.
      others: shapes of the leaves that are in no layer, by path: no task moves them. Scales and offsets of
        normalisation, warp layers, and weights whose use is not linear or is not understood.
      shared: numbers that the method learns for no layer in particular, by what they are.
    """

    method: str | None
    rows: tuple[Row, ...]
    others: Mapping[str, tuple[int, ...]]
    shared: Mapping[str, int]

    @property
    def parameters(self) -> int:
        """Numbers in the network itself."""
        return sum(row.parameters for row in self.rows) + sum(math.prod(shape) for shape in self.others.values())

    @property
    def learned(self) -> dict[str, int]:
        """Numbers that the method learns besides, by what they are."""
        return _sums(part for learned in (*(row.learned for row in self.rows), self.shared) for part in learned.items())

    @property
    def total(self) -> int:
        """All numbers that are meta-learned."""
        return self.parameters + sum(self.learned.values())

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "method": self.method,
            "layers": [{**row._asdict(), "shape": list(row.shape), "total": row.total} for row in self.rows],
            "others": {path: list(shape) for path, shape in self.others.items()},
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
        if self.others:
            text += ["", "In no layer; no task moves them:"]
            text += [f"  {path}  {_times(shape)}" for path, shape in self.others.items()]
        text += ["", f"The network itself: {self.parameters:,} numbers."]
        if self.method is not None:
            of_layers, shared = (
                ", ".join(f"{part} {count:,}" for part, count in counts.items())
                for counts in (_sums(part for row in self.rows for part in row.learned.items()), self.shared)
            )
            learned = "; ".join(filter(None, [of_layers, f"for all layers together {shared}" if shared else ""]))
            text += [f"Learned by {self.method} besides: {learned or 'nothing'}."]
            text += [f"In all: {self.total:,} numbers."]
        return "\n".join(text)


def summarise(model: Model, method: Method | None = None, inner_steps: int = 1) -> Summary:
    """See `mtnets.Model.summary`."""
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    leaves = leaves_by_path(params)
    inside = {path for layer in model.layers for path in layer.paths}
    moving, parts = [], []
    if method is not None:
        moving = [layer.name for layer in method.choose(model.layers)]
        owners = {key: layer.name for layer in model.layers for key in (layer.name, *layer.paths)}
        key, rest = jax.random.key(0), (0.1, inner_steps, model.fixed, model.norm)
        meta = jax.eval_shape(lambda params: method.init(key, model.layers, params, *rest), params)
        chain = {name: name for name in meta.rule} if isinstance(meta.rule, Mapping) else {}
        parts = [*_parts(meta.fold, owners, "T", FOLD), *_parts(meta.rule, owners, "rule", chain)]
    rows = tuple(
        Row(
            layer.name,
            layer.shape,
            layer.units,
            layer.groups,
            None if method is None else layer.name in moving,
            sum(math.prod(leaves[path].shape) for path in layer.paths),
            _sums((part, count) for owner, part, count in parts if owner == layer.name),
        )
        for layer in model.layers
    )
    others = {path: tuple(leaf.shape) for path, leaf in leaves.items() if path not in inside}
    shared = _sums((part, count) for owner, part, count in parts if owner is None)
    return Summary(None if method is None else method.name, rows, others, shared)


def _parts(
    tree: Any, owners: Mapping[str, str], part: str, names: Mapping[str, str]
) -> Iterator[tuple[str | None, str, int]]:
    """Of which layer, if of one, arrays are, what they are, and how many numbers they hold."""
    if isinstance(tree, Mapping) and tree.keys() <= owners.keys():
        yield from ((owners[key], part, _count(arrays)) for key, arrays in tree.items())
    elif isinstance(tree, Mapping):
        for key, arrays in tree.items():
            yield from _parts(arrays, owners, names.get(key, part), names)
    else:
        yield None, part, _count(tree)


def _count(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _sums(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, number in pairs:
        found[name] = found.get(name, 0) + number
    return found


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "one number"
