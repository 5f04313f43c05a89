"""From rows of a table to what a network sees, the same way in training and in use."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from mtnets.errors import DataError
from mtnets.tasks.inputs.inputs import Inputs

Columnar = Mapping[str, NDArray[Any]]  # the cells of each column, `[rows]`
MOST_CATEGORIES = 100
FARTHEST = 4.0  # spreads from the mean: one wild number would else ruin the gradient of its whole task


@dataclasses.dataclass(frozen=True)
class Number:
    """A column of numbers; one that is missing counts as the mean.

    Attributes:
      name: of the column.
      mean, spread: over rows of training tasks; the spread is the standard deviation, 1 for a constant.
      missing: whether training tasks had missing numbers; then one more feature tells which.
    """

    name: str
    mean: float
    spread: float
    missing: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that it makes."""
        return (self.name, f"{self.name} is missing") if self.missing else (self.name,)

    def encode(self, cells: NDArray[Any]) -> NDArray[np.float64]:
        """Features `[rows, features]`, not scaled."""
        numbers = to_numbers(self.name, cells)
        absent = np.isnan(numbers)
        filled = np.where(absent, self.mean, numbers)
        return np.stack([filled, absent] if self.missing else [filled], axis=1)

    @property
    def scales(self) -> tuple[list[float], list[float]]:
        """What is taken from each feature, and what it is divided by then."""
        return ([self.mean, 0.0], [self.spread, 1.0]) if self.missing else ([self.mean], [self.spread])


