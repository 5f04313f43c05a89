"""A pasted table as the estimators take it, and what they say of it."""

import numpy as np
import pytest

import mtnets
from mtnets import DataError
from mtnets.serving.limits import Limits
from mtnets.serving.notes import notes_on
from mtnets.serving.tables import Tabling
from mtnets.sklearn import FewShotClassifier, FewShotRegressor
from mtnets.tasks import TableInputs
from mtnets.tasks.inputs.columns import CategoryColumn, NumberColumn

TEXT = "size\ttown\tprice\n1\tUlm\t1,5\n2\tBonn\t2,5\n3\tUlm\t\n4\t\t3,5\n"


def test_columns_become_features() -> None:
    table = Tabling.of(TEXT, "price", Limits())
    assert table.features == ("size", "town = Bonn", "town = Ulm")
    np.testing.assert_array_equal(table.x, [[1, 0, 1], [2, 1, 0], [4, 0, 0]])
    np.testing.assert_array_equal(table.y, [1.5, 2.5, 3.5])  # decimal commas
    np.testing.assert_array_equal(table.queries, [[3, 0, 1]])
    assert (table.rows, table.classify) == ((2,), False)


def test_a_target_of_text_is_a_class() -> None:
    table = Tabling.of(TEXT, "town", Limits())
    assert table.classify
    assert table.y.tolist() == ["Ulm", "Bonn", "Ulm"]
    assert table.rows == (3,)


def test_categories_that_no_row_to_learn_from_has_are_told() -> None:
    table = Tabling.of(TEXT.replace("3\tUlm", "3\tTrier"), "price", Limits())
    assert table.notes == (
        "town is 'Trier' in 1 row to predict and in none with price, so it counts as missing; correct it, or add such "
        "a row.",
    )
    np.testing.assert_array_equal(table.queries, [[3, 0, 0]])
    assert Tabling.of(TEXT, "price", Limits()).notes == ()


def test_categories_that_a_learner_does_not_know_are_told() -> None:
    columns = (NumberColumn("size", 1.0, 1.0), CategoryColumn("town", ("Bonn", "Ulm")))
    inputs = TableInputs(columns, NumberColumn("price", 1.0, 1.0), "shop")
    x = {"size": [1, 2, None, 4], "town": ["Ulm", "Trier", "Trier", None]}
    assert notes_on(inputs, x) == [
        "town is 'Trier' in 2 rows and in none of training, so it counts as missing; correct it, or send null."
    ]
    assert notes_on(inputs, {name: cells[:1] for name, cells in x.items()}) == []
    assert notes_on(mtnets.tasks.Images(28, 1), np.zeros((1, 28, 28, 1))) == []


@pytest.mark.parametrize(
    ("text", "target", "sentence"),
    [
        ("", "price", "The table cannot be read: it is empty"),
        ("a,b\n1\n", "a", r"The table has 1 cells in line 2 and 2 columns"),
        (TEXT, "cost", "There is no column 'cost'"),
        ("a,b\n1,\n2,3\n", "b", "b is filled in in 1 rows; it must be in 2"),
        ("a,b\n1,4\n2,3\n", "b", "b is filled in in all rows; leave it empty"),
        ("b\n1\n2\n\n", "b", "b is filled in in all rows"),
        ("a,b\n1,x\n2,x\n3,\n", "b", "b is x in all rows; there must be two classes"),
        ("a,b\n1,2020-01-01\n2,2021-01-01\n3,\n", "a", "a is filled in in all rows"),
        ("a,b\n1,2020-01-01\n2,2021-01-01\n,2022-01-01\n", "a", "Column b holds dates or times"),
        ("a,b\n" + "1,2\n" * 300 + "1,\n", "b", "The table has 300 rows with b and 1 without; send at most 256"),
    ],
)
def test_tables_that_are_none(text, target, sentence) -> None:
    with pytest.raises(DataError, match=sentence):
        Tabling.of(text, target, Limits())


@pytest.mark.slow
@pytest.mark.parametrize("target", ["price", "town"])
def test_the_answer_is_that_of_the_estimators(target) -> None:
    table = Tabling.of(TEXT, target, Limits())
    answer = table.alone()
    assert Tabling.run([table]) == [answer]
    assert (answer.learned_from, answer.rows) == (3, list(table.rows))
    if target == "price":
        assert answer.predictions == FewShotRegressor().fit(table.x, table.y).predict(table.queries).tolist()
    else:
        model = FewShotClassifier().fit(table.x, table.y)
        assert answer.predictions == model.predict(table.queries).tolist()
        assert answer.probabilities == model.predict_proba(table.queries).max(1).tolist()
