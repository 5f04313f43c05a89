"""What is told beside an answer: categories of a request that a learner, or a table, does not know."""

from collections.abc import Iterator
from typing import Any

from mtnets.tasks import Inputs
from mtnets.tasks.inputs import TableInputs
from mtnets.tasks.inputs.cells import Cells, cells_of
from mtnets.tasks.inputs.columns import CategoryColumn, Column


def notes_on(inputs: Inputs, x: Any) -> list[str]:
    """What raw inputs of a learner hold that it does not know, a sentence for each category.

    Args:
      inputs: of the learner.
      x: raw inputs: columns by name for a learner of a table, of which alone there is something to tell.
    """
    if not isinstance(inputs, TableInputs):
        return []
    cells = cells_of(x)
    return [
        f"{column.name} is {value!r:.40} in {_rows(count)} and in none of training, so it counts as missing; correct "
        "it, or send null."
        for column in inputs.columns
        for value, count in unknown(column, cells)
    ]


def notes_on_table(column: Column, cells: Cells, target: str) -> list[str]:
    """What a column of a pasted table holds in rows to predict alone, a sentence for each category.

    Args:
      column: as the rows with the target have it.
      cells: of the rows to predict.
      target: the column that is predicted.
    """
    return [
        f"{column.name} is {value!r:.40} in {_rows(count)} to predict and in none with {target}, so it counts as "
        "missing; correct it, or add such a row."
        for value, count in unknown(column, cells)
    ]


def unknown(column: Column, cells: Cells) -> Iterator[tuple[str, int]]:
    """The categories of some rows that a column does not have, and in how many rows; none of numbers."""
    if isinstance(column, CategoryColumn):
        for value, places in cells.by_value(column.name).items():
            if value not in column.values:
                yield value, len(places)


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"
