"""Where data sets are, and where unpacked images are kept."""

import os
from pathlib import Path


def data_root(root: str = "") -> Path:
    """The folder given; otherwise `$MTNETS_DATA`, or `data` where that is not set."""
    return Path(root or os.environ.get("MTNETS_DATA") or "data").expanduser()


def cache_folder(path: str = "") -> Path:
    """The folder given; otherwise `$MTNETS_CACHE`, `$XDG_CACHE_HOME/mtnets` or `~/.cache/mtnets`, the first that is
    set."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(path or os.environ.get("MTNETS_CACHE") or Path(home, "mtnets")).expanduser()
