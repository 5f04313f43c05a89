"""Learners that ship with the package: small, meta-trained, and ready to adapt without a network connection.

    learner = mtnets.load("omniglot-any-way-1shot")

Each is a folder with `learner.safetensors` (everything that was learned, and its record), the record again as
`learner.json`, and `card.json` for people. `mtnets learners` lists them. Learners of images use batch norm with
statistics of the support set, so that a prediction does not depend on the other inputs of its batch.
"""

from importlib import resources
from pathlib import Path
from typing import Any

from mtnets.errors import OptionError, perhaps
from mtnets.shipped.objects import read_object

FOLDER = resources.files(__name__)
CARD = "card.json"
FORM = {name: str for name in ("name", "about", "input", "output", "data", "score", "licence", "command")}


def names() -> list[str]:
    """The names of all learners that ship."""
    return sorted(folder.name for folder in FOLDER.iterdir() if (folder / CARD).is_file())


def path(name: str) -> Path:
    """The folder of a learner.

    Raises:
      OptionError: if none of this name ships.
    """
    if name not in names():
        raise OptionError(f"No learner {name!r} ships; {perhaps(name, names())}there are {', '.join(names())}.")
    return Path(str(FOLDER / name))


def card(name: str) -> dict[str, Any]:
    """A learner for people: what it is about, its input and output, data, licence, command, and score on test tasks.

    Raises:
      OptionError: if none of this name ships.
      RunError: if the card is damaged.
    """
    return read_object(path(name) / CARD, FORM)
