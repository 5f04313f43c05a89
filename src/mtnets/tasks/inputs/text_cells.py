"""What text in the cells of a table means: numbers, truth values, dates, or that there is no value."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Cells without a value, as pandas knows them, and marks that stand for no value among numbers, in small letters
# fmt: off
EMPTY = frozenset((
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
))
MARKS = frozenset((
    "?", "-", "--", "–", "—", ".", "..", "*", "n.a.", "n.a", "n/a", "na", "nan", "none", "null", "missing", "#value!",
    "#div/0!",
))
# fmt: on

# Numbers with a decimal point and with a decimal comma, each with and without the other one between thousands. What is
# repeated without end is never given back (`++`), so that a cell of a million characters takes no hours.
_POINT = re.compile(r"[+-]?(\d++\.?\d*+|\.\d+|[1-9]\d{0,2}(,\d{3})+(\.\d*)?|inf|infinity)(e[+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d++,?\d*+|,\d+|[1-9]\d{0,2}(\.\d{3})+(,\d*)?|inf|infinity)(e[+-]?\d+)?")
_UNUSUAL = re.compile(r"[^0-9+\-.eE\n]")  # in cells of plain numbers
_BLANKS = re.compile(r"[ '’\u00a0\u2009\u202f]")
_SPACED = re.compile(rf"[+-]?\d{{1,3}}({_BLANKS.pattern}\d{{3}})+([.,]\d*)?")
_UNITS = "kg|g|mg|µg|km|cm|mm|ml|l|ms|min|h|hz|khz|mhz|db|kw|kwh|usd|eur|gbp|kb|mb|gb|mmhg|mph|km/h|bpm"
_LIKE_NUMBER = re.compile(
    rf"\(?[€$£¥]?\s*+[+\-−]?[€$£¥]?\s*+[.,]?\d[\d.,'’_\s]*+(e[+-]?\d+)?\s*([%‰€$£¥]|°[cf]?|{_UNITS})?\)?", re.IGNORECASE
)
_MONTH = r"[^\W\d_]{3,}\.?"
_TIME = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?(\s*[ap]\.?m\.?)?(\s*(Z|UTC|[+-]\d{2}:?\d{2}))?"
_DATE = re.compile(
    rf"({_MONTH},? )?"
    rf"(\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.](\d{{2}}|\d{{4}})|\d{{4}}-(\d{{2}}|W\d{{2}})"
    rf"|\d{{4}}-?Q[1-4]|\d{{1,2}}\.?[ /-]{_MONTH}[ /-](\d{{2}}|\d{{4}})|{_MONTH} \d{{1,2}},? \d{{4}})((,? |T){_TIME})?"
    rf"|{_TIME}",
    re.IGNORECASE,
)


def is_mark(cell: Any) -> bool:
    """Whether a cell is text that stands for no value where numbers are expected, such as `?`."""
    return isinstance(cell, str) and (cell.strip().lower() in MARKS or cell.strip() in EMPTY)


def like_numbers(cells: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the cells look like numbers, perhaps with separators that are not understood or with a unit."""
    return np.array([_LIKE_NUMBER.fullmatch(cell.strip()) is not None for cell in cells], bool)


