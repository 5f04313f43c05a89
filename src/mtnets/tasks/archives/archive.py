"""Files in a folder or in a zip archive, read alike. Nothing is unpacked beside them."""

import contextlib
import dataclasses
import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from mtnets.errors import DataError


@dataclasses.dataclass(frozen=True)
class Archive:
    """A folder or a zip archive, open for reading.

    Attributes:
      path: the folder or zip archive.
      names: the files in it, in order, as paths with `/` relative to it; hidden ones are left out.
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
      DataError: for a path that is neither, a damaged archive, or one with an entry that points outside of it.
    """
    if path.is_dir():
        yield _folder(path)
        return
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected a folder or a zip archive.")
    try:
        opened = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"Archive {path} cannot be read: {error}; fetch it again.") from error
    with opened:
        yield _zip(path, opened)


def _folder(path: Path) -> Archive:
    stats: dict[str, os.stat_result] = {}
    seen: set[str] = set()
    for folder, inner, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        inner[:] = [] if real in seen else inner  # a link may lead back up
        seen.add(real)
        for file in files:
            full = Path(folder, file)
            name = full.relative_to(path).as_posix()
            if _visible(name):
                stats[name] = full.stat()
    names = tuple(sorted(stats))
    lines = (f"{name} {stats[name].st_size} {stats[name].st_mtime_ns}" for name in names)
    return Archive(path, names, fingerprint(*lines), lambda name: read_file(path / name))


def _zip(path: Path, opened: zipfile.ZipFile) -> Archive:
    entries = {entry.filename: entry for entry in opened.infolist() if not entry.is_dir()}
    for name in entries:
        posix = PurePosixPath(name.replace("\\", "/"))
        if posix.is_absolute() or ".." in posix.parts or any(":" in part for part in posix.parts[:1]):
            raise DataError(f"Archive {path} has an entry that points outside of it, {name!r}; do not use it.")
    names = tuple(sorted(name for name in entries if _visible(name)))
    lines = (f"{name} {entries[name].file_size} {entries[name].CRC}" for name in names)

    def read(name: str) -> bytes:
        try:
            return opened.read(entries[name])  # compares the CRC
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
            raise DataError(f"Archive {path} is damaged at {name}: {error}; fetch it again.") from error

    return Archive(path, names, fingerprint(*lines), read)


def _visible(name: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises DataError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"File {path} cannot be read: {error}.") from error


def fingerprint(*lines: str) -> str:
    """One short name for all these lines."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()[:32]
