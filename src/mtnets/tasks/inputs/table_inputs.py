"""From rows of a table to what a network sees, the same way in training and in use."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from mtnets.arguments import check_fields
from mtnets.errors import DataError, listed
from mtnets.tasks.inputs.base import Inputs, Usage, check_digits
from mtnets.tasks.inputs.cells import Cells, cells_of, is_table, read_cells
from mtnets.tasks.inputs.columns import Column, NumberColumn, column_from_json, column_of
from mtnets.tasks.inputs.file_tasks import FileTask, FileTasks
from mtnets.tasks.inputs.raw_form import RawForm

FARTHEST = 4.0  # spreads from the mean; one number far outside would ruin the gradient of its whole task


@dataclasses.dataclass(frozen=True)
class TableInputs(Inputs):
    """Rows of a table with named columns. Numbers are standardised by rows of training tasks.

    Attributes:
      columns: the columns that features are made of.
      target: the column to predict; the categories of a column of categories are the classes.
      task: the column that tells tasks apart.
    """

    kind: ClassVar[str | None] = "table"
    named: ClassVar[bool] = True
    shared_classes = True  # those of the whole table

    columns: tuple[Column, ...]
    target: Column
    task: str

    @classmethod
    def of(
        cls,
        cells: Cells,
        features: Sequence[str],
        target: str,
        task: str,
        *,
        classify: bool | None = None,
        categories: Sequence[str] = (),
        scale_target: bool = True,
    ) -> "TableInputs":
        """Learns what the columns hold.

        Args:
          cells: rows of training tasks.
          features: the columns to make features of.
          target: the column to predict.
          task: the column that tells tasks apart.
          classify: whether the target is a class. Defaults to whether it is not numbers alone.
          categories: columns of numbers that are categories.
          scale_target: whether numbers to predict are standardised.

        Raises:
          DataError: for text among numbers, too many categories, a column that is neither, or a constant target.
        """
        columns = tuple(column_of(cells, name, category=name in categories) for name in features)
        goal = column_of(cells, target, category=classify)
        if classify is False and goal.classes:
            raise DataError(
                f"{target} is {listed(goal.classes)}, which is not numbers; predict classes: kind='classification'."
            )
        goal.check_varies(cells)
        if isinstance(goal, NumberColumn) and not scale_target:
            goal = dataclasses.replace(goal, mean=0.0, spread=1.0)
        return cls(columns, goal, task)

    def __post_init__(self) -> None:
        check_fields(self)

    def check_network(self, input_shape: tuple[int, ...], outputs: int) -> None:
        """Raises DataError for a network with other features, or too few outputs."""
        features, least = len(self.features), len(self.classes) or 1
        if input_shape != (features,) or outputs < least:
            raise DataError(
                f"The table has {features} features and needs {least} outputs; the network takes {list(input_shape)} "
                f"and has {outputs}."
            )

    def with_classes_of(self, cells: Cells) -> "TableInputs":
        """The same with all classes of these rows, since a rare one may be in no training task."""
        if not self.classes:
            return self
        return dataclasses.replace(self, target=column_of(cells, self.target.name, category=True))

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(name for column in self.columns for name in column.features)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in order of the outputs; none in regression."""
        return self.target.classes

    def prepare(self, x: Any) -> np.ndarray:
        """Features `[rows, features]`, not scaled, from a data frame or a mapping of columns; such an array
        of features stays as it is.

        Raises:
          DataError: for a column that is absent, or text where numbers are expected.
        """
        if not is_table(x):
            _refuse_rows(x)
            return np.asarray(x)
        cells = cells_of(x)
        cells.require([column.name for column in self.columns], "this learner was trained with it")
        return np.concatenate([column.encode(cells) for column in self.columns], axis=1)

    @functools.cached_property
    def _scales(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        means, spreads = zip(*(column.scales for column in self.columns), strict=True)
        return np.concatenate(means), np.concatenate(spreads)

    def scale(self, x: Any) -> Any:
        """Standardised features, held within `FARTHEST` spreads of their mean."""
        mean, spread = self._scales
        if not isinstance(x, np.ndarray):  # in programs, which have single precision
            mean, spread = mean.astype(x.dtype), spread.astype(x.dtype)
        return ((x - mean) / spread).clip(-FARTHEST, FARTHEST)

    def raw_form(self, like: Any) -> RawForm:
        """The cells of each column."""

        def prepared(arrays: Mapping[str, Any]) -> Any:
            features = [column.of_numbers(arrays[column.name]) for column in self.columns]
            return features[0].__array_namespace__().concatenate(features, axis=1)

        return RawForm(
            fields={column.name: column.field for column in self.columns},
            prepared=prepared,
            raw=lambda arrays: {column.name: column.cells(arrays[column.name]) for column in self.columns},
            made_up=lambda count, random: {column.name: column.made_up(count, random) for column in self.columns},
        )

    def check_single_precision(self) -> None:
        """Raises OptionError for a column of numbers that single precision cannot tell apart."""
        for name, mean, spread in zip(self.features, *self._scales, strict=True):
            if spread != 1:  # which stands for a constant too
                check_digits(f"Column {name}", mean, spread)

    def for_task(self, x: Any, y: Any, weights: NDArray[np.float64] | None = None) -> "TableInputs":
        """These, which do not depend on the task.

        Raises:
          DataError: for a table with rows of several tasks.
        """
        cells = cells_of(x) if is_table(x) else {}
        if isinstance(cells, Cells) and self.task in cells:
            tasks = list(cells.by_value(self.task))
            if len(tasks) > 1:
                raise DataError(
                    f"x has rows of {len(tasks)} tasks ({self.task}: {listed(tasks)}); adapt to the rows of one at a "
                    "time, or leave that column out if all rows are of one task."
                )
        return self

    def collected(self, x: Any) -> Any:
        """The cells of a table."""
        _refuse_rows(x)
        return cells_of(x) if is_table(x) else x

    def target_of(self, x: Any) -> Any:
        """The target column of a table."""
        if not is_table(x):
            return super().target_of(x)
        cells = cells_of(x)
        cells.require([self.target.name], "this learner was trained with it")
        return cells[self.target.name]

    def prepare_targets(self, y: Any) -> np.ndarray:
        """Standardised targets `[rows, 1]`, or labels `[rows]`: places among the classes.

        Raises:
          DataError: for a class that training tasks did not have, a missing target, or text for a number.
        """
        return self.target.targets(Cells.of_column(self.target.name, y))

    def unscale(self, prediction: ArrayLike) -> Any:
        """Predictions in units of the target; logits as they are."""
        return self.target.unscale(prediction)

    def read_tasks(self, support: str | Path, query: str | Path) -> FileTasks:
        """Reads a table to learn from, with the target, and one to predict. Where the support has the task column,
        each of its tasks is learned apart; otherwise all rows are of one task.

        Raises:
          DataError: for a file that cannot be read, or a query whose tasks are not those of the support.
        """
        given, asked = read_cells(support), read_cells(query)
        apart = self.task in given
        support_rows, query_rows = self._rows_by_task(given, asked) if apart else ({"": _all(given)}, {"": _all(asked)})
        if not len(asked):
            raise DataError("The query has no rows; it must have at least one.")
        tasks = [
            FileTask(given.take(support_rows[name]), None, asked.take(places), places)
            for name, places in query_rows.items()
        ]
        names = {place: name for name, places in query_rows.items() for place in places}
        return FileTasks(
            tasks=tasks,
            titles=(self.task, "row") if apart else ("row",),
            queries=[(names[row], row) if apart else (row,) for row in range(len(asked))],
            truth=self.target.truth(asked) if self.target.name in asked else [None] * len(asked),
            classes=self.classes,
            known=f"rows of known {self.target.name}",
        )

    def _rows_by_task(
        self, given: Cells, asked: Cells
    ) -> tuple[dict[str, NDArray[np.intp]], dict[str, NDArray[np.intp]]]:
        """The rows of each task in the support and in the query."""
        if self.task not in asked:
            raise DataError(
                f"The support has the task column {self.task} and the query has not; add it there, or leave it out of "
                "the support where all rows are of one task."
            )
        support, query = given.by_value(self.task), asked.by_value(self.task)
        known = sum(len(places) for places in query.values())
        if known < len(asked):
            raise DataError(
                f"The query has {len(asked)} rows, {known} of them with a task in column {self.task}; every row needs "
                "one."
            )
        absent = [name for name in query if name not in support]
        if absent:
            raise DataError(
                f"The support has no rows of task {listed(absent)}; add some, or leave those out of the query."
            )
        return support, query

    @property
    def learned(self) -> bool:
        """Means, spreads and classes are those of training tasks."""
        return True

    def describe(self) -> str:
        """The raw data that a learner with these inputs takes."""
        names = listed([column.name for column in self.columns])
        return f"rows of a table with the columns {names}; it predicts {self.target.name}"

    def usage(self, shape: tuple[int, ...], targets: str) -> Usage:
        """Example code for a learner with these inputs."""
        names = listed([column.name for column in (*self.columns, self.target)])
        return Usage("support", "query", f"a data frame with the columns {names}")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From the values that `to_json` returns, without the kind."""
        columns = tuple(column_from_json(column) for column in values["columns"])
        return cls(columns, column_from_json(values["target"]), values["task"])


def _all(cells: Cells) -> NDArray[np.intp]:
    return np.arange(len(cells))


def _refuse_rows(x: Any) -> None:
    """Raises DataError for a list of rows, which each have their columns."""
    if isinstance(x, list | tuple) and x and isinstance(x[0], Mapping):
        raise DataError(
            f"The table is a {type(x).__name__} of {len(x)} rows; pass a mapping of columns, {{name: cells}}, or a "
            "data frame, such as pandas.DataFrame(rows)."
        )
