"""Learners that ship with the package: small, meta-trained, ready to adapt without a network.

    learner = mtnets.load("omniglot-5way-1shot")

Each is a folder with `learner.safetensors` (everything learned, its record among it), the same record as
`learner.json`, and `card.json` for people: what it does, its licence, the command that made it, its score.
They are trained with support batch norm, so that a prediction does not depend on the other inputs of its batch.
`mtnets learners` lists them.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

FOLDER = resources.files(__name__)
CARD = "card.json"


def names() -> list[str]:
    """The names of the learners that ship."""
    return sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir() and (folder / CARD).is_file())


def path(name: str) -> Path:
    """The folder of one of them."""
    return Path(str(FOLDER / name))


def card(name: str) -> dict[str, Any]:
    """What is to be known about one of them: `about`, `input`, `output`, `data`, `licence`, `command`, `test`."""
    return json.loads((FOLDER / name / CARD).read_text("utf-8"))
