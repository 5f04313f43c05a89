"""Tasks drawn from the rows of a table by group: a patient, a machine, a shop is a task."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray

from mtnets.errors import DataError
from mtnets.inner.task import Batch, Task
from mtnets.raw_arrays import WHOLE, check_real, narrowed, read_array
from mtnets.tasks.inputs.base import Inputs
from mtnets.tasks.sampling.draws import distinct
from mtnets.tasks.sampling.sizes import Part, Sizes, padded


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Tasks drawn from rows of a table by group. Build one with `Rows.of`, which checks its arguments.

    Attributes:
      x: features of all rows, `[groups, rows, features]` float32; groups with fewer rows are padded.
      y: targets of all rows, `[groups, rows, outputs]` float32, or labels `[groups, rows]` int32.
      counts: rows of each group, `[groups]` int32.
      sizes: support and query rows of a task.
      ahead: whether a task looks ahead: its support is a run of neighbouring rows that begins anywhere, its queries
        are rows after them. This is for rows in order of time, where the future is to be predicted from the past.
      inputs: how raw rows have become features, where that is known.
    """

    x: Array
    y: Array
    counts: Array
    sizes: Sizes = dataclasses.field(metadata={"static": True})
    ahead: bool = dataclasses.field(metadata={"static": True})
    inputs: Inputs | None = dataclasses.field(default=None, metadata={"static": True})

    @classmethod
    def of(
        cls,
        groups: Mapping[str, tuple[ArrayLike, ArrayLike]],
        *,
        shots: int = 10,
        queries: int = 10,
        fewest_shots: int | None = None,
        fewest_queries: int | None = None,
        ahead: bool = False,
        inputs: Inputs | None = None,
        split: str = "these",
    ) -> "Rows":
        """Tasks drawn from these groups.

        Args:
          groups: features `[rows, features]` and targets `[rows, outputs]` or integer labels `[rows]` of each group,
            by name. A label means the same class in every group.
          shots, queries: support and query rows of a task.
          fewest_shots, fewest_queries: of a group with fewer rows than shots + queries, whose tasks are padded; see
            `Sizes`. By default, no group may have fewer.
          ahead, inputs: as in the attributes.
          split: what to call the groups in an error.

        Raises:
          OptionError: shots or queries below 1, or fewer than their fewest.
          DataError: no groups, a group with too few rows, shapes that do not fit each other, and cells that are not
            finite numbers.
        """
        sizes = Sizes(shots, queries, fewest_shots, fewest_queries)
        if not groups:
            raise DataError(f"There are no {split} groups; a task needs the rows of at least one.")
        tables = {
            name: (_table(name, "x", x), _labels(name, y) if np.ndim(y) == 1 else _table(name, "y", y))
            for name, (x, y) in groups.items()
        }
        for name in tables:
            _check_alike(tables, name)
            sizes.check(f"Group {name}", len(tables[name][0]), "rows", "add rows, or leave the group out.")
        counts = np.array([len(x) for x, _ in tables.values()], np.int32)
        shape = (len(tables), max(counts.max(), sizes.total))
        x, y = (np.zeros((*shape, *part.shape[1:]), part.dtype) for part in next(iter(tables.values())))
        for i, (x_rows, y_rows) in enumerate(tables.values()):
            x[i, : counts[i]], y[i, : counts[i]] = x_rows, y_rows
        return cls(jnp.asarray(x), jnp.asarray(y), jnp.asarray(counts), sizes, ahead, inputs)

    def sample(self, key: Array) -> Task:
        """One task: support `[shots, …]`, query `[queries, …]`, distinct rows of one group, with weights where some may
        be padding."""
        key_group, key_rows, key_start = (jax.random.fold_in(key, i) for i in range(3))
        group = jax.random.randint(key_group, (), 0, len(self.counts))
        places, count, sizes = jnp.arange(self.x.shape[1]), self.counts[group], self.sizes
        if self.ahead:
            shots, queries = sizes.of(count)
            start = jax.random.randint(key_start, (), 0, count - shots - queries + 1)
            later = (places >= start + shots) & (places < count)
            runs = start + jnp.arange(sizes.shots), distinct(key_rows, places.shape, sizes.queries, later)
            few = sizes.least < sizes.total
            parts = [padded(run, n) if few else Part(run, None) for run, n in zip(runs, (shots, queries), strict=True)]
        else:
            parts = sizes.parts(distinct(key_rows, places.shape, sizes.total, places < count), count)
        x, y = self.x[group], self.y[group]
        return Task(*(Batch(x[part.places], y[part.places], part.weights) for part in parts))


Tables = Mapping[str, tuple[NDArray[Any], NDArray[Any]]]


def _check_alike(tables: Tables, name: str) -> None:
    """Raises DataError where the table of a group is unlike that of the first group."""
    first = next(iter(tables))
    x, y = tables[name]
    for part, table, like in zip("xy", (x, y), tables[first], strict=True):
        if table.shape[1:] != like.shape[1:]:
            raise DataError(
                f"{part} of group {name} has {_columns(table)} and that of group {first} has {_columns(like)}; all "
                "groups need the same columns."
            )
    if len(y) != len(x):
        raise DataError(f"Group {name} has {len(x)} rows of x and {len(y)} of y; they must have the same number.")


def _columns(table: NDArray[Any]) -> str:
    return "labels" if table.ndim == 1 else f"{table.shape[1]} columns"


def _labels(name: str, y: ArrayLike) -> NDArray[np.int32]:
    """Labels `[rows]`, whole numbers from 0."""
    array = read_array(y, f"y of group {name}")
    if array.dtype.kind not in WHOLE or (array < 0).any():
        raise DataError(
            f"y of group {name} has type {array.dtype} and shape {array.shape}; labels must be integers from 0, and "
            "targets of regression (rows, outputs): y[:, None] for one output."
        )
    return narrowed(array, np.int32, f"y of group {name}")


def _table(name: str, part: str, table: ArrayLike) -> NDArray[np.float32]:
    """One table `[rows, columns]` of finite numbers."""
    array = read_array(table, f"{part} of group {name}")
    check_real(array, f"{part} of group {name}")
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(
            f"{part} of group {name} has shape {array.shape}; it must be (rows, columns) with at least one column."
        )
    return narrowed(array, np.float32, f"{part} of group {name}")
