"""Data that stay on the host: a compiled program calls Python for each task that it draws.

The data fetched depend on the arguments alone. So a training stays the same to the last bit, however it is batched,
sharded or resumed. A fetch may use NumPy only: JAX would wait for the device that waits for the fetch.

A fetch must not raise, since the other devices would wait for this one for ever. One that fails returns NaN, and
`surfacing` raises its error when the program has returned. Fetches run in threads of JAX, for programs that several
threads may share. So a program is told the number of its call, an argument as others are, and hands it to each fetch.
"""

import contextlib
import contextvars
import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.core import Tracer
from numpy.typing import NDArray

from mtnets.errors import DataError
from mtnets.tasks.sampling.mapped_rows import announce

NOBODY = 0  # the number of a call whose errors nobody asks for
_numbers = itertools.cycle(range(1, 2**32))
_number: contextvars.ContextVar[int] = contextvars.ContextVar("number of the call", default=NOBODY)
_failures: dict[int, list[DataError]] = {}  # of the calls that are under way, by number


@jax.tree_util.register_pytree_node_class
class Call:
    """The call of a program that a fetch belongs to. A distribution whose tasks are fetched holds one.

    As a pytree it has one leaf, the number of the call: outside of programs that of the block of `surfacing` that this
    thread is in, however old the object is, and within a program the program's argument.
    """

    def __init__(self, number: Any = None) -> None:
        self._argument = None if isinstance(number, np.ndarray) or _is_concrete(number) else number

    @property
    def number(self) -> Any:
        """The number, `[]` uint32."""
        return np.asarray(_number.get(), np.uint32) if self._argument is None else self._argument

    def tree_flatten(self) -> tuple[tuple[Any], None]:
        """See `jax.tree_util.register_pytree_node_class`."""
        return (self.number,), None

    @classmethod
    def tree_unflatten(cls, _: None, leaves: tuple[Any]) -> "Call":
        """See `jax.tree_util.register_pytree_node_class`."""
        return cls(*leaves)


def _is_concrete(value: Any) -> bool:
    return isinstance(value, Array) and not isinstance(value, Tracer)


@contextlib.contextmanager
def surfacing() -> Iterator[None]:
    """Raises the error of a fetch that failed in programs which this thread ran, and waited for, within the block."""
    number = next(_numbers)
    failures = _failures[number] = []
    outer = _number.set(number)
    try:
        yield
    except Exception:
        if failures:  # before an error that only says that the result is not finite
            raise failures[0] from failures[0].__cause__
        raise
    finally:
        _number.reset(outer)
        del _failures[number]
    if failures:
        raise failures[0]


def fetch(many: Callable[[NDArray[Any]], Any], like: Any, argument: Array, call: Call) -> Any:
    """The result of `many(argument)`, called on the host from within a compiled program.

    Args:
      many: a pure function of a NumPy array. In a batch, its argument and its result have further leading axes.
      like: shapes and types of its result without these axes, a pytree of `jax.ShapeDtypeStruct`.
      argument: the argument.
      call: of the program, which learns of errors.
    """

    def guarded(arguments: Any, numbers: Any) -> Any:
        batch = np.asarray(arguments)
        try:
            return many(batch)
        except Exception as error:
            _report(_failure(error), np.unique(numbers).tolist())
            axes = batch.shape[: batch.ndim - argument.ndim]
            return jax.tree.map(lambda leaf: _nothing((*axes, *leaf.shape), leaf.dtype), like)

    return jax.pure_callback(guarded, like, argument, call.number, vmap_method="expand_dims")


def _report(failure: DataError, calls: list[int]) -> None:
    for number in calls:
        failures = _failures.get(number)
        if failures is None:  # a program that nobody watches
            logging.getLogger(__name__).error("%s", failure)
        else:
            failures.append(failure)


def _nothing(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.full(shape, np.nan if dtype.kind == "f" else 0, dtype)


def _failure(error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    failure = DataError(f"Data could not be fetched ({type(error).__name__}: {error}).")
    failure.__cause__ = error
    return failure


def fetch_each(one: Callable[[NDArray[Any]], Any], like: Any, argument: Array, call: Call) -> Any:
    """The same for a function that takes no batches: it is called for each member of a batch."""

    def many(batch: NDArray[Any]) -> Any:
        axes = batch.shape[: batch.ndim - argument.ndim]
        results = [one(member) for member in batch.reshape(-1, *argument.shape)]
        return jax.tree.map(lambda *leaves: np.stack(leaves).reshape(*axes, *leaves[0].shape), *results)

    return fetch(many, like, argument, call)


@dataclasses.dataclass(frozen=True, eq=False)
class RowReader:
    """Reads rows of an array that stays where it is, on the disk for example.

    Attributes:
      array: `[rows, ...]`, with a shape and a type, which can be indexed by an increasing array of rows: a
        `numpy.memmap` or an h5py dataset.
      order: the row of the array at each place, `[places]`.
      dtype: the type in which rows are read.
    """

    array: Any
    order: NDArray[np.integer]
    dtype: Any

    def __call__(self, places: NDArray[np.integer]) -> NDArray[Any]:
        """Rows `[*places.shape, ...]`. Raises DataError for a row that is not finite in single precision."""
        wanted = self.order[places]
        distinct, back = np.unique(wanted, return_inverse=True)  # in the order of the disk, each once
        announce(self.array, distinct)
        with np.errstate(over="ignore"):
            rows = np.asarray(self.array[distinct]).astype(self.dtype, copy=False)
        finite = np.isfinite(rows).reshape(len(rows), -1).all(1)
        if not finite.all():
            raise DataError(f"x holds a number that is not finite in row {distinct[~finite][0]}; remove or replace it.")
        return rows[back.reshape(wanted.shape)]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class HostRows:
    """Rows of an array as a program sees them: `rows[places]` reads only those.

    Attributes:
      read: reads rows on the host.
      call: of the program.
    """

    read: RowReader = dataclasses.field(metadata={"static": True})
    call: Call = dataclasses.field(default_factory=Call)

    def __getitem__(self, places: Array) -> Array:
        """Rows `[*places.shape, ...]`."""
        shape = (*places.shape, *self.read.array.shape[1:])
        return fetch(self.read, jax.ShapeDtypeStruct(shape, self.read.dtype), places, self.call)
