"""Files from the web, fetched by Pooch and checked before they take their place."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from mtnets.errors import DataError, first_line
from mtnets.tasks.archives.progress_bar import advancing

TRIES = 3  # of each address
_BLOCK = 1 << 16


def fetch(urls: Sequence[str], path: Path, checksum: str, size: int) -> None:
    """Fetches a file, unless it is there.

    Args:
      urls: where it is published. Each is tried a few times, until one serves the file.
      path: where it belongs. A file there is replaced only when the checksum of the new one is right.
      checksum: of the file, `"sha256:…"`.
      size: of the file in bytes; no more are taken from a server.

    Raises:
      DataError: for a file that cannot be fetched, has more bytes or another checksum.
    """
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    failures: list[str] = []
    for url in urls:
        known, where = {path.name: checksum}, {path.name: url}
        folder = pooch.create(path.parent, "", registry=known, urls=where, retry_if_failed=TRIES - 1)
        downloader: Any = functools.partial(_download, size=size)
        try:
            folder.fetch(path.name, downloader=downloader)
            return
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {first_line(error)}")
    raise DataError(
        f"{path.name} cannot be fetched ({'; '.join(failures)}). Nothing was kept; try again, or put it into "
        f"{path.parent} yourself."
    )


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file has a checksum, `"sha256:…"`."""
    import pooch

    algorithm, _, digest = checksum.partition(":")
    return pooch.file_hash(str(path), algorithm) == digest


class _Limited:
    """A file that takes no more than so many bytes.

    Args:
      file: where they go.
      left: how many there may be.
      advance: is called with how many have come.
    """

    def __init__(self, file: IO[bytes], left: int, advance: Any) -> None:
        self.file, self.left, self.advance = file, left, advance

    def write(self, block: bytes) -> None:
        self.left -= len(block)
        if self.left < 0:
            raise ValueError("it has more bytes than the file that was published")
        self.file.write(block)
        self.advance(len(block))

    def flush(self) -> None:
        """Blocks are written when the file is closed."""


def _download(url: str, output: str, _: Any, *, size: int) -> None:
    """A downloader of Pooch, which takes `size` bytes at most."""
    import pooch

    with open(output, "wb") as file, advancing(f"Fetching {url.rpartition('/')[2]}", size) as advance:
        pooch.HTTPDownloader(chunk_size=_BLOCK, timeout=60)(url, _Limited(file, size, advance), None)
