"""Files from the web, checked before they take their place."""

import hashlib
from pathlib import Path

from mtnets.errors import DataError
from mtnets.files import replacing
from mtnets.tasks.archives.progress_bar import track

_BLOCK = 1 << 16


def md5_of(path: Path) -> str:
    """The MD5 checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def fetch(url: str, path: Path, md5: str) -> None:
    """Fetches a file. A file that is at `path` is replaced only when the checksum of the new one is right.

    Raises:
      DataError: for a file that cannot be fetched, or has another checksum.
    """
    import http.client
    import urllib.request

    by_hand = f"put {path.name} into {path.parent} yourself"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=60) as answer, replacing(path) as file:
            length = int(answer.headers.get("Content-Length") or 0)
            blocks = iter(lambda: answer.read(_BLOCK), b"")
            digest = hashlib.md5(usedforsecurity=False)
            for block in track(blocks, f"Fetching {path.name}", max(1, -(-length // _BLOCK))):
                file.write(block)
                digest.update(block)
            if digest.hexdigest() != md5:
                raise DataError(
                    f"{url} has the checksum {digest.hexdigest()}; expected {md5}. Nothing was kept; try again, or "
                    f"{by_hand}."
                )
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url} cannot be fetched: {error}; try again, or {by_hand}.") from error