def like_dates(cells: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the cells look like dates or times."""
    return np.array([_DATE.fullmatch(cell.strip()) is not None for cell in cells], bool)


def understood(columns: Mapping[str, Sequence[str]]) -> dict[str, NDArray[Any]]:
    """Columns of text as what they hold: truth values, whole numbers, fractions, or text.

    All cells of a column must be of one kind, or have no value. Numbers that may be read in two ways (1,234 is a
    fraction with a decimal comma, or has a comma between thousands) are read as the other columns are written. Where
    these do not tell, they stay text, as does all that only looks like numbers.

    Args:
      columns: the cells of each column by its name, `[rows]`.

    Returns:
      The same as arrays: bool, int64, float64 with NaN for no value, or objects with None for it.
    """
    read = {name: _Column.of(cells) for name, cells in columns.items()}
    told = {column.comma for column in read.values() if column.comma is not None}
    comma = told.pop() if len(told) == 1 else None
    return {name: column.array(comma) for name, column in read.items()}


@dataclasses.dataclass(frozen=True)
class _Column:
    """One column of text.

    Attributes:
      cells: as they are, `[rows]`.
      stripped: the same without space around them.
      plain: whether they are digits, points and signs, or empty.
      comma: whether its numbers have decimal commas (True) or points; None for numbers that do not tell, and for text.
    """

    cells: Sequence[str]
    stripped: Sequence[str]
    plain: bool
    comma: bool | None

    @classmethod
    def of(cls, cells: Sequence[str]) -> "_Column":
        stripped = [cell.strip() for cell in cells]
        plain = _UNUSUAL.search("\n".join(stripped)) is None
        if plain:  # the usual case: one cell tells, where there is one
            telling = next((cell for cell in stripped if "." in cell and not _COMMA.fullmatch(cell)), "")
            return cls(cells, stripped, True, False if _POINT.fullmatch(telling) else None)
        column = cls(cells, stripped, False, None)
        point, comma = column._styles
        return dataclasses.replace(column, comma=None if point == comma else comma)

    @functools.cached_property
    def _written(self) -> dict[str, str]:
        """The different values with what is written there, without blanks between thousands."""
        values = [cell for cell in {*self.stripped} - EMPTY if cell.lower() not in MARKS]
        written = {cell: cell.replace("−", "-").lower() for cell in values}
        return {cell: _BLANKS.sub("", text) if _SPACED.fullmatch(text) else text for cell, text in written.items()}

    @property
    def _styles(self) -> tuple[bool, bool]:
        """Whether all values are numbers with decimal points, and whether all are numbers with decimal commas."""
        point, comma = (all(map(style.fullmatch, self._written.values())) for style in (_POINT, _COMMA))
        return point, comma

    def array(self, comma: bool | None) -> NDArray[Any]:
        """The column as what it holds; `comma` says how numbers of the table are written, where that is known."""
        comma = comma if self.comma is None else self.comma
        numbers = _plain_numbers(self.stripped) if self.plain and not comma else None
        if numbers is None:
            if self._written and {*self._written.values()} <= {"true", "false"}:
                truths = [self._written[cell] == "true" if cell in self._written else None for cell in self.stripped]
                return objects(truths) if None in truths else np.array(truths, bool)
            values = self._values(comma)
            if values is None:
                pairs = zip(self.stripped, self.cells, strict=True)
                return objects(None if stripped in EMPTY else cell for stripped, cell in pairs)
            numbers = [values.get(cell) for cell in self.stripped]
        return _of_numbers(numbers)

    def _values(self, comma: bool | None) -> dict[str, int | float] | None:
        """The numbers by their cells; None for text, and for numbers that may be read in two ways."""
        point, decimal = self._styles
        written = self._written
        if not written or not (point or decimal):
            return None
        if point and decimal:
            if comma is None and any("," in number for number in written.values()):
                return None
            decimal = bool(comma)
        drop, decimal_sign = (".", ",") if decimal else (",", ".")
        plain = {cell: number.replace(drop, "").replace(decimal_sign, ".") for cell, number in written.items()}
        whole = all(number.lstrip("+-").isdecimal() for number in plain.values())
        return {cell: (int if whole else float)(number) for cell, number in plain.items()}


def _plain_numbers(cells: Sequence[str]) -> list[int | float | None] | None:
    """The numbers of cells of digits, points and signs, None for empty ones; None where one is no number, or all are
    empty."""
    text = "".join(cells)
    read = float if "." in text or "e" in text.lower() else int
    try:
        return [read(cell) if cell else None for cell in cells] if text else None
    except ValueError:
        return None


def _of_numbers(numbers: Sequence[int | float | None]) -> NDArray[Any]:
    """Whole numbers without gaps as int64, others as float64."""
    array = np.array(numbers, np.float64)  # NaN for None
    whole = all(isinstance(number, int) for number in numbers if number is not None)
    if whole and np.nanmax(np.abs(array)) > 2**53:
        return objects(numbers)  # identifiers, which would lose digits as fractions
    return array.astype(np.int64) if whole and None not in numbers else array


def objects(cells: Iterable[Any]) -> NDArray[Any]:
    """An array of Python objects, which may be sequences themselves."""
    values = list(cells)
    array = np.empty(len(values), object)
    array[:] = values
    return array
