"""Where data sets are, and where unpacked images are kept."""

import os
from pathlib import Path

from mtnets.errors import OptionError


def data_root(root: str = "") -> Path:
    """The folder given; otherwise `$MTNETS_DATA`, or `data` where that is not set."""
    return Path(root or os.environ.get("MTNETS_DATA") or "data").expanduser()


def cache_folder(path: str = "") -> Path:
    """The folder given; otherwise `$MTNETS_CACHE`, or that of the system where that is not set: on Linux
    `$XDG_CACHE_HOME/mtnets` or `~/.cache/mtnets`, on macOS `~/Library/Caches/mtnets`, on Windows
    `%LOCALAPPDATA%\\mtnets\\Cache`."""
    if chosen := path or os.environ.get("MTNETS_CACHE"):
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise OptionError(
                f"The cache folder {chosen} is nobody's ({error}); set MTNETS_CACHE to another one."
            ) from error
    import platformdirs

    return platformdirs.user_cache_path("mtnets", appauthor=False)
