"""Where tasks come from.

Each family is one frozen dataclass: its fields are the options, `build()` makes the family. The functions of
the same names in lower case take the same arguments and build at once: `sinusoid(shots=5)` is
`Sinusoid(shots=5).build()`.
"""

import inspect
from collections.abc import Callable
from typing import ParamSpec, Protocol

from mtnets.tasks.episodes import Episodes
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.folder import Folder
from mtnets.tasks.glyphs import Glyphs
from mtnets.tasks.images import Images, read_folder, read_query
from mtnets.tasks.omniglot import Omniglot
from mtnets.tasks.polynomial import Polynomial
from mtnets.tasks.sinusoid import Sinusoid

P = ParamSpec("P")


class Options(Protocol):
    """The options of a family."""

    def build(self) -> Family:
        """Builds it."""
        ...


def _builder(options: Callable[P, Options]) -> Callable[P, Family]:
    def build(*args: P.args, **kwargs: P.kwargs) -> Family:
        return options(*args, **kwargs).build()

    build.__name__ = build.__qualname__ = options.__name__.lower()
    build.__doc__ = options.__doc__
    build.__signature__ = inspect.signature(options).replace(return_annotation=Family)  # pyright: ignore
    return build


# These take the names of the modules they come from, on purpose: `from mtnets.tasks.omniglot import download`
# still works.
sinusoid = _builder(Sinusoid)
polynomial = _builder(Polynomial)
glyphs = _builder(Glyphs)
omniglot = _builder(Omniglot)
folder = _builder(Folder)

FAMILIES: dict[str, type[Options]] = {
    "sinusoid": Sinusoid,
    "polynomial": Polynomial,
    "glyphs": Glyphs,
    "omniglot": Omniglot,
    "folder": Folder,
}

__all__ = [
    "FAMILIES",
    "Episodes",
    "Family",
    "Folder",
    "Glyphs",
    "Images",
    "Omniglot",
    "Options",
    "Polynomial",
    "Recipe",
    "Sinusoid",
    "folder",
    "glyphs",
    "omniglot",
    "polynomial",
    "read_folder",
    "read_query",
    "sinusoid",
]
