"""Arrays that a user passes: read as NumPy's and narrowed to the types of programs, with nothing lost silently."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import jax.numpy as jnp
import numpy as np

from mtnets.errors import DataError, MtnetsError, first_line

# Kinds of types. NumPy's own classes of types count times among whole numbers; bfloat16 and the like have V.
REAL, WHOLE = "fiub", "iu"
READERS = {  # what reads a file of such a name
    ".csv": "pandas.read_csv({})",
    ".parquet": "pandas.read_parquet({})",
    ".npy": "numpy.load({})",
    ".npz": "numpy.load({})['NAME']",
}


def read_array(value: Any, name: str) -> np.ndarray:
    """A value as an array.

    Args:
      value: what a user passed.
      name: what to call it in an error.

    Raises:
      DataError: as `reading_array`.
    """
    with reading_array(value, name):
        return np.asarray(value)


def is_several(value: Any) -> bool:
    """Whether a value is several arrays: a dictionary, or a tuple of arrays. A tuple of numbers is one array."""
    if isinstance(value, Mapping):
        return True
    return isinstance(value, tuple) and bool(value) and all(hasattr(v, "shape") or is_several(v) for v in value)


def read_arrays(value: Any, name: str) -> Any:
    """The same for a value that may be several arrays."""
    if not is_several(value):
        return read_array(value, name)
    parts = value.items() if isinstance(value, Mapping) else enumerate(value)
    read = {key: read_arrays(part, f"{name}[{key!r}]") for key, part in parts}
    return read if isinstance(value, Mapping) else tuple(read.values())


@contextlib.contextmanager
def reading_array(value: Any, name: str) -> Iterator[None]:
    """Turns errors of NumPy about a value that it cannot read into one DataError.

    Raises:
      DataError: for ragged lists, other objects than numbers, a path, and a masked array, whose mask would be lost.
    """
    check_no_path(value, name)
    check_unmasked(value, name)
    try:
        yield
    except MtnetsError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{name} cannot be read as an array of numbers ({first_line(error)}); all examples must have one shape."
        ) from error


def check_no_path(value: Any, name: str) -> None:
    """Raises DataError for the path of a file or folder in the place of what it holds, with what reads it."""
    if isinstance(value, str | os.PathLike):
        text = os.fsdecode(value)
        as_on_command_line = "be read as `mtnets adapt` does: mtnets.learner.predict_files(learner, support, query)"
        if os.path.isdir(text):
            raise DataError(
                f"{name} is {text!r}, a folder; let it {as_on_command_line}, or pass a list of the paths of its images."
            )
        reader = READERS.get(PurePath(text).suffix.lower(), "for images a list of their paths, [{}]")
        raise DataError(
            f"{name} is {text!r}, which is text; pass what the file holds: {reader.format(repr(text))}, or let files "
            f"{as_on_command_line}."
        )


def check_unmasked(value: Any, name: str) -> None:
    """Raises DataError for a masked array in which something is masked, or a list that holds one."""
    if _is_masked(value):
        raise DataError(f"{name} is a masked array; fill in what is masked, or leave those examples out.")


def _is_masked(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_masked, value))
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


def check_real(array: np.ndarray, name: str) -> None:
    """Raises DataError for an array of anything but real numbers."""
    if array.dtype.kind not in REAL and not jnp.issubdtype(array.dtype, jnp.floating):
        raise DataError(f"{name} has type {array.dtype}; it must be real numbers.")


def narrowed(array: np.ndarray, dtype: Any, name: str) -> np.ndarray:
    """An array in the type of a program.

    Fractions are rounded to the precision of the type, and so are large whole numbers. All else is refused.

    Args:
      array: of any type.
      dtype: floating point or whole numbers.
      name: what to call it in an error.

    Raises:
      DataError: for numbers that are complex, not finite, or beyond the type, for fractions where the type has whole
        numbers, naming the first one; and where all are so small that they would be 0.
    """
    check_real(array, name)
    dtype = np.dtype(dtype)
    if array.dtype == dtype and dtype.kind in "iub":
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = array.astype(dtype)
        wrong = ~np.isfinite(narrow) if jnp.issubdtype(dtype, jnp.floating) else narrow != array
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(f"{name} is {array[place]} at {place}; {_remedy(array[place], dtype)}.")
    if array.any() and not narrow.any():
        raise DataError(f"{name} has numbers up to {np.abs(array).max():.2g}, all 0 in {dtype}; change their unit.")
    return narrow


def _remedy(number: Any, dtype: np.dtype) -> str:
    if not np.isfinite(number):
        return "remove or replace what is NaN or infinite"
    if jnp.issubdtype(dtype, jnp.floating):
        return f"numbers must be within ±{float(jnp.finfo(dtype).max):.2g}, the range of {dtype}: change their unit"
    if dtype.kind == "b":
        return "it must be True or False"
    return f"it must be a whole number from {np.iinfo(dtype).min} to {np.iinfo(dtype).max}"
