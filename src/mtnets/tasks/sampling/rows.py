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
from mtnets.tasks.families.sinusoid import check_counts


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Tasks drawn from rows of a table by group. Build one with `Rows.of`, which checks what it is given.

    Attributes:
      x: features of all rows, `[groups, rows, features]` float32; groups with fewer rows are padded.
      y: targets of all rows, `[groups, rows, outputs]` float32, or labels `[groups, rows]` int32.
      counts: rows of each group, `[groups]` int32.
      shots: support rows of a task.
      queries: query rows of a task.
      ahead: whether a task looks ahead: its support is a run of neighbouring rows that begins anywhere, its queries
        are rows after them. For tables in order of time, of which the past is known and the future is asked for.
    """

    x: Array
    y: Array
    counts: Array
    shots: int = dataclasses.field(metadata={"static": True})
    queries: int = dataclasses.field(metadata={"static": True})
    ahead: bool = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(
        cls,
        groups: Mapping[str, tuple[ArrayLike, ArrayLike]],
        *,
        shots: int = 10,
        queries: int = 10,
        ahead: bool = False,
        split: str = "these",
    ) -> "Rows":
        """Tasks drawn from these groups.

        Args:
          groups: features `[rows, features]` and targets `[rows, outputs]` or integer labels `[rows]` of each group,
            by name. A label means the same class in every group.
          shots, queries, ahead: as in the attributes.
          split: what to call the groups in an error.

        Raises:
          OptionError: shots or queries below 1.
          DataError: no groups, one with fewer rows than shots + queries, shapes that do not fit each other, what is no
            number, or one that is not finite.
        """
        check_counts(shots=shots, queries=queries)
        if not groups:
            raise DataError(f"There are no {split} groups; a task needs the rows of at least one.")
        tables: list[tuple[NDArray[Any], NDArray[Any]]] = []
        for name, (x, y) in groups.items():
            table = _checked(name, "x", x), _labels(name, y) if np.ndim(y) == 1 else _checked(name, "y", y)
            for part, array, first in zip("xy", table, tables[0] if tables else table, strict=True):
                if array.shape[1:] != first.shape[1:]:
                    raise DataError(
                        f"{part} of group {name} has {_columns(array)} and that of group {next(iter(groups))} has "
                        f"{_columns(first)}; all groups need the same columns."
                    )
            rows = len(table[0])
            if len(table[1]) != rows:
                raise DataError(f"Group {name} has {rows} rows of x and {len(table[1])} of y; they must be as many.")
            if rows < shots + queries:
                raise DataError(
                    f"Group {name} has {rows} rows, fewer than {shots} shots + {queries} queries; "
                    "use fewer shots or queries, add rows, or leave the group out."
                )
            tables.append(table)
        counts = np.array([len(x) for x, _ in tables], np.int32)
        x, y = (np.zeros((len(tables), counts.max(), *array.shape[1:]), array.dtype) for array in tables[0])
        for i, (x_rows, y_rows) in enumerate(tables):
            x[i, : counts[i]], y[i, : counts[i]] = x_rows, y_rows
        return cls(jnp.asarray(x), jnp.asarray(y), jnp.asarray(counts), shots, queries, ahead)

    def sample(self, key: Array) -> Task:
        """One task: support `[shots, …]`, query `[queries, …]`, distinct rows of one group."""
        key_group, key_rows, key_start = (jax.random.fold_in(key, i) for i in range(3))
        group = jax.random.randint(key_group, (), 0, len(self.counts))
        places, count = jnp.arange(self.x.shape[1]), self.counts[group]
        # The places of the largest of n random numbers are a sample without replacement, in random order.
        scores = jax.random.uniform(key_rows, places.shape)
        if self.ahead:
            start = jax.random.randint(key_start, (), 0, count - self.shots - self.queries + 1)
            support = start + jnp.arange(self.shots)
            later = (places >= start + self.shots) & (places < count)
            _, query = jax.lax.top_k(jnp.where(later, scores, -1.0), self.queries)
        else:
            _, drawn = jax.lax.top_k(jnp.where(places < count, scores, -1.0), self.shots + self.queries)
            support, query = drawn[: self.shots], drawn[self.shots :]
        x, y = self.x[group], self.y[group]
        return Task(Batch(x[support], y[support]), Batch(x[query], y[query]))


def _columns(table: NDArray[Any]) -> str:
    return "labels" if table.ndim == 1 else f"{table.shape[1]} columns"


def _labels(name: str, y: ArrayLike) -> NDArray[np.int32]:
    """Labels `[rows]`, whole numbers from 0."""
    array = np.asarray(y)
    if not np.issubdtype(array.dtype, np.integer) or (array < 0).any():
        raise DataError(
            f"y of group {name} has type {array.dtype} and shape {array.shape}; labels must be integers from 0, and "
            "targets of regression (rows, outputs): y[:, None] for one output."
        )
    return array.astype(np.int32)


def _checked(name: str, part: str, table: ArrayLike) -> NDArray[np.float32]:
    """One table `[rows, columns]` of finite numbers."""
    array = np.asarray(table)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise DataError(f"{part} of group {name} has type {array.dtype}; it must be numbers.")
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(
            f"{part} of group {name} has shape {array.shape}; it must be (rows, columns) with at least one column."
        )
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(single))[0])
        raise DataError(
            f"{part} of group {name} is {array[row, column]} at row {row}, column {column}, counted from 0; remove or "
            "replace what is NaN, infinite or beyond single precision."
        )
    return single
