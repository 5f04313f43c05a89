"""The cells of tables from data frames of every library, mappings and files."""

import datetime
import gzip
from decimal import Decimal

import numpy as np
import pytest

from mtnets.errors import DataError
from mtnets.tasks.inputs.cells import cells_of, is_table, read_cells
from mtnets.tasks.inputs.columns import CategoryColumn, NumberColumn, column_of

narwhals = pytest.importorskip("narwhals", reason="data frames are read by narwhals: pip install 'mtnets[table]'")

TABLE = {
    "whole": [1, 2, 3],
    "gaps": [1, None, 3],
    "fraction": [1.5, None, 2.0],
    "truth": [True, None, False],
    "text": ["a", None, "b"],
    "day": [datetime.date(2020, 1, i) for i in (1, 2, 3)],
    "big": [2**60, 2**60 + 1, 2**60 + 2],
}


FRAMES = {
    "pandas": lambda pandas: pandas.DataFrame(TABLE),
    "pandas, nullable": lambda pandas: pandas.DataFrame(TABLE).convert_dtypes(),
    "polars": lambda polars: polars.DataFrame(TABLE),
    "polars, lazy": lambda polars: polars.LazyFrame(TABLE),
    "pyarrow": lambda pyarrow: pyarrow.table(TABLE),
    "duckdb": lambda duckdb: duckdb.from_arrow(pytest.importorskip("pyarrow").table(TABLE)),
}


@pytest.mark.parametrize("library", FRAMES)
def test_data_frames_of_all_libraries_are_the_same(library: str) -> None:
    frame = FRAMES[library](pytest.importorskip(library.split(",", maxsplit=1)[0]))
    assert is_table(frame)
    cells = cells_of(frame)
    assert list(cells.columns) == list(TABLE)
    assert (len(cells), cells["whole"].dtype.kind) == (3, "i")
    np.testing.assert_array_equal(cells.numbers("gaps"), [1, np.nan, 3])
    np.testing.assert_array_equal(cells.numbers("fraction"), [1.5, np.nan, 2])
    np.testing.assert_array_equal(cells.numbers("truth"), [1, np.nan, 0])
    assert {name: rows.tolist() for name, rows in cells.by_value("text").items()} == {"a": [0], "b": [2]}
    assert list(cells.by_value("big")) == [str(2**60), str(2**60 + 1), str(2**60 + 2)]
    assert column_of(cells, "text") == CategoryColumn("text", ("a", "b"))
    assert column_of(cells, "gaps") == NumberColumn("gaps", 2.0, 1.0, missing=True)
    with pytest.raises(DataError, match=r"Column day holds dates or times \(2020-01-01.*\); .* ignore='day'\."):
        column_of(cells, "day")


def test_categories_of_numbers_are_names() -> None:
    pandas = pytest.importorskip("pandas")
    cells = cells_of(pandas.DataFrame({"c": pandas.Categorical([3.0, 10.0, None]), "d": pandas.Categorical(["x"] * 3)}))
    assert cells["c"].tolist() == ["3", "10", None]
    assert column_of(cells, "d").classes == ("x",)


def test_a_mapping_may_hold_columns_of_any_kind() -> None:
    pandas = pytest.importorskip("pandas")
    cells = cells_of(
        {
            "mixed": [1.0, "x", None],  # NumPy would make text of all
            "masked": np.ma.MaskedArray([1, 2, 3], [False, True, False]),
            "series": pandas.Series(["a", None, "b"]),
            "decimal": [Decimal("0.5"), Decimal(1), Decimal("NaN")],
            "one column": np.arange(3)[:, None],
            "array": np.arange(3),
        }
    )
    assert cells["mixed"].tolist() == [1.0, "x", None]
    np.testing.assert_array_equal(cells.numbers("masked"), [1, np.nan, 3])
    assert cells["series"].tolist()[::2] == ["a", "b"]
    np.testing.assert_array_equal(cells.numbers("decimal"), [0.5, 1, np.nan])
    assert cells["one column"].tolist() == [0, 1, 2]


