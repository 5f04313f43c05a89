"""Where tasks come from.

Each family is one frozen dataclass: its fields are the options, `build()` makes the family. The functions of
the same names in lower case take the same arguments and build at once: `sinusoid(shots=5)` is
`Sinusoid(shots=5).build()`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol

from mtnets.errors import OptionError, RunError
from mtnets.serialisation import from_json
from mtnets.tasks.families.arrays import arrays
from mtnets.tasks.families.glyphs import Glyphs
from mtnets.tasks.families.hugging_face import hugging_face
from mtnets.tasks.families.image_folder import Folder
from mtnets.tasks.families.miniimagenet import MiniImageNet
from mtnets.tasks.families.omniglot import Omniglot
from mtnets.tasks.families.polynomial import Polynomial
from mtnets.tasks.families.random_tables import Tabular
from mtnets.tasks.families.sinusoid import Sinusoid
from mtnets.tasks.families.table import Table, table
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.inputs.images import Images, read_folder, read_query
from mtnets.tasks.inputs.inputs import AS_THEY_ARE, Inputs
from mtnets.tasks.inputs.table_inputs import Columns
from mtnets.tasks.sampling.episodes import Episodes
from mtnets.tasks.sampling.mixture import Mixture, mixture
from mtnets.tasks.sampling.rows import Rows
from mtnets.tasks.sampling.user_tasks import from_function, from_sequence

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
miniimagenet = _builder(MiniImageNet)
folder = _builder(Folder)
tabular = _builder(Tabular)

FAMILIES: dict[str, type[Options]] = {
    "sinusoid": Sinusoid,
    "polynomial": Polynomial,
    "glyphs": Glyphs,
    "omniglot": Omniglot,
    "miniimagenet": MiniImageNet,
    "folder": Folder,
    "table": Table,
    "tabular": Tabular,
}


def inputs_from_json(values: Mapping[str, Any] | None) -> Inputs:
    """What `Inputs.to_json` made."""
    rest = dict(values or {})
    kind = rest.pop("kind", None)
    if kind == "images":
        return Images(**rest)
    return Columns.from_json(rest) if kind == "columns" else AS_THEY_ARE


def rebuild(record: Mapping[str, Any], **changes: Any) -> Family:
    """The family that a run was trained on.

    Args:
      record: its options as recorded, the name of the family among them: `learner.record["tasks"]`.
      **changes: options to change, for example `shots=5`.

    Raises:
      RunError: for tasks of the user's own.
      OptionError: for an option that the family does not have.
    """
    options = dict(record)
    kind = FAMILIES.get(options.pop("family", None) or "")
    if kind is None:
        raise RunError(
            "This learner was trained on tasks of your own; pass them, for example mtnets.evaluate(learner, tasks)."
        )
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, value in changes.items():
        if name not in known:
            raise OptionError(f"{name} is {value}, but {record['family']} tasks have no {name}.")
    return from_json(kind, {**options, **changes}).build()


__all__ = [
    "FAMILIES",
    "Columns",
    "Episodes",
    "Family",
    "Folder",
    "Glyphs",
    "Images",
    "Inputs",
    "MiniImageNet",
    "Mixture",
    "Omniglot",
    "Options",
    "Polynomial",
    "Recipe",
    "Rows",
    "Sinusoid",
    "Table",
    "Tabular",
    "arrays",
    "folder",
    "from_function",
    "from_sequence",
    "glyphs",
    "hugging_face",
    "inputs_from_json",
    "miniimagenet",
    "mixture",
    "omniglot",
    "polynomial",
    "read_folder",
    "read_query",
    "rebuild",
    "sinusoid",
    "table",
    "tabular",
]
