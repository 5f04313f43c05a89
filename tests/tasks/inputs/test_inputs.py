"""What every kind of inputs answers."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

from mtnets.errors import DataError, OptionError
from mtnets.tasks import AS_THEY_ARE, Images, Inputs, StandardisedRows, TableInputs, inputs_from_json
from mtnets.tasks.inputs.base import KINDS
from mtnets.tasks.inputs.columns import CategoryColumn, NumberColumn

TABLE = TableInputs((NumberColumn("age", 50.0, 9.0), CategoryColumn("sex", ("f", "m"))), NumberColumn("y", 0, 1), "who")
ALL = [AS_THEY_ARE, Images(28, 1, invert=True), TABLE, StandardisedRows(64), StandardisedRows(3, scales_targets=True)]


@pytest.mark.parametrize("inputs", ALL, ids=lambda inputs: type(inputs).__name__)
def test_they_are_values(inputs: Inputs) -> None:
    for same in (copy.deepcopy(inputs), pickle.loads(pickle.dumps(inputs)), inputs_from_json(inputs.to_json())):
        assert same == inputs
        assert hash(same) == hash(inputs)
    assert [inputs == other for other in ALL].count(True) == 1


def test_kinds_are_listed() -> None:
    assert {kind: KINDS[kind] for kind in ("images", "table", "standardised-rows")} == {
        "images": Images,
        "table": TableInputs,
        "standardised-rows": StandardisedRows,
    }


@pytest.mark.parametrize("inputs", [AS_THEY_ARE, Images(2, 1)], ids=lambda inputs: type(inputs).__name__)
def test_rows_are_reshaped_to_the_inputs_of_the_network(inputs: Inputs) -> None:
    rows = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(inputs.from_rows(rows, (2, 2, 1)), rows.reshape(3, 2, 2, 1))
    with pytest.raises(DataError, match=r"X has 4 features; this learner needs 8 \(4 × 2 × 1\)"):
        inputs.from_rows(rows, (4, 2, 1))


def test_inputs_as_they_are() -> None:
    x = [[1.0, 2.0]]
    assert AS_THEY_ARE.for_task(x, [0]) is AS_THEY_ARE
    np.testing.assert_array_equal(AS_THEY_ARE.scale(AS_THEY_ARE.prepare(x)), x)
    np.testing.assert_array_equal(AS_THEY_ARE.prepare_targets([0]), [0])
    assert AS_THEY_ARE.unscale(3.0) == 3.0
    with pytest.raises(DataError, match="y is None; pass the targets"):
        AS_THEY_ARE.target_of(x)
    with pytest.raises(OptionError, match="takes neither images nor tables"):
        AS_THEY_ARE.read_tasks(Path("a"), Path("b"))


def test_tasks_are_read_as_the_learner_reads() -> None:
    for learner, tasks in ((AS_THEY_ARE, Images(8, 1)), (Images(8, 1), AS_THEY_ARE), (Images(8, 1), Images(8, 1))):
        learner.check_tasks(tasks)
    for tasks in (Images(8, 1), Images(28, 3), Images(28, 1, invert=True), Images(28, 1, resize="nearest")):
        with pytest.raises(
            DataError, match=r"image_size=28, channels=1, invert=False, resize='lanczos', or inputs=.*Images\(size=28"
        ):
            Images(28, 1).check_tasks(tasks)
    with pytest.raises(
        DataError, match=r"The tasks have rows of up to 64 numbers.*, and the learner takes grey images"
    ):
        Images(28, 1).check_tasks(StandardisedRows(64))
    for learner, tasks in ((AS_THEY_ARE, TABLE), (TABLE, AS_THEY_ARE)):
        with pytest.raises(DataError, match="The table has changed"):
            learner.check_tasks(tasks)


def test_words_for_people() -> None:
    assert AS_THEY_ARE.usage((28, 28), "labels 0 … 4").about == "[examples, 28, 28], labels 0 … 4"
    assert Images(28, 1, invert=True).describe() == "grey images, 28 × 28, inverted"
    assert TABLE.usage((3,), "").about == "a data frame with the columns age, sex, y"
    assert TABLE.describe() == "rows of a table with the columns age, sex; it predicts y"
    assert "up to 64 numbers" in StandardisedRows(64).describe()
