"""Any table is read right, or refused in one sentence. MTNETS_EXAMPLES=100000 tries that many of each kind."""

import csv
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mtnets.errors import DataError, MtnetsError
from mtnets.tasks.inputs.cells import Cells, cells_of, is_missing, read_cells
from mtnets.tasks.inputs.columns import NumberColumn, column_of
from mtnets.tasks.inputs.csv_files import SEPARATORS, read_csv
from mtnets.tasks.inputs.text_cells import understood

some = settings(
    max_examples=int(os.environ.get("MTNETS_EXAMPLES", "100")),
    deadline=None,
    database=None,
    derandomize="MTNETS_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
MARKED = [
    *SEPARATORS,
    '"',
    "'",
    "\n",
    "\r",
    " ",
    "1",
    "5",
    ".",
    "-",
    "?",
    "a",
    "é",
    "NA",
    "\0",
    "\ufeff",
    "\x85",
    "\u2028",
]
ANY_TEXT = st.lists(st.sampled_from(MARKED) | st.characters(), max_size=40).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def learned(cells: Cells) -> None:
    """Learns what each column holds, and encodes it: finite features, or one sentence."""
    for name in cells.columns:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of doubtful categories
                column = column_of(cells, name)
        except MtnetsError:
            continue
        features = column.encode(cells)
        assert features.shape == (len(cells), len(column.features))
        assert np.isfinite(features).all()


def encoded(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


@some
@given(content=st.binary(max_size=80) | st.builds(encoded, ANY_TEXT, st.sampled_from(["utf-8", "utf-16", "latin-1"])))
def test_any_bytes(folder: Path, content: bytes) -> None:
    file = folder / "any.csv"
    file.write_bytes(content)
    try:
        cells = read_cells(file)
    except DataError:
        return
    assert {len(column) for column in cells.columns.values()} <= {len(cells)}
    learned(cells)


@st.composite
def written(draw: Any) -> tuple[str, dict[str, list[str]]]:
    """A table as Python writes it, and its cells."""
    width = draw(st.integers(2, 4))
    name = st.text("abcdefgh é", min_size=1, max_size=3).filter(str.strip)
    names = draw(st.lists(name, min_size=width, max_size=width, unique_by=str.strip))
    cell = st.text([*SEPARATORS, '"', "'", "\n", " ", *"ab15.-é"], max_size=5)
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=5))
    file, ends = io.StringIO(newline=""), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    # Python quotes no other end of line than its own
    quoting = csv.QUOTE_ALL if any("\n" in cell for row in rows for cell in row) else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=draw(st.sampled_from(SEPARATORS)), lineterminator=ends, quoting=quoting)
    writer.writerows([names, *rows])
    return file.getvalue(), {name: [row[i] for row in rows] for i, name in enumerate(names)}


@some
@given(table=written(), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))
def test_tables_that_python_has_written(folder: Path, table: tuple[str, dict[str, list[str]]], encoding: str) -> None:
    text, cells = table
    file = folder / "written.csv"
    file.write_bytes(text.encode(encoding))
    assert read_csv(file) == cells


STYLES = [
    (".", ""),
    (",", ""),
    (".", ","),
    (",", "."),
    (".", " "),
    (",", "\u00a0"),
    (",", "'"),
    (".", "’"),
    (",", "\u202f"),
]


def shown(number: float | None, style: tuple[str, str], digits: int, missing: str) -> str:
    if number is None:
        return missing
    point, thousands = style
    plain = f"{abs(number):,.{digits}f}".translate(str.maketrans({",": thousands, ".": point}))
    return f"{'-' * (number < 0)}{plain}"


@some
@given(
    st.sampled_from(STYLES),
    st.lists(
        st.tuples(st.lists(st.none() | st.floats(-1e7, 1e7), min_size=4, max_size=4), st.integers(0, 3)), max_size=3
    ),
    st.sampled_from(["", "NA", "?", "-", "n.a.", " "]),
)
def test_numbers_of_all_styles(style: tuple[str, str], columns: Sequence[tuple[list[Any], int]], missing: str) -> None:
    """They are read as they were meant, or refused: never as other numbers, and never as categories."""
    texts = {str(i): [shown(x, style, digits, missing) for x in numbers] for i, (numbers, digits) in enumerate(columns)}
    # points between thousands are only told from those of fractions by a decimal comma somewhere
    assume(style != (",", ".") or any("," in cell for cells in texts.values() for cell in cells))
    cells = cells_of(understood(texts))
    for i, (numbers, digits) in enumerate(columns):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of columns that are constant but for rounding
                column = column_of(cells, str(i))
        except DataError:
            continue
        assert isinstance(column, NumberColumn)
        expected = [np.nan if x is None else float(f"{x:.{digits}f}") for x in numbers]
        np.testing.assert_array_equal(cells.numbers(str(i), marks=True), expected)


PYTHON_CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=2)
PYTHON_CELLS |= st.dates() | st.timedeltas() | st.decimals() | st.fractions() | st.complex_numbers()
PYTHON_CELLS |= st.lists(st.integers(), max_size=2) | st.sampled_from(
    [np.ma.masked, 10**400, np.datetime64("NaT", "s"), np.inf]
)


@some
@given(st.lists(PYTHON_CELLS, min_size=1, max_size=6))
def test_any_objects(column: list[Any]) -> None:
    learned(cells_of({"a": column}))


TYPED = {
    "int": st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    "float": st.lists(st.none() | st.floats(allow_nan=False), min_size=3, max_size=3),
    "bool": st.lists(st.none() | st.booleans(), min_size=3, max_size=3),
    "text": st.lists(st.none() | st.text(max_size=3), min_size=3, max_size=3),
    "dates": st.lists(st.none() | st.dates(), min_size=3, max_size=3),
    "decimals": st.lists(st.none() | st.decimals(-(10**9), 10**9, places=3), min_size=3, max_size=3),
}


@np.errstate(invalid="ignore")  # pandas 2.2 casts infinity to an integer to see whether it is one
def nullable(frame: Any) -> Any:
    return frame.convert_dtypes()


FRAMES = {
    "pandas": lambda pandas, columns: pandas.DataFrame(columns),
    "pandas, nullable": lambda pandas, columns: nullable(pandas.DataFrame(columns)),
    "pyarrow": lambda pyarrow, columns: pyarrow.table(columns),
    "polars": lambda polars, columns: polars.DataFrame(columns, strict=False),
}


@pytest.mark.parametrize("library", FRAMES)
def test_any_data_frame(library: str) -> None:
    """It has the cells that were put into it, and the same become of them as of a mapping's."""
    package = pytest.importorskip(library.split(",", maxsplit=1)[0])
    pytest.importorskip("narwhals")

    @some
    @given(st.fixed_dictionaries({}, optional=TYPED))
    def check(columns: dict[str, list[Any]]) -> None:
        cells = cells_of(FRAMES[library](package, columns))
        assert list(cells.columns) == list(columns)
        for name, column in columns.items():
            missing = [cell is None for cell in column]
            assert [is_missing(cell) for cell in cells[name]] == missing
            if name in ("int", "float", "bool", "decimals") and not all(missing):
                exact = all(cell is None or abs(cell) <= 3e38 for cell in column)
                numbers = [np.nan if cell is None else float(cell) for cell in column]
                if exact:
                    np.testing.assert_array_equal(cells.numbers(name), numbers)
        learned(cells)

    check()
