"""What every contender is given: the same weights, tasks and noise, as NumPy arrays from one file."""

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.cells import CELLS, Cell
from mtnets.errors import OptionError
from mtnets.files import replacing

Method = Literal["maml", "mt-net"]
Order = Literal["exact", "first"]
Arrays = dict[str, NDArray[Any]]  # by name; images channels last, weights [inputs, units] or [height, width, in, out]
METHODS, ORDERS = get_args(Method), get_args(Order)
METRIC_SPREAD = 0.1  # of the elements of T − I: T is not at its start, where errors in its use would not show
DATA_SPREAD = 0.5  # of the examples of a class around its mean


@dataclasses.dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
      cell: its name.
      method: `maml` or `mt-net`.
      order: `exact`, or `first`, where the gradient of an inner step is held constant in the meta-gradient.
      tiny: in small, for tests.

    Raises:
      OptionError: for a value that there is not.
    """

    cell: str
    method: Method = "maml"
    order: Order = "exact"
    tiny: bool = False

    def __post_init__(self) -> None:
        for name, possible in (("cell", CELLS), ("method", METHODS), ("order", ORDERS)):
            value = getattr(self, name)
            if value not in possible:
                raise OptionError(f"There is no {name} {value!r}; choose one of {', '.join(possible)}.")

    @property
    def sizes(self) -> Cell:
        """The cell, in small where that is asked for."""
        cell = CELLS[self.cell]
        return cell.tiny() if self.tiny else cell


class Examples(NamedTuple):
    """Support or query sets, side by side.

    Attributes:
      x: `[tasks, examples, ...]`.
      y: `[tasks, examples, outputs]` in regression, labels `[tasks, examples]` in classification.
    """

    x: NDArray[Any]
    y: NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Problem:
    """The work with all of its numbers.

    Attributes:
      work: what is to be done.
      moving: what a task moves: `layer.weight`, `layer.bias`.
      still: what is meta-learned alone: `norm.offset`; T as `layer.metric` and ζ as `layer.logits` in an MT-net.
      support, query: of each task.
      noise: of the masks by layer, `[tasks, units]`: a mask is `1[σ(ζ + noise) > ½]`, with the gradient of the sigmoid.
      reference: the meta-gradient in double precision, by name; empty before it is known.
    """

    work: Work
    moving: Arrays
    still: Arrays
    support: Examples
    query: Examples
    noise: Arrays = dataclasses.field(default_factory=dict)
    reference: Arrays = dataclasses.field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        """Sizes of everything."""
        return self.work.sizes

    @property
    def learned(self) -> Arrays:
        """Everything that is meta-learned."""
        return self.moving | self.still


def made(work: Work, seed: int) -> Problem:
    """The problem of a seed, without noise and reference."""
    rng, cell = np.random.default_rng(seed), work.sizes
    moving: dict[str, Any] = {}
    still: dict[str, Any] = {}
    for name, layer in cell.network.layers().items():
        moving[f"{name}.weight"] = rng.normal(size=layer.shape) * np.sqrt(2 / layer.rows)  # He et al. (2015)
        if layer.bias:
            moving[f"{name}.bias"] = 0.1 * rng.normal(size=layer.units)
        if work.method == "mt-net":
            still[f"{name}.metric"] = np.eye(layer.units) + METRIC_SPREAD * _units(rng, layer.units)
            still[f"{name}.logits"] = rng.normal(size=layer.units)
    for name, size in cell.network.offsets().items():
        still[f"{name}.offset"] = 0.1 * rng.normal(size=size)
    support, query = _curves(rng, cell) if cell.ways is None else _classes(rng, cell, cell.ways)
    return Problem(work, _single(moving), _single(still), support, query)


def save(problem: Problem, path: Path) -> None:
    """Writes a problem as one `.npz`."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        f"{part}/{name}": value
        for part in ("moving", "still", "noise", "reference")
        for name, value in getattr(problem, part).items()
    }
    for part in ("support", "query"):
        arrays |= {f"{part}/{name}": value for name, value in getattr(problem, part)._asdict().items()}
    np.savez(buffer, work=json.dumps(dataclasses.asdict(problem.work)), **arrays)
    with replacing(path) as file:
        file.write(buffer.getvalue())


def load(path: Path) -> Problem:
    """Reads a problem."""
    parts: dict[str, Arrays] = {name: {} for name in ("moving", "still", "noise", "reference", "support", "query")}
    with np.load(path, allow_pickle=False) as file:
        work = Work(**json.loads(str(file["work"])))
        for key in file.files:
            part, _, name = key.partition("/")
            if name:
                parts[part][name] = file[key]
    support, query = (Examples(**parts.pop(part)) for part in ("support", "query"))
    return Problem(work, support=support, query=query, **parts)


def difference(gradient: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]]) -> float:
    """The largest relative error of an array of a gradient. What is next to nothing of the whole, as the gradient of a
    bias before batch norm is, is compared with a thousandth of the largest array."""
    norms = {name: float(np.linalg.norm(value)) for name, value in reference.items()}
    least = max(norms.values()) / 1000
    errors = [float(np.linalg.norm(gradient[name] - reference[name])) / max(norms[name], least) for name in norms]
    return max(errors) if np.isfinite(errors).all() else float("inf")


def _curves(rng: np.random.Generator, cell: Cell) -> tuple[Examples, Examples]:
    """Sine curves as in Finn et al. (2017)."""
    amplitude, phase = rng.uniform(0.1, 5, (cell.tasks, 1, 1)), rng.uniform(0, np.pi, (cell.tasks, 1, 1))
    sets = []
    for count in cell.examples:
        x = rng.uniform(-5, 5, (cell.tasks, count, 1))
        sets.append(Examples(x.astype(np.float32), (amplitude * np.sin(x - phase)).astype(np.float32)))
    return sets[0], sets[1]


def _classes(rng: np.random.Generator, cell: Cell, ways: int) -> tuple[Examples, Examples]:
    """Classes around means of their own. What they show does not matter to speed."""
    means = rng.normal(size=(cell.tasks, ways, *cell.network.input_shape))
    sets = []
    for count in cell.examples:
        labels = np.tile(np.arange(ways), (cell.tasks, count // ways))
        x = means[np.arange(cell.tasks)[:, None], labels]
        x = x + DATA_SPREAD * rng.normal(size=x.shape)
        sets.append(Examples(x.astype(np.float32), labels.astype(np.int32)))
    return sets[0], sets[1]


def _units(rng: np.random.Generator, units: int) -> NDArray[Any]:
    """A random square matrix whose product with a vector is about as long as the vector."""
    return rng.normal(size=(units, units)) / np.sqrt(units)


def _single(arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {name: value.astype(np.float32) for name, value in arrays.items()}
