"""What text in cells means."""

import numpy as np
import pytest

from mtnets.tasks.inputs.text_cells import is_mark, like_dates, like_numbers, understood

NAN = float("nan")


@pytest.mark.parametrize(
    ("cells", "dtype", "expected"),
    [
        (["1", " 2", "-3"], np.int64, [1, 2, -3]),
        (["1", "", "-3"], np.float64, [1, NAN, -3]),
        (["1.5", ".5", "2."], np.float64, [1.5, 0.5, 2]),
        (["0.1", "1e-3", "1E5"], np.float64, [0.1, 0.001, 1e5]),
        (["1,5", "0,25", "-2"], np.float64, [1.5, 0.25, -2]),
        (["1.234,5", "12"], np.float64, [1234.5, 12]),
        (["1,234.5", "12"], np.float64, [1234.5, 12]),
        (["1,234,567", "12"], np.int64, [1234567, 12]),
        (["1 234 567", "1\u202f234,5"], np.float64, [1234567, 1234.5]),
        (["1'234", "−2"], np.int64, [1234, -2]),
        (["1.234", "2.500"], np.float64, [1.234, 2.5]),
        (["?", "1.5", "-", "n.a.", "NA", "", "N/A", "NaN", "--"], np.float64, [NAN, 1.5] + [NAN] * 7),
        (["inf", "-Infinity", "1"], np.float64, [np.inf, -np.inf, 1]),
        (["True", "false", "TRUE"], bool, [True, False, True]),
        (["True", "", "false"], object, [True, None, False]),
        (["a", "", "NA", " b"], object, ["a", None, None, " b"]),
        (["?", "?"], object, ["?", "?"]),  # nothing says that numbers are expected
        (["12345678901234567890", "", "7"], object, [12345678901234567890, None, 7]),
        (["1", "a"], object, ["1", "a"]),
        (["1,234", "2,345"], object, ["1,234", "2,345"]),  # in two ways
        (["1,23,456"], object, ["1,23,456"]),
        (["1_000"], object, ["1_000"]),
        ([], object, []),
    ],
)
def test_columns(cells: list[str], dtype, expected: list) -> None:
    column = understood({"it": cells})["it"]
    assert column.dtype == dtype
    if column.dtype.kind == "O":
        assert column.tolist() == expected
    else:
        np.testing.assert_array_equal(column, expected)


@pytest.mark.parametrize(
    ("other", "dots", "commas"),
    [
        (["1,5"], [1234, 12], [1.234, 12]),
        (["1.5"], [1.234, 12], [1234, 12]),
        (["7"], [1.234, 12], ["1,234", "12"]),
        (["31.01.2020"], [1.234, 12], ["1,234", "12"]),
    ],
)
def test_other_columns_tell_how_numbers_are_written(other: list[str], dots: list, commas: list) -> None:
    columns = understood({"other": other, "dots": ["1.234", "12"], "commas": ["1,234", "12"]})
    assert columns["dots"].tolist() == dots
    assert columns["commas"].tolist() == commas


def test_tables_written_in_two_ways() -> None:
    columns = understood({"a": ["1,5"], "b": ["1.5"], "c": ["1,234"], "d": ["1.234"]})
    assert {name: column.tolist() for name, column in columns.items()} == {
        "a": [1.5],
        "b": [1.5],
        "c": ["1,234"],
        "d": [1.234],
    }


def test_numbers_are_exact() -> None:
    numbers = np.random.default_rng(0).normal(size=100) * 10.0 ** np.arange(-50, 50)
    np.testing.assert_array_equal(understood({"it": list(map(repr, map(float, numbers)))})["it"], numbers)


DATES = [
    "2020-01-31",
    "2020/1/31",
    "31.01.2020",
    "1/31/20",
    "2020-01-31T12:30:00Z",
    "2020-01-31 12:30",
    "12:30",
    "9:05 pm",
]
DATES += ["5 Jan 2020", "5. Januar 2020", "05-Mar-20", "Jan 5, 2020", "March 5 2020", "2020-01", "2020-W05", "2020Q1"]
DATES += ["Fri, 31 Jan 2020", "Friday 2020-01-31", "31.01.2020, 12:30"]
NUMBERS = ["1", "-1,5", "1,234", "12%", "$5", "5 €", "(5)", "5 kg", "37.2°C", "1 234", "1.2.3", "555 1234", "1_000"]
NAMES = ["shop 1", "a", "18-25", ">50K", "<5", "3rd", "4WD", "A12", "1a", "May", "M", "", "Q1", "1/2", "mg"]


def test_what_text_looks_like() -> None:
    assert like_dates(DATES).all()
    assert not like_dates([*NUMBERS, *NAMES]).any()
    assert like_numbers(NUMBERS).all()
    assert not like_numbers(NAMES).any()
    assert all(map(is_mark, ["?", " - ", "n.a.", "NA", ""]))
    assert not any(map(is_mark, ["a", "0", 0, None, NAN]))


def test_long_cells_take_no_hours() -> None:
    """Each of these took time by the square of its length, or more."""
    for cell in ("1" * 10**5 + "x", "1" + " " * 10**5 + "x", "$" + " " * 10**5 + "x", "1," * 10**5 + "x"):
        assert not like_numbers([cell])[0]
        assert understood({"a": [cell]})["a"].dtype == object
