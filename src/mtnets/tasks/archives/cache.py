"""Images unpacked once into one array, kept in a cache folder."""

import contextlib
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError
from mtnets.files import read, read_json, replacing, write_json


def cached(folder: Path, name: str, make: Callable[[], tuple[NDArray[np.uint8], Any]]) -> tuple[NDArray[np.uint8], Any]:
    """An array with notes from the cache. Where it is absent or damaged, it is made and kept for the next time.

    Args:
      folder: the cache folder.
      name: names the content: it must change when the content would.
      make: returns the array and its notes (JSON).

    Returns:
      The array and its notes, as JSON gives them back (lists for tuples).

    Raises:
      DataError: the cache folder cannot be written.
    """
    arrays, notes = folder / f"{name}.npy", folder / f"{name}.json"
    with contextlib.suppress(Exception):  # absent or damaged: on headers of arrays NumPy raises nearly anything
        record = read_json(notes)
        array = _array(read(arrays))
        if isinstance(record, dict) and record.keys() == {"crc32", "notes"} and _checksum(array) == record["crc32"]:
            return array, record["notes"]
    array, new_notes = make()
    record = {"crc32": _checksum(array), "notes": new_notes}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The notes come last: they hold the checksum by which a reader knows that the pair is whole.
        with replacing(arrays) as file:
            np.save(file, array)
        write_json(notes, record)
    except OSError as error:
        raise DataError(
            f"The cache folder {folder} cannot be written: {error}; set MTNETS_CACHE to another one."
        ) from error
    return array, json.loads(json.dumps(new_notes))


def _array(data: bytes) -> NDArray[np.uint8]:
    """The array in the bytes of a .npy file, which are not copied.

    Raises:
      ValueError: for a damaged file, one of another version, or one of Python objects.
    """
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"it has version {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def _checksum(array: NDArray[np.uint8]) -> str:
    shape = f"{array.dtype} {array.shape}"
    return f"{shape} {zlib.crc32(np.ascontiguousarray(array).data):08x}"
