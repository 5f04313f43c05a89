"""A pasted table: rows with the target are learned, the others predicted, by the estimators of `mtnets.sklearn`."""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from mtnets.errors import DataError, MtnetsError, listed
from mtnets.interop.sklearn import FewShotClassifier, FewShotRegressor
from mtnets.serving.forms import TablePredictions
from mtnets.serving.limits import Limits
from mtnets.serving.notes import notes_on_table
from mtnets.serving.work import attempted
from mtnets.tasks.inputs.cells import as_text, cells_of, is_missing
from mtnets.tasks.inputs.columns import CategoryColumn, column_of
from mtnets.tasks.inputs.csv_files import columns_of
from mtnets.tasks.inputs.text_cells import understood

FEWEST = 2  # rows to learn from


@dataclasses.dataclass(frozen=True, eq=False)
class Tabling:
    """A table to complete. Each runs by itself.

    Attributes:
      x: features of the rows to learn from, `[rows, features]`.
      y: their targets: numbers, or classes as text.
      queries: features of the rows to predict.
      rows: places of these in the table.
      features: names of the features.
      classify: whether the target is a class.
      notes: sentences on categories that no row to learn from has.
    """

    kind = "table"

    x: np.ndarray
    y: np.ndarray
    queries: np.ndarray
    rows: tuple[int, ...]
    features: tuple[str, ...]
    classify: bool
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, target: str, limits: Limits) -> "Tabling":
        """A table as text. Columns of text become a feature for each category.

        Raises:
          DataError: for text that is no table, a target that is no column, too few rows with the target or too many
            rows, or a column of neither numbers nor categories.
        """
        cells = cells_of(understood(columns_of(text, "The table")))
        cells.require([target], "the target")
        empty = np.array([is_missing(cell) for cell in cells[target]], bool)
        known, asked = (cells.take(np.flatnonzero(part)) for part in (~empty, empty))
        if len(known) < FEWEST:
            raise DataError(f"{target} is filled in in {len(known)} rows; it must be in {FEWEST} at least.")
        if not len(asked):
            raise DataError(f"{target} is filled in in all rows; leave it empty where it is to be predicted.")
        if len(known) > limits.examples or len(asked) > limits.examples:
            most = limits.examples
            raise DataError(
                f"The table has {len(known)} rows with {target} and {len(asked)} without; send at most {most} of each."
            )
        columns = [column_of(known, name) for name in cells.columns if name != target]
        if not columns:
            raise DataError(f"The table has no column beside {target}; add one to predict it from.")
        goal = column_of(known, target)
        classify = isinstance(goal, CategoryColumn)
        if classify and len(goal.values) < FEWEST:
            raise DataError(f"{target} is {listed(goal.values)} in all rows; there must be two classes to tell apart.")
        y = np.array([as_text(cell) for cell in known[target]]) if classify else known.numbers(target)
        x, queries = (np.concatenate([column.encode(part) for column in columns], axis=1) for part in (known, asked))
        features = tuple(name for column in columns for name in column.features)
        notes = tuple(note for column in columns for note in notes_on_table(column, asked, target))
        return cls(x, y, queries, tuple(np.flatnonzero(empty).tolist()), features, classify, notes)

    @property
    def alike(self) -> Hashable:
        """Only itself."""
        return self.kind, id(self)

    @classmethod
    def run(cls, works: Sequence["Tabling"]) -> list[TablePredictions | MtnetsError]:
        """The predictions of each."""
        return [attempted(work.alone) for work in works]

    def alone(self) -> TablePredictions:
        """The predictions."""
        if self.classify:
            model = FewShotClassifier().fit(self.x, self.y)
            shares = model.predict_proba(self.queries)
            predictions = model.classes_[shares.argmax(1)].tolist()
            probabilities = shares.max(1).tolist()
        else:
            predictions = FewShotRegressor().fit(self.x, self.y).predict(self.queries).tolist()
            probabilities = None
        return TablePredictions(
            predicts="labels" if self.classify else "numbers",
            features=list(self.features),
            learned_from=len(self.x),
            rows=list(self.rows),
            predictions=predictions,
            probabilities=probabilities,
            notes=list(self.notes),
        )
