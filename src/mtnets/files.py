"""Files that are either there whole or not at all."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtnets.errors import RunError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Any]:
    """A binary file that takes its place at `path` when the block ends well, and vanishes otherwise.

    Folders on the way to it are made.

    Raises:
      RunError: where the path is a folder, or a folder on the way to it is a file.
    """
    path = Path(path)
    if path.is_dir():
        raise RunError(f"{path} is a folder; name a file in it.")
    if any(parent.is_file() for parent in path.parents):
        raise RunError(f"{path} cannot be written, since a folder on the way to it is a file; name another path.")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)  # mkstemp's files are private; these are ordinary ones
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def finite(value: Any) -> Any:
    """The value with None for each number that is not finite, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | Path, value: Any) -> None:
    """Writes a value as JSON."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
