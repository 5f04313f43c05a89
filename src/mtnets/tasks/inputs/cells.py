"""The cells of a table by column, from files, data frames and mappings."""

import dataclasses
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtnets.compat import read_csv
from mtnets.errors import DataError, OptionError

_CSV, _PARQUET = (".csv",), (".parquet", ".pq")


@dataclasses.dataclass(frozen=True)
class Cells:
    """The cells of a table, or of some of its rows.

    Attributes:
      columns: the cells of each column by its name, `[rows]`.
      rows: the number of each row in the whole table, counted from 0, `[rows]`.
    """

    columns: Mapping[str, NDArray[Any]]
    rows: NDArray[np.intp]

    @classmethod
    def of_column(cls, name: str, cells: ArrayLike) -> "Cells":
        """A table with one column."""
        column = np.asarray(cells).reshape(-1)
        return cls({name: column}, np.arange(len(column)))

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def take(self, places: NDArray[np.intp]) -> "Cells":
        """The rows at these places."""
        return Cells({name: column[places] for name, column in self.columns.items()}, self.rows[places])

    def require(self, names: Sequence[str], why: str) -> None:
        """Raises DataError for a column that is not there; `why` says who needs it."""
        for name in names:
            if name not in self:
                raise DataError(f"There is no column {name!r} ({why}); there are {listed(list(self.columns))}.")

    def require_present(self, name: str) -> None:
        """Raises DataError for a missing cell in a column."""
        for row, cell in zip(self.rows, self[name], strict=True):
            if is_missing(cell):
                raise DataError(f"{name} is missing in row {row}, counted from 0; leave such rows out.")

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers, NaN where they are missing.

        Raises:
          DataError: for text, and for infinite numbers.
        """
        cells = self[name]
        if cells.dtype.kind in "fiub":
            numbers = cells.astype(np.float64)
        else:
            values = [np.nan if is_missing(c) else float(c) if is_number(c) else np.inf for c in cells]
            numbers = np.array(values, np.float64)
        wrong = np.flatnonzero(np.isinf(numbers))
        if len(wrong):
            row = self.rows[wrong[0]]
            raise DataError(f"{name} is {cells[wrong[0]]!s} in row {row}, counted from 0; expected a finite number.")
        return numbers

    def by_value(self, name: str) -> dict[str, NDArray[np.intp]]:
        """The places of the rows with each value of a column, in their order; of none where the cell is missing."""
        places: dict[str, list[int]] = {}
        for place, cell in enumerate(self[name]):
            if not is_missing(cell):
                places.setdefault(as_text(cell), []).append(place)
        return {value: np.array(rows) for value, rows in places.items()}


def read_cells(path: str | Path) -> Cells:
    """Reads a CSV or Parquet file.

    A CSV file has commas, semicolons or tabs between cells. Both may be compressed (.gz).

    Raises:
      DataError: for a file that does not exist, is neither, or is damaged.
      OptionError: without pandas.
    """
    file = Path(path).expanduser()
    kind = file.name.lower().removesuffix(".gz")
    if not file.is_file():
        raise DataError(f"There is no file {file}; name a .csv or .parquet file.")
    if not kind.endswith(_CSV + _PARQUET):
        raise DataError(f"{file} is neither .csv nor .parquet; save it as one of them.")
    try:
        import pandas
    except ImportError as error:
        raise OptionError("Reading tables from files needs pandas: pip install 'mtnets[table]'.") from error
    try:
        if kind.endswith(_PARQUET):
            return cells_of(pandas.read_parquet(file))
        frame = read_csv(file)
        for separator in ";\t":
            if len(frame.columns) == 1 and separator in str(frame.columns[0]):
                frame = read_csv(file, sep=separator)
        return cells_of(frame)
    except DataError:
        raise
    except ImportError as error:
        raise OptionError("Reading Parquet needs pyarrow: pip install 'mtnets[table]'.") from error
    except Exception as error:  # what readers raise on damaged files is nearly anything
        raise DataError(f"{file} cannot be read: {str(error).strip().splitlines()[0]}; repair it.") from error


def is_table(x: Any) -> bool:
    """Whether a value has columns with names: cells, a mapping, or a data frame."""
    return isinstance(x, Cells | Mapping) or (hasattr(x, "columns") and hasattr(x, "__getitem__"))


def cells_of(table: Any) -> Cells:
    """The cells of a data frame (of pandas or Polars, say) or of a mapping of columns.

    Raises:
      DataError: for columns of different length, or two of one name.
    """
    if isinstance(table, Cells):
        return table
    names = list(table) if isinstance(table, Mapping) else list(table.columns)
    texts = [str(name) for name in names]
    twice = [name for i, name in enumerate(texts) if name in texts[:i]]
    if twice:
        raise DataError(f"Two columns are called {twice[0]!r}; rename one of them.")
    columns = {text: _column(table[name]) for text, name in zip(texts, names, strict=True)}
    lengths = {len(column) for column in columns.values()} or {0}
    if len(lengths) > 1:
        raise DataError(
            f"The columns of the table have {min(lengths)} to {max(lengths)} rows; they must have the same number."
        )
    return Cells(columns, np.arange(lengths.pop()))


def _column(column: Any) -> NDArray[Any]:
    cells = np.asarray(column).reshape(-1)
    if str(getattr(column, "dtype", "")) == "category" and cells.dtype != object:  # numbers that are names
        return np.array([None if is_missing(cell) else as_text(cell) for cell in cells], object)
    return cells


def is_missing(cell: Any) -> bool:
    """Whether a cell is empty: None, NaN, or pandas' NA and NaT."""
    if isinstance(cell, float | np.floating):
        return bool(np.isnan(cell))
    if isinstance(cell, np.datetime64):
        return bool(np.isnat(cell))
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")


def is_number(cell: Any) -> bool:
    """Whether a cell holds a number; true and false are numbers."""
    return isinstance(cell, int | float | Decimal | np.integer | np.floating | np.bool_)


def is_time(cell: Any) -> bool:
    """Whether a cell holds a date or a duration."""
    return any(hasattr(cell, name) for name in ("isoformat", "total_seconds", "ordinal"))


def as_text(cell: Any) -> str:
    """The category that a cell names; 3.0 is "3", since whole numbers with gaps are read as fractions."""
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell)


def listed(values: Sequence[str], most: int = 12) -> str:
    """Values for an error, the first ones where there are many."""
    return ", ".join(values[:most]) + (f" and {len(values) - most} more" if len(values) > most else "")
