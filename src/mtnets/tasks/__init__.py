"""Where tasks come from.

`mtnets.tasks.sinusoid(shots=5)` builds a family of tasks. The options of a family are one frozen dataclass, and
`sinusoid(shots=5)` is `Sinusoid(shots=5).build()`.

Reading order: archives, inputs (from raw data to what a network sees), family, sampling, families, records.
"""

import inspect
from collections.abc import Callable
from typing import ParamSpec

from mtnets.tasks.families import (
    Folder,
    Glyphs,
    MiniImageNet,
    Omniglot,
    Polynomial,
    RandomTables,
    Sinusoid,
    Table,
)
from mtnets.tasks.families.arrays import arrays
from mtnets.tasks.families.hugging_face import hugging_face
from mtnets.tasks.families.table import table
from mtnets.tasks.family import FAMILIES, Family, Options, Recipe, inputs_of
from mtnets.tasks.inputs import AS_THEY_ARE, SAME_CLASSES, Images, Inputs, StandardisedRows, TableInputs
from mtnets.tasks.records import family_from_record, inputs_from_json, options_from_record, options_to_record
from mtnets.tasks.sampling import Episodes, Mixture, Rows, from_function, from_sequence
from mtnets.tasks.sampling.augmentations import AUGMENTATIONS
from mtnets.tasks.sampling.augmented import augmented
from mtnets.tasks.sampling.mixture import mixture
from mtnets.tasks.sampling.varied import varied

P = ParamSpec("P")


def _builder(options: Callable[P, Options], name: str) -> Callable[P, Family]:
    def build(*args: P.args, **kwargs: P.kwargs) -> Family:
        return options(*args, **kwargs).build()

    build.__name__ = build.__qualname__ = name
    build.__doc__ = options.__doc__
    build.__signature__ = inspect.signature(options).replace(return_annotation=Family)  # pyright: ignore
    return build


sinusoid = _builder(Sinusoid, "sinusoid")
polynomial = _builder(Polynomial, "polynomial")
glyphs = _builder(Glyphs, "glyphs")
omniglot = _builder(Omniglot, "omniglot")
miniimagenet = _builder(MiniImageNet, "miniimagenet")
folder = _builder(Folder, "folder")
random_tables = _builder(RandomTables, "random_tables")

__all__ = [
    "AS_THEY_ARE",
    "AUGMENTATIONS",
    "FAMILIES",
    "SAME_CLASSES",
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
    "RandomTables",
    "Recipe",
    "Rows",
    "Sinusoid",
    "StandardisedRows",
    "Table",
    "TableInputs",
    "arrays",
    "augmented",
    "family_from_record",
    "folder",
    "from_function",
    "from_sequence",
    "glyphs",
    "hugging_face",
    "inputs_from_json",
    "inputs_of",
    "miniimagenet",
    "mixture",
    "omniglot",
    "options_from_record",
    "options_to_record",
    "polynomial",
    "random_tables",
    "sinusoid",
    "table",
    "varied",
]
