"""What a column of a table holds, numbers or categories, and the features that it becomes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.arguments import check_fields
from mtnets.errors import DataError, listed, warn
from mtnets.networks.exports.program import Field
from mtnets.tasks.inputs.cells import AS_NUMBERS, Cells, as_text, is_missing, is_number, is_time
from mtnets.tasks.inputs.text_cells import is_mark, like_dates, like_numbers, objects

MOST_CATEGORIES = 100
MISSING = 0.1  # share of the cells that are missing in rows that are made up


@dataclasses.dataclass(frozen=True)
class NumberColumn:
    """A column of numbers; a missing one counts as the mean.

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
        """The names of its features."""
        return (self.name, f"{self.name} is missing") if self.missing else (self.name,)

    @property
    def scales(self) -> tuple[list[float], list[float]]:
        """What is subtracted from each feature, and what it is divided by then."""
        return ([self.mean, 0.0], [self.spread, 1.0]) if self.missing else ([self.mean], [self.spread])

    def encode(self, cells: Cells) -> NDArray[np.float64]:
        """Its features, not scaled, `[rows, features]`."""
        numbers = cells.numbers(self.name, marks=True)
        absent = np.isnan(numbers)
        filled = np.where(absent, self.mean, numbers)
        return np.stack([filled, absent] if self.missing else [filled], axis=1)

    # --- in exported programs

    @property
    def field(self) -> Field:
        """The numbers, NaN where one is missing."""
        return Field((), np.float32, "numbers in the units of the column; NaN where one is missing")

    def of_numbers(self, numbers: Any) -> Any:
        """Its features, not scaled, `[rows, features]`, from numbers `[rows]` (NumPy or JAX)."""
        xp = numbers.__array_namespace__()
        absent = xp.isnan(numbers)
        filled = xp.where(absent, xp.asarray(self.mean, dtype=numbers.dtype), numbers)
        return xp.stack([filled, absent.astype(filled.dtype)] if self.missing else [filled], axis=1)

    def cells(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """The numbers, which are the cells."""
        return numbers

    def made_up(self, count: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Numbers that may occur, `[count]`, some of them missing."""
        numbers = self.mean + self.spread * random.normal(size=count)
        return np.where(random.uniform(size=count) < MISSING, np.nan, numbers).astype(np.float32)

    # --- as the target

    @property
    def classes(self) -> tuple[str, ...]:
        """A target of numbers has no classes."""
        return ()

    def targets(self, cells: Cells) -> NDArray[np.float64]:
        """Standardised targets, `[rows, 1]`. Raises DataError for a missing one."""
        cells.require_present(self.name)
        return ((cells.numbers(self.name) - self.mean) / self.spread)[:, None]

    def unscale(self, prediction: Any) -> Any:
        """Predictions in units of the column."""
        return prediction * self.spread + self.mean

    def truth(self, cells: Cells) -> list[float | None]:
        """The number in each row; None where it is missing."""
        return [None if np.isnan(number) else float(number) for number in cells.numbers(self.name)]

    def check_varies(self, cells: Cells) -> None:
        """Raises DataError for a target that is constant, or nearly: predictions have single precision."""
        numbers = cells.numbers(self.name)
        if len(np.unique(numbers)) < 2:
            raise DataError(f"{self.name} is {cells[self.name][0]} in all training tasks; choose a target that varies.")
        if numbers.std() <= 10 * np.finfo(np.float32).eps * abs(self.mean):
            raise DataError(
                f"{self.name} is {self.mean:.4g} ± {numbers.std():.2g}, which single precision cannot tell apart; "
                "predict how far it is from its mean instead."
            )


@dataclasses.dataclass(frozen=True)
class CategoryColumn:
    """A column of categories. Each is one feature: 1 in its rows, 0 in all others.

    A missing category, and one that training tasks did not have, is 0 in all features.

    Attributes:
      name: of the column.
      values: the categories of training tasks, as text.
    """

    name: str
    values: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The names of its features."""
        return tuple(f"{self.name} = {value}" for value in self.values)

    @property
    def scales(self) -> tuple[list[float], list[float]]:
        """As for numbers; categories stay as they are."""
        return [0.0] * len(self.values), [1.0] * len(self.values)

    def encode(self, cells: Cells) -> NDArray[np.float64]:
        """Its features, `[rows, features]`."""
        text = np.array([None if is_missing(cell) else as_text(cell) for cell in cells[self.name]], object)
        return (text[:, None] == np.array(self.values, object)).astype(np.float64)

    # --- in exported programs

    @property
    def field(self) -> Field:
        """Places among the categories."""
        return Field((), np.int32, "place among the values; -1 for any other, and where it is missing", self.values)

    def of_numbers(self, numbers: Any) -> Any:
        """Its features, `[rows, features]`, from places `[rows]` (NumPy or JAX)."""
        xp = numbers.__array_namespace__()
        return (numbers[:, None] == xp.arange(len(self.values), dtype=numbers.dtype)).astype(np.float32)

    def cells(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """The categories at these places."""
        return objects(None if place < 0 else self.values[place] for place in numbers)

    def made_up(self, count: int, random: np.random.Generator) -> NDArray[np.int32]:
        """Places of categories, `[count]`, some of them missing."""
        return random.integers(-1, len(self.values), count, np.int32)

    # --- as the target

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in order of the outputs."""
        return self.values

    def targets(self, cells: Cells) -> NDArray[np.int32]:
        """Labels, `[rows]`: places among the classes. Raises DataError for a missing or an unknown class."""
        cells.require_present(self.name)
        places = {value: i for i, value in enumerate(self.values)}
        text = [as_text(cell) for cell in cells[self.name]]
        unknown = sorted(set(text) - places.keys())
        if unknown:
            raise DataError(
                f"{self.name} is {unknown[0]!r}, which is none of the classes of training: {listed(self.values)}; "
                "correct it or train again."
            )
        return np.array([places[value] for value in text], np.int32)

    def unscale(self, prediction: Any) -> Any:
        """Logits have no unit."""
        return prediction

    def truth(self, cells: Cells) -> list[str | None]:
        """The class in each row; None where it is missing."""
        return [None if is_missing(cell) else as_text(cell) for cell in cells[self.name]]

    def check_varies(self, cells: Cells) -> None:
        """Raises DataError for a target of one class."""
        if len(self.values) < 2:
            raise DataError(f"{self.name} is {listed(self.values)} in all training tasks; choose a target that varies.")


Column = NumberColumn | CategoryColumn


def column_of(cells: Cells, name: str, *, category: bool | None = None) -> Column:
    """Learns what a column holds.

    Args:
      cells: rows of training tasks.
      name: of the column.
      category: whether it holds categories. Defaults to whether its cells are text, or of a type of categories.

    Raises:
      DataError: for dates, text among numbers, numbers as text, cells of another kind, no value at all, or more than
        `MOST_CATEGORIES` categories.
    """
    column, category = cells[name], category or name in cells.categories
    typed = column.dtype.kind in "fiub"
    present = column[~np.isnan(column)] if typed else _present(column)
    if len(present) == 0 or (not (typed or category) and all(map(is_mark, present))):
        raise DataError(f"Column {name} has no value; leave it out: ignore={name!r}.")
    if column.dtype.kind in "mM" or (not typed and any(map(is_time, present))):
        _refuse_times(name, present)
    if not category and (typed or all(is_number(cell) or is_mark(cell) for cell in present)):
        return _number_column(name, cells.numbers(name, marks=True), present)
    if not category:
        _check_text(name, present)
    values = tuple(sorted({as_text(cell) for cell in (np.unique(present) if typed else present)}))
    if len(values) > MOST_CATEGORIES:
        raise DataError(
            f"Column {name} has {len(values)} different values, {values[0]!r} among them; at most {MOST_CATEGORIES} "
            f"categories are possible: group them, or leave the column out: ignore={name!r}."
        )
    return CategoryColumn(name, values)


def _refuse_times(name: str, present: Any) -> None:
    raise DataError(
        f"Column {name} holds dates or times ({as_text(present[0])}); turn them into numbers, such as days, or leave "
        f"it out: ignore={name!r}."
    )


def _check_text(name: str, present: NDArray[Any]) -> None:
    """Raises DataError for a column that is not text alone, and for text of numbers or dates; warns where it is in
    doubt that its values are categories."""
    as_categories = f"categories={name!r}, or kind='classification' for the target"
    text = [str(cell) for cell in present if isinstance(cell, str)]
    numbers = [cell for cell in present if is_number(cell)]
    if len(text) + len(numbers) < len(present):
        other = next(cell for cell in present if not (isinstance(cell, str) or is_number(cell)))
        raise DataError(f"Column {name} holds {other!r}, of type {type(other).__name__}; expected numbers or text.")
    marks = sorted({cell for cell in text if is_mark(cell)}) if "+" not in text else []
    text = [cell for cell in text if cell not in marks]
    dates, like = like_dates(text), like_numbers(text)
    if dates.sum() > len(text) / 2:
        _refuse_times(name, text)
    if not numbers and like.all():
        raise DataError(
            f"Column {name} holds {text[0]!r}, which is text and looks like a number; it must be "
            f"{AS_NUMBERS}. If its values are names: {as_categories}."
        )
    found = len(numbers) + int(like.sum())
    if found > (len(text) + len(numbers)) / 2:  # more likely numbers with slips than categories
        raise DataError(
            f"Column {name} holds {text[int(like.argmin())]!r} among numbers; correct it, empty it, or leave the "
            f"column out: ignore={name!r}. If its values are names: {as_categories}."
        )
    doubtful = marks + ([text[int(dates.argmax())]] if dates.any() else [])
    if found or doubtful:
        cell = doubtful[0] if doubtful else as_text(numbers[0]) if numbers else text[int(like.argmax())]
        warn(
            f"Column {name} holds {cell!r} among text, which becomes a category of its own; correct or empty such "
            f"cells, or say that all are names: {as_categories}.",
        )


def _present(column: NDArray[Any]) -> NDArray[Any]:
    return objects(cell for cell in column if not is_missing(cell))


def _number_column(name: str, numbers: NDArray[np.float64], present: NDArray[Any]) -> NumberColumn:
    """A column of numbers; `present` are the cells that are not missing."""
    seen = numbers[~np.isnan(numbers)]
    mean, spread = float(seen.mean()), float(seen.std())
    smallest = np.finfo(np.float32).tiny
    if 0 < np.abs(seen).max() < smallest or 0 < spread < smallest:
        raise DataError(
            f"Column {name} has numbers up to {np.abs(seen).max():.2g}, which single precision cannot hold; change its "
            f"unit, or leave it out: ignore={name!r}."
        )
    rounding = 10 * np.finfo(np.float32 if present.dtype == np.float32 else np.float64).eps * abs(mean)
    if spread <= rounding:
        spread = max(1.0, abs(mean)) if np.ptp(seen) else 1.0
        if len({*present.tolist()}) > 1:
            warn(
                f"Column {name} is {mean:.6g} but for rounding, and counts as constant; subtract that number if the "
                f"rest tells something, or leave the column out: ignore={name!r}.",
            )
    return NumberColumn(name, mean, spread, bool(len(seen) < len(numbers)))


def column_from_json(values: Mapping[str, Any]) -> Column:
    """A column from its fields as plain values."""
    if "values" in values:
        column = CategoryColumn(values["name"], tuple(values["values"]))
        check_fields(column)
        return column
    column = NumberColumn(**values)
    check_fields(column)
    if not (np.isfinite(column.mean) and 0 < column.spread < np.inf):
        raise DataError(f"Column {column.name} has the mean {column.mean} and the spread {column.spread}.")
    return column
