"""Recipes: the whole configurations of trainings, one JSON file each.

`mtnets train FAMILY --config NAME` repeats one; `mtnets recipes` lists them.
"""

from importlib import resources
from pathlib import Path
from typing import Any

from mtnets.errors import OptionError, perhaps
from mtnets.shipped.objects import read_object

FOLDER = resources.files(__name__)
FORM = {"about": str, "tasks": {"family": str}, "method": {"name": str}, "training": {}}


def names() -> list[str]:
    """The names of all recipes."""
    return sorted(Path(file.name).stem for file in FOLDER.iterdir() if file.name.endswith(".json"))


def read(name: str) -> dict[str, Any]:
    """A recipe: what it is `about`, and the `tasks`, `method` and `training` of a run's configuration.

    Raises:
      OptionError: if there is none of this name.
      RunError: if the recipe is damaged.
    """
    if name not in names():
        raise OptionError(f"There is no recipe {name!r}; {perhaps(name, names())}there are {', '.join(names())}.")
    return read_object(Path(str(FOLDER / f"{name}.json")), FORM)
