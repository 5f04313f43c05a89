"""JSON objects that ship with the package."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtnets.errors import RunError
from mtnets.files import read_json

Form = Mapping[str, Any]  # what an object must have: for each name text (`str`), or the form of an object


def read_object(path: Path, form: Form) -> dict[str, Any]:
    """A JSON object that ships.

    Args:
      path: of its file.
      form: what it must have; it may have more.

    Raises:
      RunError: if it is not there, or damaged, as the installation is then.
    """
    try:
        value = read_json(path)
        _check("it", value, form)
    except (OSError, ValueError) as error:
        raise RunError(
            f"This installation of mtnets is damaged, at {path} ({error}); install it anew: "
            "pip install --force-reinstall mtnets."
        ) from error
    return value


def _check(name: str, value: Any, form: Any) -> None:
    """Raises ValueError for a value of another form."""
    if form is str:
        if not isinstance(value, str):
            raise ValueError(f"{name} is {value!r:.40}, not text")
        return
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r:.40}, not an object")
    for inner, needed in form.items():
        _check(inner, value.get(inner), needed)
