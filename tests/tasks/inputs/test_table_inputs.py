"""Rows of a table as inputs: cells, columns, and what a learner keeps of them."""

import numpy as np
import pytest

from mtnets.errors import DataError
from mtnets.tasks import inputs_from_json
from mtnets.tasks.inputs import TableInputs
from mtnets.tasks.inputs.cells import Cells, cells_of
from mtnets.tasks.inputs.columns import CategoryColumn, NumberColumn, column_of

TABLE = {"a": [1.0, np.nan, 5.0], "b": ["x", None, "y"], "c": ["no", "yes", "yes"], "task": ["t", "t", "u"]}


def learned(**changes) -> TableInputs:
    return TableInputs.of(cells_of({**TABLE, **changes}), ["a", "b"], "c", "task")


def test_columns_are_learned_from_rows() -> None:
    inputs = learned()
    assert inputs.columns == (NumberColumn("a", 3.0, 2.0, missing=True), CategoryColumn("b", ("x", "y")))
    assert (inputs.target, inputs.classes) == (CategoryColumn("c", ("no", "yes")), ("no", "yes"))
    assert inputs.features == ("a", "a is missing", "b = x", "b = y")
    np.testing.assert_array_equal(inputs.prepare(TABLE), [[1, 0, 1, 0], [3, 1, 0, 0], [5, 0, 0, 1]])
    np.testing.assert_array_equal(inputs.scale(inputs.prepare(TABLE))[:, 0], [-1, 0, 1])
    np.testing.assert_array_equal(inputs.prepare_targets(inputs.target_of(TABLE)), [0, 1, 1])
    assert inputs.shared_classes
    assert inputs.learned


def test_it_survives_its_file() -> None:
    for target in (CategoryColumn("c", ("no", "yes")), NumberColumn("c", 0.5, 3.0)):
        inputs = TableInputs((NumberColumn("a", 1.5, 2.0, True), CategoryColumn("b", ("x", "y"))), target, "task")
        assert inputs_from_json(inputs.to_json()) == inputs
        assert inputs_from_json({**inputs.to_json(), "kind": "columns"}) == inputs  # as version 0.1 called it


def test_errors_name_rows_of_the_whole_table() -> None:
    cells = cells_of({"n": [1.0, 2.0, np.inf, 4.0], "m": ["a", "b", "c", None]}).take(np.array([3, 2]))
    assert len(cells) == 2
    with pytest.raises(DataError, match="n is inf in row 2, counted from 0"):
        cells.numbers("n")
    with pytest.raises(DataError, match="m is missing in row 3"):
        cells.require_present("m")


def test_text_of_numbers_and_rows_are_told_apart_from_other_mistakes() -> None:
    """What `csv.DictReader` gives."""
    inputs = learned()
    with pytest.raises(DataError, match=r"a is the text '0' in row 1, .* numbers: float\(cell\) makes one of a text\."):
        inputs.prepare({**TABLE, "a": ["", "0", "1.5"]})
    with pytest.raises(DataError, match=r"a is high in row 2, counted from 0; expected a finite number\."):
        inputs.prepare({**TABLE, "a": [1.0, 2.0, "high"]})
    rows = [dict(zip(TABLE, cells, strict=True)) for cells in zip(*TABLE.values(), strict=True)]
    for read in (inputs.collected, inputs.prepare):
        with pytest.raises(DataError, match=r"The table is a list of 3 rows; pass a mapping of columns, .* or a data"):
            read(rows)


def test_rows_by_value() -> None:
    places = Cells.of_column("t", np.array(["b", None, "a", "b"], object)).by_value("t")
    assert {name: rows.tolist() for name, rows in places.items()} == {"b": [0, 3], "a": [2]}


def test_whole_numbers_with_gaps_name_the_same_category() -> None:
    column = column_of(cells_of({"code": [3.0, np.nan, 10.0]}), "code", category=True)
    assert column.classes == ("10", "3")
    np.testing.assert_array_equal(column.encode(cells_of({"code": [3, 10]})), [[0, 1], [1, 0]])


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(DataError, match="The columns of the table have 1 to 2 rows"):
        cells_of({"a": [1], "b": [1, 2]})


def test_tasks_of_another_table_mean_nothing() -> None:
    learned().check_tasks(learned())
    with pytest.raises(DataError, match="The table has changed since training, or is another one"):
        learned().check_tasks(learned(a=[1.0, 2.0, 3.0]))
