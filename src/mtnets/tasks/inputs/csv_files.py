"""CSV files as text by column: their encoding, their separator, and whether every row has the cells of the header."""

import codecs
import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mtnets.errors import DataError
from mtnets.files import read
from mtnets.tasks.archives.archive import most_unpacked

SEPARATORS = ",;\t|"
_LOOKED_AT = 100  # lines by which the separator is chosen
_NAMED = re.compile(r"sep=(.)\r?\n")  # a first line that names it, as Excel writes
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_csv(path: Path) -> dict[str, list[str]]:
    """The cells of each column by its name, from a file that may be compressed (.gz).

    The first line names the columns; one without a name is called `Unnamed: 2` by its place, and is left out where all
    its cells are empty. Empty lines are passed over.

    Raises:
      DataError: for a file without a line, two columns of one name, a row with more or fewer cells than there are
        columns, or quotes that do not close.
    """
    return columns_of(_decoded(content_of(path)), str(path))


def columns_of(text: str, path: str) -> dict[str, list[str]]:
    """The same from text; `path` is what an error calls it."""
    named = _NAMED.match(text)
    text = text[named.end() :] if named else text
    separator = named[1] if named else _separator(text.splitlines()[:_LOOKED_AT])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if not row:
                continue
            rows.append(row)
            if len(row) != len(rows[0]):
                _refuse(path, reader.line_num, row, rows[0], separator)
    except csv.Error as error:
        raise DataError(f"{path} cannot be read: {error} (line {reader.line_num}); repair it.") from error
    if not rows:
        raise DataError(f"{path} cannot be read: it is empty; expected a first line of column names.")
    names = [name or f"Unnamed: {place}" for place, name in enumerate(rows[0])]
    check_names(names, f" of {path}")
    columns = {name: [row[place] for row in rows[1:]] for place, name in enumerate(names)}
    return {name: cells for place, (name, cells) in enumerate(columns.items()) if rows[0][place] or any(cells)}


def content_of(path: Path) -> bytes:
    """The bytes of a file, decompressed if it ends in .gz.

    Raises:
      OSError, EOFError: for a file that cannot be read.
      ValueError: for one that unpacks to more than a hundred times its size.
    """
    content = read(path)
    if path.suffix.lower() != ".gz":
        return content
    most = most_unpacked(len(content))
    with gzip.open(io.BytesIO(content)) as file:
        unpacked = file.read(most + 1)
    if len(unpacked) > most:
        raise ValueError(f"its {len(content)} bytes unpack to more than {most}")
    return unpacked


def check_names(names: Sequence[str], of: str = "") -> None:
    """Raises DataError for two columns of one name, but for blanks around it; `of` says of which table."""
    count = Counter(name.strip() for name in names)
    twice = [name for name in names if count[name.strip()] > 1]
    if twice:
        other = f" and {twice[1]!r}" if twice[1] != twice[0] else ""
        raise DataError(f"Two columns{of} are called {twice[0]!r}{other}; rename one of them.")


def _decoded(content: bytes) -> str:
    """UTF-8, or UTF-16 and UTF-32 with a byte order mark (UTF-16 also without); otherwise Windows-1252, of which
    Latin-1 is a part."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    start = content[:1000]
    if start[1::2].count(0) > len(start) // 4 or start[::2].count(0) > len(start) // 4:
        return content.decode("utf-16-le" if start[1::2].count(0) > len(start) // 4 else "utf-16-be")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _separator(lines: Sequence[str]) -> str:
    """What stands between cells: of the separators that give all lines the same number of cells the one that gives
    most; where none does, the one that gives the header most."""

    def counts(separator: str) -> list[int]:
        try:
            return [len(row) for row in csv.reader(lines, delimiter=separator) if row]
        except csv.Error:
            return []

    by_separator = {separator: counts(separator) for separator in SEPARATORS}
    alike = {separator: found[0] for separator, found in by_separator.items() if len(set(found)) == 1}
    header = {separator: found[0] for separator, found in by_separator.items() if found}
    chosen = alike if max(alike.values(), default=1) > 1 else header
    return max(chosen, key=lambda separator: chosen[separator], default=",")


def _refuse(path: str, line: int, row: Sequence[str], header: Sequence[str], separator: str) -> None:
    decimal = separator == "," and len(row) > len(header)
    raise DataError(
        f"{path} has {len(row)} cells in line {line} and {len(header)} columns; every row needs one cell for each"
        + (" (numbers with decimal commas must be quoted, or cells separated by semicolons)." if decimal else ".")
    )
