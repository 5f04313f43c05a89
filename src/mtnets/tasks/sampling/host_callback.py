"""Data that stay on the host: a compiled program asks Python for them, task by task.

What is fetched is fixed by the arguments alone, so that a training stays the same bit for bit, however it is batched,
sharded or resumed. In a fetch NumPy alone is used: JAX there would wait for the very device that waits for it.

A fetch that fails must not raise: the other devices would wait for this one for ever. It gives NaN, and `surfacing`
raises its error when the program has returned.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mtnets.errors import DataError

_failures: list[DataError] = []  # the first since the last look: a callback has nowhere else to leave it


def fetch(many: Callable[[NDArray[Any]], Any], like: Any, argument: Array) -> Any:
    """`many(argument)` called on the host, from within a compiled program.

    Args:
      many: a pure function of a NumPy array; in a batch, that and what it returns have further leading axes.
      like: shapes and types of what it returns unbatched, a pytree of `jax.ShapeDtypeStruct`.
      argument: what it is given.
    """

    def guarded(arguments: Any) -> Any:
        batch = np.asarray(arguments)
        try:
            return many(batch)
        except Exception as error:
            failure = _failure(error)
            if not _failures:
                logging.getLogger(__name__).error("%s", failure)  # for a program that nobody watches
                _failures.append(failure)
            axes = batch.shape[: batch.ndim - argument.ndim]
            nothing = lambda leaf: np.full((*axes, *leaf.shape), np.nan if leaf.dtype.kind == "f" else 0, leaf.dtype)  # noqa: E731
            return jax.tree.map(nothing, like)

    return jax.pure_callback(guarded, like, argument, vmap_method="expand_dims")


def _failure(error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    failure = DataError(f"Data could not be fetched ({type(error).__name__}: {error}).")
    failure.__cause__ = error
    return failure


def fetch_each(one: Callable[[NDArray[Any]], Any], like: Any, argument: Array) -> Any:
    """The same for a function that knows of no batches: it is called for each member of one."""

    def many(batch: NDArray[Any]) -> Any:
        axes = batch.shape[: batch.ndim - argument.ndim]
        made = [one(each) for each in batch.reshape(-1, *argument.shape)]
        return jax.tree.map(lambda *leaves: np.stack(leaves).reshape(*axes, *leaves[0].shape), *made)

    return fetch(many, like, argument)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class HostRows:
    """Rows of an array that stays where it is, on the disk for example: `rows[places]` reads those asked for.

    Attributes:
      source: `[rows, ...]`, with a shape and a type, and indexed by an increasing array of rows: a `numpy.memmap`, an
        h5py dataset.
      order: the row of the source at each place, `[places]`.
      dtype: what they are read as.
    """

    source: Any
    order: NDArray[np.integer]
    dtype: Any

    def __getitem__(self, places: Array) -> Array:
        """Rows `[*places.shape, ...]`."""
        return fetch(self.read, jax.ShapeDtypeStruct((*places.shape, *self.source.shape[1:]), self.dtype), places)

    def read(self, places: NDArray[np.integer]) -> NDArray[Any]:
        """The same on the host. Raises DataError for a row that is not finite in single precision."""
        rows = self.order[places]
        distinct, back = np.unique(rows, return_inverse=True)  # in the order of the disk, each once
        with np.errstate(over="ignore"):
            found = np.asarray(self.source[distinct]).astype(self.dtype, copy=False)
        if not np.isfinite(found).all():
            bad = ~np.isfinite(found).reshape(len(found), -1).all(1)
            raise DataError(f"x holds what is no finite number in row {distinct[bad][0]}; remove or replace it.")
        return found[back.reshape(rows.shape)]


@contextlib.contextmanager
def surfacing() -> Iterator[None]:
    """Raises what went wrong in a fetch of the programs run within, and waited for within."""
    _failures.clear()
    try:
        yield
    finally:  # before an error that says no more than that the result is not finite
        if _failures:
            raise _failures.pop()
