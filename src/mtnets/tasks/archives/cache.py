"""Images unpacked once into one array, kept in a cache folder."""

import contextlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError
from mtnets.files import replacing


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
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, EOFError):  # absent or damaged
        record = json.loads(notes.read_text("utf-8"))
        with arrays.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
        if _checksum(array) == record["crc32"]:
            return array, record["notes"]
    array, new_notes = make()
    text = json.dumps({"crc32": _checksum(array), "notes": new_notes})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The notes come last: they hold the checksum by which a reader knows that the pair is whole.
        with replacing(arrays) as file:
            np.save(file, array)
        with replacing(notes) as file:
            file.write(text.encode())
    except OSError as error:
        raise DataError(
            f"The cache folder {folder} cannot be written: {error}; set MTNETS_CACHE to another one."
        ) from error
    return array, json.loads(text)["notes"]


def _checksum(array: NDArray[np.uint8]) -> str:
    shape = f"{array.dtype} {array.shape}"
    return f"{shape} {zlib.crc32(np.ascontiguousarray(array).data):08x}"