def test_tables_that_cannot_be_used() -> None:
    arrow = pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="Two columns are called 'a'; rename one"):
        cells_of(arrow.table([[1], [2]], names=["a", "a"]))
    with pytest.raises(DataError, match="of type RecordBatch, which is no data frame that narwhals knows"):
        cells_of(arrow.record_batch({"a": [1]}))
    with pytest.raises(DataError, match=r"Column a has shape \(2, 3\); it must have one cell for each row"):
        cells_of({"a": np.zeros((2, 3))})
    with pytest.raises(DataError, match="Two columns are called 'a' and ' a'; rename one"):
        cells_of({"a": [1], " a": [2]})


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1,5", "2,5"], "Column x holds '1,5', which is text and looks like a number; .* categories='x', or kind="),
        (["01234", "23456"], "holds '01234', which is text and looks like a number"),
        (["12%", "5 kg"], "holds '12%', which is text .* without separators of thousands or units"),
        (["0", "1,000", "?", "?"], "holds '0', which is text and looks like a number"),
        (["2020-01-31", "-", "-"], r"holds dates or times \(2020-01-31\)"),
        (["?", "-"], "Column x has no value; leave it out"),
        (["1", "2", "many"], "holds 'many' among numbers; correct it, empty it"),
        ([1.0, 2.0, "many"], "holds 'many' among numbers; correct it, empty it"),
        (["31.01.2020", "01.02.2020", None], r"holds dates or times \(31.01.2020\)"),
        ([None, datetime.time(1)], "holds dates or times"),
        ([[1], [2]], r"holds \[1\], of type list; expected numbers or text"),
        ([1 + 2j], r"holds .*2j.*; expected numbers or text"),
        ([b"a"], "of type bytes; expected numbers or text"),
    ],
)
def test_numbers_and_dates_never_become_categories_without_a_word(cells: list, words: str) -> None:
    with pytest.raises(DataError, match=words):
        column_of(cells_of({"x": cells}), "x")


@pytest.mark.parametrize(
    ("cells", "which"),
    [
        (["a", "?", "b"], r"\?"),
        (["x", "y", "3"], "3"),
        (["x", "y", 3], "3"),
        (["x", "-"], "-"),
        (["x", "y", "2020-01-31"], "2020-01-31"),
    ],
)
def test_doubtful_categories_are_pointed_out(cells: list, which: str) -> None:
    table = cells_of({"x": cells})
    with pytest.warns(UserWarning, match=f"Column x holds '{which}' among text, which becomes a category"):
        column = column_of(table, "x")
    assert column == column_of(table, "x", category=True)  # without a word


def test_marks_among_numbers_are_missing() -> None:
    assert column_of(cells_of({"x": [1, "-", 3.0, "?"]}), "x") == NumberColumn("x", 2.0, 1.0, missing=True)


def test_plus_and_minus_are_categories() -> None:
    assert column_of(cells_of({"x": ["+", "-"]}), "x").classes == ("+", "-")


def test_marks_are_missing_numbers_in_use() -> None:
    column = NumberColumn("x", 5.0, 1.0, missing=True)
    np.testing.assert_array_equal(column.encode(cells_of({"x": ["?", "n.a."]})), [[5, 1], [5, 1]])
    with pytest.raises(DataError, match=r"x is 1,234 in row 0.*\(written without separators of thousands"):
        column.encode(cells_of({"x": ["1,234"]}))
    with pytest.raises(DataError, match=r"x is \? in row 0"):
        column.truth(cells_of({"x": ["?"]}))


def test_files_are_read_alike(tmp_path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = {"a": [1.5, None, -2.0], "b": ["x", "y", None]}
    (tmp_path / "data.csv").write_text("a;b\n1,5;x\n?;y\n-2,0;\n")
    (tmp_path / "data.tsv").write_text("a\tb\n1.5\tx\n\ty\n-2\tNA\n")
    parquet.write_table(arrow.table(table), tmp_path / "data.parquet")
    (tmp_path / "data.parquet.gz").write_bytes(gzip.compress((tmp_path / "data.parquet").read_bytes()))
    for name in ("data.csv", "data.tsv", "data.parquet", "data.parquet.gz"):
        cells = read_cells(tmp_path / name)
        np.testing.assert_array_equal(cells.numbers("a"), [1.5, np.nan, -2])
        assert cells["b"].tolist() == ["x", "y", None]


def test_the_index_of_pandas_is_no_column(tmp_path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"a": [1, 2]}, index=[5, 7]).to_parquet(tmp_path / "data.parquet")
    assert list(read_cells(tmp_path / "data.parquet").columns) == ["a"]


def test_files_that_unpack_without_end(tmp_path) -> None:
    (tmp_path / "zeros.csv.gz").write_bytes(gzip.compress(bytes(65 << 20)))
    with pytest.raises(DataError, match=r"cannot be read: its \d+ bytes unpack to more than 67108864; repair it"):
        read_cells(tmp_path / "zeros.csv.gz")
    pyarrow = pytest.importorskip("pyarrow", reason="needs mtnets[table]")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a": pyarrow.repeat(1, 10**7 + 1)}), tmp_path / "one.parquet")
    with pytest.raises(DataError, match=r"it says that it has 10000001 rows in \d+ bytes"):
        read_cells(tmp_path / "one.parquet")
