"""Data that stay on the host: a compiled program calls Python for each task that it draws.

The data fetched depend on the arguments alone. So a training stays the same to the last bit, however it is batched,
sharded or resumed. A fetch may use NumPy only: JAX would wait for the device that waits for the fetch.

A fetch must not raise, since the other devices would wait for this one for ever. One that fails returns NaN, and
`surfacing` raises its error when the program has returned.
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
    """The result of `many(argument)`, called on the host from within a compiled program.

    Args:
      many: a pure function of a NumPy array. In a batch, its argument and its result have further leading axes.
      like: shapes and types of its result without these axes, a pytree of `jax.ShapeDtypeStruct`.
      argument: the argument.
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
            return jax.tree.map(lambda leaf: _nothing((*axes, *leaf.shape), leaf.dtype), like)

    return jax.pure_callback(guarded, like, argument, vmap_method="expand_dims")


def _nothing(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.full(shape, np.nan if dtype.kind == "f" else 0, dtype)


def _failure(error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    failure = DataError(f"Data could not be fetched ({type(error).__name__}: {error}).")
    failure.__cause__ = error
    return failure


def fetch_each(one: Callable[[NDArray[Any]], Any], like: Any, argument: Array) -> Any:
    """The same for a function that takes no batches: it is called for each member of a batch."""

    def many(batch: NDArray[Any]) -> Any:
        axes = batch.shape[: batch.ndim - argument.ndim]
        results = [one(member) for member in batch.reshape(-1, *argument.shape)]
        return jax.tree.map(lambda *leaves: np.stack(leaves).reshape(*axes, *leaves[0].shape), *results)

    return fetch(many, like, argument)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class HostRows:
    """Rows of an array that stays where it is, on the disk for example: `rows[places]` reads only those.

    Attributes:
      array: `[rows, ...]`, with a shape and a type, which can be indexed by an increasing array of rows: a
        `numpy.memmap` or an h5py dataset.
      order: the row of the array at each place, `[places]`.
      dtype: the type in which rows are read.
    """

    array: Any
    order: NDArray[np.integer]
    dtype: Any

    def __getitem__(self, places: Array) -> Array:
        """Rows `[*places.shape, ...]`."""
        return fetch(self.read, jax.ShapeDtypeStruct((*places.shape, *self.array.shape[1:]), self.dtype), places)

    def read(self, places: NDArray[np.integer]) -> NDArray[Any]:
        """The same on the host. Raises DataError for a row that is not finite in single precision."""
        wanted = self.order[places]
        distinct, back = np.unique(wanted, return_inverse=True)  # in the order of the disk, each once
        with np.errstate(over="ignore"):
            rows = np.asarray(self.array[distinct]).astype(self.dtype, copy=False)
        finite = np.isfinite(rows).reshape(len(rows), -1).all(1)
        if not finite.all():
            raise DataError(f"x holds a number that is not finite in row {distinct[~finite][0]}; remove or replace it.")
        return rows[back.reshape(wanted.shape)]


@contextlib.contextmanager
def surfacing() -> Iterator[None]:
    """Raises the error of a fetch that failed in programs which ran, and were waited for, within the block."""
    _failures.clear()
    try:
        yield
    finally:  # before an error that only says that the result is not finite
        if _failures:
            raise _failures.pop()
