"""The cells of a table by column, from files, data frames and mappings."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError, OptionError, listed, perhaps
from mtnets.tasks.archives.archive import MOST_TIMES
from mtnets.tasks.inputs.csv_files import check_names, content_of, read_csv
from mtnets.tasks.inputs.text_cells import is_mark, like_numbers, objects, understood

AS_NUMBERS = "written without separators of thousands or units, with a decimal point"
LARGEST = float(np.finfo(np.float32).max)  # numbers reach the network in single precision
FREE_CELLS = 10**7  # that a table may have however small its file is
_CSV, _PARQUET = (".csv", ".tsv"), (".parquet", ".pq")


@dataclasses.dataclass(frozen=True)
class Cells:
    """The cells of a table, or of some of its rows.

    Attributes:
      columns: the cells of each column by its name, `[rows]`.
      rows: the number of each row in the whole table, counted from 0, `[rows]`.
      categories: the columns whose type says that they are categories.
    """

    columns: Mapping[str, NDArray[Any]]
    rows: NDArray[np.intp]
    categories: frozenset[str] = frozenset()

    @classmethod
    def of_column(cls, name: str, cells: Any) -> "Cells":
        """A table with one column. Raises DataError for cells of more than one column."""
        return cells_of({name: cells})

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def take(self, places: NDArray[np.intp]) -> "Cells":
        """The rows at these places."""
        columns = {name: column[places] for name, column in self.columns.items()}
        return dataclasses.replace(self, columns=columns, rows=self.rows[places])

    def require(self, names: Sequence[str], why: str) -> None:
        """Raises DataError for a column that is not there; `why` says who needs it."""
        for name in names:
            if name not in self:
                meant = perhaps(name, self.columns)
                raise DataError(f"There is no column {name!r} ({why}); {meant}there are {listed(list(self.columns))}.")

    def require_present(self, name: str) -> None:
        """Raises DataError for a missing cell in a column."""
        for row, cell in zip(self.rows, self[name], strict=True):
            if is_missing(cell):
                raise DataError(f"{name} is missing in row {row}, counted from 0; leave such rows out.")

    def numbers(self, name: str, *, marks: bool = False) -> NDArray[np.float64]:
        """A column as numbers, NaN where they are missing.

        Args:
          name: of the column.
          marks: whether text such as `?` counts as missing too.

        Raises:
          DataError: for text, and for numbers that are infinite or beyond single precision.
        """
        cells = self[name]
        if cells.dtype.kind in "fiub":
            numbers = cells.astype(np.float64)
        else:
            missing = [is_missing(cell) or (marks and is_mark(cell)) for cell in cells]
            values = [np.nan if m else _as_float(c) for c, m in zip(cells, missing, strict=True)]
            numbers = np.array(values, np.float64)
        wrong = np.flatnonzero(np.abs(numbers) > LARGEST)
        if len(wrong):
            cell, row = cells[wrong[0]], self.rows[wrong[0]]
            if not is_mark(cell) and all(is_missing(each) or _is_text_of_number(each) for each in cells):
                raise DataError(
                    f"{name} is the text {_short(repr(cell))} in row {row}, counted from 0; the column must hold "
                    "numbers: float(cell) makes one of a text."
                )
            written = isinstance(cell, str) and like_numbers([cell])[0]
            finite = is_number(cell) and abs(_as_float(cell)) < np.inf
            within = f" within ±{LARGEST:.2g}: correct it, or change the unit of the column" if finite else ""
            how = f" ({AS_NUMBERS})" if written else within
            raise DataError(f"{name} is {_short(cell)} in row {row}, counted from 0; expected a finite number{how}.")
        return numbers

    def by_value(self, name: str) -> dict[str, NDArray[np.intp]]:
        """The places of the rows with each value of a column, in their order; of none where the cell is missing."""
        places: dict[str, list[int]] = {}
        for place, cell in enumerate(self[name]):
            if not is_missing(cell):
                places.setdefault(as_text(cell), []).append(place)
        return {value: np.array(rows) for value, rows in places.items()}


def _is_text_of_number(cell: Any) -> bool:
    """Whether a cell is text that Python reads as a number: what `csv.DictReader` gives, say."""
    try:
        return isinstance(cell, str) and (is_mark(cell) or math.isfinite(float(cell)))
    except ValueError:
        return False


def _as_float(cell: Any) -> float:
    """The number of a cell; infinite for one beyond double precision, and for what is no number."""
    try:
        return float(cell) if is_number(cell) else np.inf
    except OverflowError:
        return np.inf


def _short(cell: Any) -> str:
    """A cell for an error."""
    if isinstance(cell, int) and cell.bit_length() > 100:
        return f"a whole number of {cell.bit_length()} bits"
    return f"{cell!s:.40}"


def read_cells(path: str | Path) -> Cells:
    """Reads a CSV or Parquet file.

    A CSV file has commas, semicolons, tabs or bars between cells, and decimal points or commas; see `read_csv` and
    `understood`. Both may be compressed (.gz).

    Raises:
      DataError: for a file that does not exist, is neither, or is damaged.
      OptionError: for a Parquet file without pyarrow.
    """
    file = Path(path).expanduser()
    kind = file.name.lower().removesuffix(".gz")
    if not file.is_file():
        raise DataError(f"There is no file {file}; name a .csv or .parquet file.")
    if not kind.endswith(_CSV + _PARQUET):
        raise DataError(f"{file} is neither .csv nor .parquet; save it as one of them.")
    try:
        return cells_of(_read_parquet(file)) if kind.endswith(_PARQUET) else cells_of(understood(read_csv(file)))
    except (DataError, OptionError):
        raise
    except Exception as error:  # what readers raise on damaged files is nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{file} cannot be read: {reason}; repair it.") from error


def _read_parquet(file: Path) -> Any:
    """The table of a Parquet file, without the index that pandas may have put into it."""
    try:
        from pyarrow import BufferReader, parquet
    except ImportError as error:
        raise OptionError("Reading Parquet needs pyarrow: pip install 'mtnets[table]'.") from error
    content = content_of(file)
    about = parquet.read_metadata(BufferReader(content))
    if about.num_rows * about.num_columns > max(FREE_CELLS, MOST_TIMES * len(content)):
        raise ValueError(f"it says that it has {about.num_rows} rows in {len(content)} bytes")
    table = parquet.read_table(BufferReader(content))
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    return table.drop_columns([name for name in index if name in table.column_names])


def is_table(x: Any) -> bool:
    """Whether a value has columns with names: cells, a mapping, or a data frame."""
    return isinstance(x, Cells | Mapping) or (hasattr(type(x), "columns") and hasattr(type(x), "__getitem__"))


def cells_of(table: Any) -> Cells:
    """The cells of a mapping of columns, or of a data frame that narwhals knows: of pandas, Polars, PyArrow, DuckDB,
    Modin and others; lazy ones are computed.

    Raises:
      DataError: for columns of different length or more than one cell a row, two of one name, or another kind of
        table.
      OptionError: for a data frame without narwhals.
    """
    if isinstance(table, Cells):
        return table
    mapping = table if isinstance(table, Mapping) else _frame_columns(table)
    texts = [str(name) for name in mapping]
    check_names(texts)
    series = {text: _series(column) for text, column in zip(texts, mapping.values(), strict=True)}
    columns = {text: _column(text, column) for text, column in series.items()}
    lengths = {len(column) for column in columns.values()} or {0}
    if len(lengths) > 1:
        raise DataError(
            f"The columns of the table have {min(lengths)} to {max(lengths)} rows; they must have the same number."
        )
    categories = frozenset(text for text, column in series.items() if _is_categorical(column))
    return Cells(columns, np.arange(lengths.pop()), categories)


def _frame_columns(table: Any) -> dict[Any, Any]:
    """The columns of a data frame by their names, as series of narwhals."""
    try:
        import narwhals
    except ImportError as error:
        raise OptionError("Data frames need one more package: pip install 'mtnets[table]'.") from error
    try:
        frame = narwhals.from_native(table)
    except narwhals.exceptions.DuplicateError:
        check_names([str(name) for name in getattr(table, "column_names", table.columns)])
        raise
    except TypeError as error:
        raise DataError(
            f"The table is of type {type(table).__name__}, which is no data frame that narwhals knows; pass a mapping "
            "of columns: {name: cells}."
        ) from error
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    return {name: frame.get_column(name) for name in frame.columns}


def _series(column: Any) -> Any:
    """A column of a data frame as a series of narwhals, anything else as it is."""
    if isinstance(column, np.ndarray | list | tuple):
        return column
    try:
        import narwhals
    except ImportError:
        return column
    series = narwhals.from_native(column, allow_series=True, pass_through=True)
    return series if isinstance(series, narwhals.Series) else column


def _is_categorical(column: Any) -> bool:
    return type(getattr(column, "dtype", None)).__name__ in ("Categorical", "Enum")


def _column(name: str, column: Any) -> NDArray[Any]:
    """The cells of a column, `[rows]`: numbers as they are, text and what is missing among other cells as objects."""
    if isinstance(column, list | tuple):
        # numbers as NumPy has them where all are; among others it would make text of them
        numbers = all(isinstance(cell, bool | int | float | np.number | np.bool_) for cell in column)
        return np.asarray(column) if numbers else objects(column)
    if isinstance(column, np.ma.MaskedArray):
        masked = zip(_flat(name, column.data).tolist(), _flat(name, np.ma.getmaskarray(column)), strict=True)
        return objects(None if missing else cell for cell, missing in masked)
    if not hasattr(column, "null_count"):
        return _flat(name, np.asarray(column))
    if column.null_count() == 0 and not column.dtype.is_decimal() and column.dtype.is_numeric():
        return np.asarray(column.to_numpy())
    cells = [None if is_missing(cell) else cell for cell in column.to_list()]
    if column.dtype.is_float():
        return np.array(cells, np.float64)
    return objects([cell if cell is None else as_text(cell) for cell in cells] if _is_categorical(column) else cells)


def _flat(name: str, column: NDArray[Any]) -> NDArray[Any]:
    """A column `[rows]`, from one that may also be `[rows, 1]`, or a single cell."""
    if column.ndim > 1 and column.shape[1:] != (1,):
        raise DataError(
            f"Column {name} has shape {column.shape}; it must have one cell for each row. Pass each column apart."
        )
    return column.reshape(-1)


def is_missing(cell: Any) -> bool:
    """Whether a cell is empty: None, NaN, or pandas' NA and NaT."""
    if isinstance(cell, float | np.floating):
        return bool(np.isnan(cell))
    if isinstance(cell, Decimal):
        return cell.is_nan()
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
