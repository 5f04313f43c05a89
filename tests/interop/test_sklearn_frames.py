"""The scikit-learn estimators on data frames, with learners of tables; and with weights, and several outputs."""

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

import mtnets
from mtnets.errors import DataError
from mtnets.sklearn import FewShotClassifier, FewShotRegressor
from tests.shops import shop_table, shop_tasks

pandas = pytest.importorskip("pandas", reason="tables of these tests are data frames of pandas")
pytest.importorskip("narwhals", reason="data frames are read by narwhals: pip install 'mtnets[table]'")

FAST = {"meta_steps": 3, "meta_batch": 2, "validate_every": 0, "progress": False}


@pytest.fixture(scope="module")
def frame():
    """Rows of one shop, with a missing price and a missing colour; names of features in another order."""
    rows = shop_table()[:30][["colour", "price", "sales", "good"]]
    return rows.assign(price=rows["price"].where(rows.index != 3), colour=rows["colour"].where(rows.index != 5))


@pytest.fixture(scope="module")
def of_numbers():
    table = shop_table()
    gaps = table.assign(price=table["price"].mask(table.index % 9 == 0))
    return mtnets.meta_train(None, mtnets.maml(0.1), shop_tasks(gaps), **FAST)


@pytest.fixture(scope="module")
def of_classes():
    return mtnets.meta_train(None, mtnets.maml(0.1), shop_tasks(shop_table(), "good", kind="classification"), **FAST)


def test_a_frame_is_what_the_learner_adapts_to(frame, of_numbers) -> None:
    x, y = frame[["colour", "price"]], frame["sales"]
    regressor: Any = FewShotRegressor(of_numbers, inner_steps=3).fit(x, y)
    model = of_numbers.adapt(x, y.to_numpy(), inner_steps=3)
    np.testing.assert_allclose(regressor.predict(x), model(x)[:, 0], rtol=1e-5)
    assert list(regressor.feature_names_in_) == ["colour", "price"]
    assert regressor.n_features_in_ == 2
    assert get_tags(regressor).input_tags.allow_nan
    assert not get_tags(FewShotRegressor()).input_tags.allow_nan
    goes_on = regressor.partial_fit(x[:5], y[:5]).predict(x)
    np.testing.assert_allclose(goes_on, model.update(x[:5], y[:5].to_numpy(), inner_steps=3)(x)[:, 0], rtol=1e-5)


@pytest.mark.slow
def test_classes_are_those_of_the_table_and_labels_keep_their_type(frame, of_classes) -> None:
    x, y = frame[["price", "colour"]], frame["good"]
    classifier = FewShotClassifier(of_classes).fit(x, y)
    assert classifier.predict(x).dtype == bool
    model = of_classes.adapt(x, y)
    np.testing.assert_allclose(classifier.predict_proba(x), model.probabilities(x), atol=1e-5)
    one = FewShotClassifier(of_classes).fit(x[y], y[y])
    assert one.predict(x).all()
    with pytest.raises(DataError, match="good is 'maybe', which is none of the classes of training"):
        FewShotClassifier(of_classes).fit(x, np.where(y, "True", "maybe"))


def test_pipelines_searches_and_copies(frame, of_numbers) -> None:
    x, y = frame[["colour", "price"]], frame["sales"]
    pipeline = make_pipeline(
        make_column_transformer(("passthrough", ["price", "colour"]), verbose_feature_names_out=False),
        FewShotRegressor(of_numbers),
    ).set_output(transform="pandas")
    assert len(cross_val_predict(pipeline, x, y, cv=3)) == 30
    search = GridSearchCV(FewShotRegressor(of_numbers), {"inner_steps": [1, 2]}, cv=2, error_score="raise").fit(x, y)
    best: Any = search.best_estimator_
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.predict(x), best.predict(x))
    copy: Any = clone(best)
    assert copy.get_params() == best.get_params() | {"learner": copy.learner}


def test_other_frames(frame, of_numbers) -> None:
    arrow = pytest.importorskip("pyarrow")
    x, y = frame[["colour", "price"]], frame["sales"].to_numpy()
    expected = FewShotRegressor(of_numbers).fit(x, y).predict(x)
    table = arrow.Table.from_pandas(x, preserve_index=False)
    np.testing.assert_array_equal(FewShotRegressor(of_numbers).fit(table, y).predict(table), expected)
    polars = pytest.importorskip("polars", reason="the last frame is one of Polars")
    table = polars.from_arrow(table)
    np.testing.assert_array_equal(FewShotRegressor(of_numbers).fit(table, y).predict(table), expected)