@dataclasses.dataclass(frozen=True)
class Category:
    """A column of categories: one feature each, 1 where it is that, else 0. All are 0 for one that training tasks did
    not have, and for a missing one.

    Attributes:
      name: of the column.
      values: the categories of training tasks, as text.
    """

    name: str
    values: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that it makes."""
        return tuple(f"{self.name} = {value}" for value in self.values)

    def encode(self, cells: NDArray[Any]) -> NDArray[np.float64]:
        """Features `[rows, features]`."""
        text = np.array([None if is_missing(cell) else as_text(cell) for cell in cells], object)
        return (text[:, None] == np.array(self.values, object)).astype(np.float64)

    @property
    def scales(self) -> tuple[list[float], list[float]]:
        """As for a number; categories stay as they are."""
        return [0.0] * len(self.values), [1.0] * len(self.values)


@dataclasses.dataclass(frozen=True)
class Columns(Inputs):
    """How rows of a table become inputs and targets. What is standardised is so by rows of training tasks.

    Attributes:
      columns: those that features are made of.
      target: the column to be predicted: a number, or a category, whose values are the classes.
      task: the column that tells tasks apart.
    """

    columns: tuple[Number | Category, ...]
    target: Number | Category
    task: str

    @property
    def shared_classes(self) -> bool:  # type: ignore[override]
        """Classes are those of the whole table."""
        return True

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(name for column in self.columns for name in column.features)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in order of the outputs; none in regression."""
        return self.target.values if isinstance(self.target, Category) else ()

    def prepare(self, x: Any) -> np.ndarray:
        """Features `[rows, features]`, not scaled, from a table (a data frame, or a mapping of columns) or from such
        an array itself.

        Raises:
          DataError: for a column that is absent, or text where numbers are expected.
        """
        if not is_table(x):
            return np.asarray(x)
        table = cells_of(x)
        self._require(table, [column.name for column in self.columns])
        return np.concatenate([column.encode(table[column.name]) for column in self.columns], axis=1)

    @functools.cached_property
    def _scales(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        means, spreads = zip(*(column.scales for column in self.columns), strict=True)
        return np.concatenate(means).astype(np.float32), np.concatenate(spreads).astype(np.float32)

    def scale(self, x: Any) -> Any:
        """Standardised features, held within `FARTHEST` spreads of their mean."""
        mean, spread = self._scales
        return ((x - mean) / spread).clip(-FARTHEST, FARTHEST)

    def target_of(self, x: Any) -> Any:
        """The target column of a table."""
        if not is_table(x):
            return super().target_of(x)
        table = cells_of(x)
        self._require(table, [self.target.name])
        return table[self.target.name]

    def prepare_targets(self, y: Any) -> np.ndarray:
        """Standardised targets `[rows, 1]`, or labels `[rows]`: places among the classes.

        Raises:
          DataError: for a class that training tasks did not have, a missing target, or text for a number.
        """
        cells = np.asarray(y).reshape(-1)
        absent = [i for i, cell in enumerate(cells) if is_missing(cell)]
        if absent:
            raise DataError(f"{self.target.name} is missing in row {absent[0]}, counted from 0; leave such rows out.")
        if isinstance(self.target, Number):
            return ((to_numbers(self.target.name, cells) - self.target.mean) / self.target.spread)[:, None]
        places = {value: i for i, value in enumerate(self.target.values)}
        text = [as_text(cell) for cell in cells]
        unknown = sorted(set(text) - places.keys())
        if unknown:
            raise DataError(
                f"{self.target.name} is {unknown[0]!r}, which is none of the classes of training: "
                f"{listed(self.target.values)}; correct it or train again."
            )
        return np.array([places[value] for value in text], np.int32)

    def unscale(self, prediction: ArrayLike) -> Any:
        """Predictions in units of the target; logits as they are."""
        if isinstance(self.target, Category):
            return prediction
        return prediction * self.target.spread + self.target.mean  # type: ignore[operator]

    def to_json(self) -> dict[str, Any]:
        """As it is kept with a learner."""
        return {"kind": "columns", **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Columns":
        """What `to_json` made, without its kind."""
        made = [_column(each) for each in values["columns"]]
        return cls(tuple(made), _column(values["target"]), values["task"])

    @classmethod
    def of(
        cls,
        table: Columnar,
        features: Sequence[str],
        target: str,
        task: str,
        *,
        classify: bool | None = None,
        categories: Sequence[str] = (),
    ) -> "Columns":
        """Learns from rows of training tasks what there is to know.

        Args:
          table: their cells.
          features: the columns to make features of.
          target: the column to be predicted.
          task: the column that tells tasks apart.
          classify: whether the target is a category; where it is not numbers alone, unless given.
          categories: features of numbers that are categories.

        Raises:
          DataError: for text among numbers, too many categories, a column that is neither, or a constant target.
        """
        kinds = [learn(name, table[name], category=name in categories) for name in features]
        goal = learn(target, table[target], category=classify)
        if classify is False and not isinstance(goal, Number):
            raise DataError(
                f"{target} is {listed(goal.values)}, which is not numbers; predict classes: --kind classification."
            )
        if isinstance(goal, Number) and len(np.unique(to_numbers(target, table[target]))) < 2:
            raise DataError(f"{target} is {goal.mean} in all training tasks; choose a target that varies.")
        if isinstance(goal, Category) and len(goal.values) < 2:
            raise DataError(f"{target} is {listed(goal.values)} in all training tasks; choose a target that varies.")
        return cls(tuple(kinds), goal, task)

    def _require(self, table: Columnar, names: Sequence[str]) -> None:
        require(table, names, "this learner was trained with it")


def _column(values: Mapping[str, Any]) -> Number | Category:
    if "values" in values:
        return Category(values["name"], tuple(values["values"]))
    return Number(**values)


def learn(name: str, cells: NDArray[Any], *, category: bool | None = None) -> Number | Category:
    """What kind of column these cells make, and what is to be known of it.

    Args:
      name: of the column.
      cells: `[rows]`.
      category: whether it is one of categories; where the cells are not numbers alone, unless given.

    Raises:
      DataError: for dates, text among numbers, no value at all, or more than `MOST_CATEGORIES` categories.
    """
    quick = cells.dtype.kind in "fiub"
    present = cells[~np.isnan(cells)] if quick else np.array([cell for cell in cells if not is_missing(cell)], object)
    if len(present) == 0:
        raise DataError(f"Column {name} has no value; leave it out (--ignore {name}).")
    if cells.dtype.kind in "mM" or any(hasattr(present[0], name) for name in ("isoformat", "total_seconds", "ordinal")):
        raise DataError(
            f"Column {name} holds dates or times; turn them into numbers, such as days, or --ignore {name}."
        )
    numbers = np.array([quick or _is_number(cell) for cell in present])
    if not category and numbers.all():
        values = to_numbers(name, cells)
        seen = values[~np.isnan(values)]
        mean, spread = float(seen.mean()), float(seen.std())
        varies = spread > 10 * np.finfo(np.float32).eps * abs(mean)  # more than rounding does
        return Number(name, mean, spread if varies else 1.0, bool(len(seen) < len(values)))
    if not category and numbers.mean() > 0.5:  # more likely numbers with slips than categories
        wrong = present[int(np.argmin(numbers))]
        raise DataError(f"Column {name} holds {wrong!r} among numbers; correct it, empty it, or --ignore {name}.")
    values = tuple(sorted({as_text(cell) for cell in (np.unique(present) if quick else present)}))
    if len(values) > MOST_CATEGORIES:
        raise DataError(
            f"Column {name} has {len(values)} different values, {values[0]!r} among them; at most {MOST_CATEGORIES} "
            f"categories are possible: group them, or leave it out (--ignore {name})."
        )
    return Category(name, values)


# --- cells


def is_table(x: Any) -> bool:
    """Whether this has columns with names: a data frame, or a mapping."""
    return isinstance(x, Mapping) or (hasattr(x, "columns") and hasattr(x, "__getitem__"))


def cells_of(table: Any) -> Columnar:
    """The cells of each column of a data frame (of pandas or Polars, say) or a mapping.

    Raises:
      DataError: if columns differ in length, or two have the same name.
    """
    names = list(table) if isinstance(table, Mapping) else list(table.columns)
    twice = [str(name) for i, name in enumerate(names) if str(name) in map(str, names[:i])]
    if twice:
        raise DataError(f"Two columns are called {twice[0]!r}; rename one of them.")
    cells = {str(name): _cells(table[name]) for name in names}
    lengths = {len(column) for column in cells.values()}
    if len(lengths) > 1:
        raise DataError(f"The columns of the table have {min(lengths)} to {max(lengths)} rows; they need as many.")
    return cells


def _cells(column: Any) -> NDArray[Any]:
    cells = np.asarray(column).reshape(-1)
    if str(getattr(column, "dtype", "")) == "category" and cells.dtype != object:  # numbers that are names
        return np.array([None if is_missing(cell) else as_text(cell) for cell in cells], object)
    return cells


def require(table: Columnar, names: Sequence[str], why: str) -> None:
    """Raises DataError for a column that is not there."""
    for name in names:
        if name not in table:
            raise DataError(f"There is no column {name!r} ({why}); there are {listed(list(table))}.")


def is_missing(cell: Any) -> bool:
    """Whether a cell is empty: None, NaN, or what pandas has for that."""
    if isinstance(cell, float | np.floating):
        return bool(np.isnan(cell))
    if isinstance(cell, np.datetime64):
        return bool(np.isnat(cell))
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")


def as_text(cell: Any) -> str:
    """The category that a cell names; 3.0 is 3, as a column of whole numbers with gaps is read."""
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float | Decimal | np.integer | np.floating | np.bool_)


def to_numbers(name: str, cells: NDArray[Any]) -> NDArray[np.float64]:
    """Cells as numbers, NaN where they are missing.

    Raises:
      DataError: for text, and for what is infinite.
    """
    if cells.dtype.kind in "fiub":
        numbers = cells.astype(np.float64)
    else:
        numbers = np.full(len(cells), np.nan)
        for row, cell in enumerate(cells):
            if not is_missing(cell):
                numbers[row] = float(cell) if _is_number(cell) else np.inf
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise DataError(f"{name} is {cells[row]!s} in row {row}, counted from 0; expected a finite number.")
    return numbers


def listed(values: Sequence[str], most: int = 12) -> str:
    """These, or the first of them, for an error."""
    return ", ".join(values[:most]) + (f" and {len(values) - most} more" if len(values) > most else "")
