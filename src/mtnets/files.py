"""Files that are either there whole or not at all, and that know when they are damaged."""

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import secrets
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtnets.errors import RunError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

CHECKSUM = "checksum"  # the entry of a JSON file that holds the digest of the others
MOST_BYTES = 16 << 30  # of a file that is read whole
MOST_JSON_BYTES = 64 << 20


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Any]:
    """A binary file that takes its place at `path` when the block ends well, and vanishes otherwise.

    Folders on the way to it are made. When the block has ended, file and folder are on the disk. What a process that
    was killed left of earlier attempts is removed.

    Raises:
      RunError: where the path is a folder, or a folder on the way to it is a file.
    """
    path = Path(path)
    check_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, path.name)
    temporary, file = _temporary(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            os.replace(temporary, path)  # while the lock of the file is held
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # it has taken its place already
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def check_place(path: str | Path) -> None:
    """Raises RunError for a path where no file can be written: that of a folder, below a file, or no path at all."""
    path = Path(path)
    if "\0" in str(path):
        raise RunError(f"{str(path)!r} is no path, since it has the character \\0; name another one.")
    if path.is_dir():
        raise RunError(f"{path} is a folder; name a file in it.")
    if any(parent.is_file() for parent in path.parents):
        raise RunError(f"{path} cannot be written, since a folder on the way to it is a file; name another path.")


def _temporary(path: Path) -> tuple[str, Any]:
    """A new file beside `path`, open and locked as long as it is open."""
    while True:
        name = f"{path.parent / f'.{path.name[:200]}'}.{secrets.token_hex(4)}.tmp"
        file = os.fdopen(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), "w+b")
        if _lock(file):
            with contextlib.suppress(FileNotFoundError):  # another process took it for abandoned before it was locked
                if os.path.samestat(os.stat(name), os.fstat(file.fileno())):
                    return name, file
        file.close()


def _lock(file: Any) -> bool:
    """Locks an open file until it is closed; whether nobody else had."""
    try:
        if fcntl is not None:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def remove_abandoned(folder: Path, name: str = "") -> None:
    """Removes the temporary files that processes which were killed have left in a folder: those that nobody locks.

    Args:
      folder: where they are.
      name: of the file that they were to become; any by default.
    """
    pattern = f".{glob.escape(name[:200])}.*.tmp" if name else ".*.tmp"
    for left in folder.glob(pattern):
        with contextlib.suppress(OSError):  # not ours, or gone
            with left.open("r+b") as file:
                abandoned = _lock(file)
                if abandoned and fcntl is not None:
                    left.unlink()
            if abandoned and fcntl is None:
                left.unlink()


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system can tell."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders, and one may be for writing alone
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that syncs none
            raise
    finally:
        os.close(handle)


def read(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of an ordinary file.

    Raises:
      OSError: if it is not there or cannot be read.
      ValueError: for a pipe or a device, which might never end, or for more than `most` bytes.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is a folder, a pipe or a device, not a file")
        if status.st_size > most:
            raise ValueError(f"it has {status.st_size} bytes, and at most {most} are read")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(handle)


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
      ValueError: for text that is no JSON, nested too deeply, or not UTF-8.
    """
    try:
        return json.loads(data if isinstance(data, str) else data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def finite(value: Any) -> Any:
    """The value with None for each number that is not finite, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def checksum(value: Any, kind: str = "sha256") -> str:
    """The digest (`sha256`, or the shorter `crc32`) of a value of JSON, however its text is laid out."""
    text = json.dumps(json.loads(json.dumps(value)), sort_keys=True, separators=(",", ":")).encode()
    return f"crc32:{zlib.crc32(text):08x}" if kind == "crc32" else f"sha256:{hashlib.sha256(text).hexdigest()}"


def checked(value: Any) -> Any:
    """A JSON object without its checksum, if it has one.

    Raises:
      ValueError: if the object is not that of its checksum.
    """
    if not isinstance(value, dict) or CHECKSUM not in value:
        return value
    rest = {name: inner for name, inner in value.items() if name != CHECKSUM}
    if value[CHECKSUM] != checksum(rest, str(value[CHECKSUM]).partition(":")[0]):
        raise ValueError(f"its checksum is not that of its contents; if you changed it on purpose, take {CHECKSUM} out")
    return rest


def write_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object with its checksum."""
    with replacing(path) as file:
        sealed = {**value, CHECKSUM: checksum(value)}
        file.write((json.dumps(sealed, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | Path, most: int = MOST_JSON_BYTES) -> Any:
    """The value of a JSON file, without its checksum.

    Raises:
      OSError: if it is not there or cannot be read.
      ValueError: for a file that is no JSON, too large, or not that of its checksum.
    """
    return checked(parse_json(read(path, most)))