def test_what_is_no_frame_of_the_learner_is_refused(frame, of_numbers) -> None:
    x, y = frame[["colour", "price"]], frame["sales"]
    regressor = FewShotRegressor(of_numbers)
    with pytest.raises(DataError, match="X is of type ndarray, and the learner was trained on tables; pass a data fr"):
        regressor.fit(x.to_numpy(), y)
    with pytest.raises(DataError, match="X is of type dict"):
        regressor.fit(dict(x), y)
    with pytest.raises(DataError, match="There is no column 'price'"):
        regressor.fit(x[["colour"]], y)
    with pytest.raises(DataError, match="X has 0 rows"):
        regressor.fit(x[:0], y[:0])
    with pytest.raises(DataError, match="x has rows of 12 tasks"):
        regressor.fit(shop_table(), np.arange(360.0))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        regressor.fit(x, y[:7])
    regressor.fit(x, y)
    with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
        regressor.predict(x[["price"]])


# --- weights


@pytest.mark.slow
def test_weights_and_repeated_rows_are_the_same_to_the_last_bit(frame, of_numbers, of_classes) -> None:
    counts = np.arange(30) % 4
    often = frame.loc[frame.index.repeat(counts)][::-1]
    for make, target in (
        (lambda: FewShotRegressor(of_numbers), "sales"),
        (lambda: FewShotClassifier(of_classes), "good"),
    ):
        x, y = frame[["colour", "price"]], frame[target]
        repeated = make().fit(often[["colour", "price"]], often[target])
        weighed = make().fit(x, y, sample_weight=counts)
        np.testing.assert_array_equal(weighed.predict(x), repeated.predict(x))
        assert weighed.loss_ == repeated.loss_
        assert weighed.n_iter_ == repeated.n_iter_
        weighed.partial_fit(x, y, sample_weight=counts)
        repeated.partial_fit(often[["colour", "price"]], often[target])
        np.testing.assert_array_equal(weighed.predict(x), repeated.predict(x))


def test_a_class_that_weighs_nothing_is_none(frame, of_classes) -> None:
    x, y = frame[["colour", "price"]], frame["good"]
    assert FewShotClassifier(of_classes).fit(x, y, sample_weight=y.astype(float)).classes_ == [True]
    rows = np.random.default_rng(0).normal(size=(6, 3))
    assert list(FewShotClassifier().fit(rows, list("abcabc"), sample_weight=[1, 1, 0] * 2).classes_) == ["a", "b"]


@pytest.mark.parametrize("weights", [-1.0, 0.0, np.nan, [1.0, 2.0], np.ones((6, 1)), ["a"] * 6, [1, 1, 1, 1, 1, -0.5]])
def test_weights_that_are_none_are_refused(weights) -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    with pytest.raises(DataError, match="sample_weight"):
        FewShotRegressor().fit(x, x[:, 0], sample_weight=weights)
    with pytest.raises(DataError, match="sample_weight"):
        FewShotClassifier().fit(x, [0, 1] * 3, sample_weight=weights)


@pytest.mark.slow
def test_one_weight_for_all_is_none() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    plain, weighed = FewShotRegressor().fit(x, x[:, 0]), FewShotRegressor().fit(x, x[:, 0], sample_weight=0.25)
    np.testing.assert_array_equal(plain.predict(x), weighed.predict(x))


# --- several outputs


@pytest.mark.slow
def test_several_outputs() -> None:
    rng = np.random.default_rng(0)
    slopes, tasks = rng.normal(size=(20, 2)), np.repeat(np.arange(20), 12)
    x = rng.normal(size=(240, 3))
    y = 100 * slopes[tasks] * x[:, :1] + [0, 1000]
    regressor = FewShotRegressor()
    regressor.meta_fit(x, y, tasks, shots=4, queries=4, meta_steps=200, validate_every=0)
    assert regressor.meta_learner_.outputs == 2
    few = x[:8]
    targets = 150 * few[:, :1] * [1, -1] + [0, 1000]
    predicted = regressor.fit(few, targets).predict(few)
    assert predicted.shape == (8, 2)
    assert abs(predicted.mean(0) - targets.mean(0)).max() < 100  # each output in its own unit
    assert np.isfinite(regressor.score(few, targets))
    assert get_tags(regressor).target_tags.multi_output
    for wrong in (targets[:, 0], np.column_stack([targets, targets])):
        with pytest.raises(DataError, match=r"y has [14] columns and this learner predicts 2 numbers"):
            regressor.fit(few, wrong)
