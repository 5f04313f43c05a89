"""Files in a folder or in a zip archive, read alike. Nothing is unpacked beside them."""

import contextlib
import dataclasses
import hashlib
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from mtnets import files
from mtnets.errors import DataError, warn

MOST_TIMES = 100  # as large as it was may a file become when it is unpacked
FREE, FREE_IN_ALL = 64 << 20, 1 << 30  # bytes that a file, and all files, may have in any case
_TOO_MANY = f"more than {MOST_TIMES} times as many are not unpacked: if you trust it, unpack it yourself"
_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Archive:
    """A folder or a zip archive, open for reading.

    Attributes:
      path: the folder or zip archive.
      names: the files in it, in order, as paths with `/` relative to it; hidden ones are left out, and so are links
        that lead nowhere, pipes and devices.
      fingerprint: changes when the content does. Zip archives: names, sizes and CRCs; folders: names, sizes and times.
      read: the bytes of a file by name. Raises DataError naming archive and file where its checksum is wrong.
    """

    path: Path
    names: tuple[str, ...]
    fingerprint: str
    read: Callable[[str], bytes]


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Opens a folder or a zip archive.

    Raises:
      DataError: for a path that is neither, a folder that cannot be read, a damaged archive, one with an entry that
        points outside of it, or one that unpacks to a hundred times its size.
    """
    if path.is_dir():
        yield _folder(path)
        return
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected a folder or a zip archive.")
    try:
        opened = zipfile.ZipFile(path)
    except Exception as error:  # on damaged archives it raises nearly anything
        raise DataError(f"Archive {path} cannot be read: {error}; fetch it again.") from error
    with opened:
        yield _zip(path, opened)


def _folder(path: Path) -> Archive:
    found: list[Path] = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise DataError(f"Folder {error.filename} cannot be read: {error.strerror}; allow it, or take it away.")

    for folder, inner, names in os.walk(path, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        inner[:] = [] if real in seen else [name for name in inner if _visible(name)]  # a link may lead back up
        seen.add(real)
        found += [Path(folder, name) for name in names if _visible(name)]
    stats = {file.relative_to(path).as_posix(): status for file, status in ordinary(found).items()}
    names = tuple(sorted(stats))
    lines = (f"{name} {stats[name].st_size} {stats[name].st_mtime_ns}" for name in names)
    return Archive(path, names, fingerprint(*lines), lambda name: read_file(path / name))


def ordinary(paths: Iterable[Path]) -> dict[Path, os.stat_result]:
    """Those of these that are ordinary files, or links to some, with their status. Warns of all others, which would
    fail or never end when they are read."""
    stats: dict[Path, os.stat_result] = {}
    others: list[Path] = []
    for file in paths:
        with contextlib.suppress(OSError):
            status = file.stat()
            if stat.S_ISREG(status.st_mode):
                stats[file] = status
            if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                continue
        others.append(file)
    if others:
        more = f", and {len(others) - 1} more are such" * (len(others) > 1)
        warn(f"{others[0]} is a broken link, a pipe or a device{more}; it is left out.")
    return stats


def _zip(path: Path, opened: zipfile.ZipFile) -> Archive:
    # `is_dir` needs a name
    entries = {entry.filename: entry for entry in opened.infolist() if entry.filename and not entry.is_dir()}
    for name in entries:
        posix = PurePosixPath(name.replace("\\", "/"))
        if posix.is_absolute() or ".." in posix.parts or any(":" in part for part in posix.parts[:1]):
            raise DataError(f"Archive {path} has an entry that points outside of it, {name!r}; do not use it.")
    names = tuple(sorted(name for name in entries if _visible(name)))
    size, total = path.stat().st_size, sum(entries[name].file_size for name in names)
    if total > most_unpacked(size, FREE_IN_ALL):
        raise DataError(f"Archive {path} says that its {size} bytes unpack to {total}; {_TOO_MANY}.")
    lines = (f"{name} {entries[name].file_size} {entries[name].CRC}" for name in names)

    def read(name: str) -> bytes:
        entry = entries[name]
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"Archive {path} has {name} in a form that is not usual; pack it again, by deflate.")
        if entry.file_size > most_unpacked(entry.compress_size):
            raise DataError(
                f"Archive {path} says that {name}, of {entry.compress_size} bytes, unpacks to {entry.file_size}; "
                f"{_TOO_MANY}."
            )
        try:
            with opened.open(entry) as file:  # in blocks: the size that it says may be false
                return b"".join(iter(lambda: file.read(_BLOCK), b""))  # compares the CRC at the end
        except Exception as error:  # on damaged data decompressors raise nearly anything
            raise DataError(f"Archive {path} is damaged at {name}: {error}; fetch it again.") from error

    return Archive(path, names, fingerprint(*lines), read)


def most_unpacked(size: int, free: int = FREE) -> int:
    """How many bytes may come out of `size` compressed ones. A few bytes can be made to unpack to any number."""
    return max(free, MOST_TIMES * size)


def _visible(name: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises DataError where it cannot be read."""
    try:
        return files.read(path)
    except (OSError, ValueError) as error:
        raise DataError(f"File {path} cannot be read: {error}.") from error


def fingerprint(*lines: str) -> str:
    """One short name for all these lines."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()[:32]
