"""The scikit-learn estimators: scikit-learn's own checks, and that they are the learner that they wrap."""

import math
import pickle
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mtnets
from mtnets.errors import DataError
from mtnets.inner import View
from mtnets.sklearn import FewShotClassifier, FewShotRegressor


@parametrize_with_checks([FewShotRegressor()])
def test_checks_of_scikit_learn(estimator, check) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([FewShotClassifier()])
def test_checks_of_scikit_learn_of_a_classifier(estimator, check) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def wine():
    """Four wines of each kind to learn from, labels in words, and the others."""
    x, y = load_wine(return_X_y=True)
    words = np.array(["red", "rosé", "white"])[y]
    few = np.concatenate([np.flatnonzero(y == i)[:4] for i in range(3)])
    rest = np.setdiff1d(np.arange(len(y)), few)
    return x[few], words[few], x[rest], words[rest]


@pytest.fixture(scope="module")
def user_learner():
    """A learner that is not of tables: images of 4 × 2 × 1, three classes, untrained."""
    model = mtnets.from_functions(_image_network, _image_params(), input_shape=(4, 2, 1))
    params, state = model.init(jax.random.key(0))
    meta = mtnets.maml().init(model, params, jax.random.key(0), inner_lr=0.1, inner_steps=3)
    return mtnets.Learner(model, mtnets.maml(), mtnets.Learned(meta, state, 0.1), 3, "cross-entropy")


def _image_params():
    return {"w": 0.1 * jax.random.normal(jax.random.key(0), (8, 3)), "b": jnp.zeros(3)}


def _image_network(params, x):
    return x.reshape(len(x), 8) @ params["w"] + params["b"]


def test_it_learns_from_few_and_from_many(wine) -> None:
    x, y, x_rest, y_rest = wine
    few = FewShotClassifier().fit(x, y)
    assert few.score(x_rest, y_rest) > 0.75
    assert few.n_iter_ == mtnets.load("tabular-classification").inner_steps
    assert FewShotClassifier().fit(x_rest, y_rest).score(x, y) == 1
    x, y = load_diabetes(return_X_y=True)
    many = FewShotRegressor().fit(x[:300], y[:300])
    assert many.n_iter_ > mtnets.load("tabular-regression").inner_steps
    assert many.score(x[300:], y[300:]) > 0.35


def test_labels_of_any_kind_and_probabilities(wine) -> None:
    x, y, x_rest, _ = wine
    classifier = FewShotClassifier().fit(x, y)
    np.testing.assert_array_equal(classifier.classes_, np.unique(y))
    likely = classifier.predict_proba(x_rest)
    assert likely.shape == (len(x_rest), 3)
    np.testing.assert_allclose(likely.sum(1), 1)
    np.testing.assert_array_equal(classifier.predict(x_rest), classifier.classes_[likely.argmax(1)])
    odd = FewShotClassifier().fit(x, np.searchsorted(np.unique(y), y) * 10 - 7)
    assert set(odd.predict(x_rest)) <= {-7, 3, 13}


def test_it_is_what_the_learner_adapts_to(user_learner) -> None:
    """Padding and weights change nothing: 7 rows, 16 in the program."""
    x = np.random.default_rng(0).normal(size=(7, 8))
    y = np.array([0, 1, 2, 0, 1, 2, 2])
    model = user_learner.adapt(x.reshape(-1, 4, 2, 1), y, inner_steps=4)
    classifier = FewShotClassifier(user_learner, inner_steps=4).fit(x, np.array(["a", "b", "c"])[y])
    np.testing.assert_allclose(classifier.predict_proba(x), model.probabilities(x.reshape(-1, 4, 2, 1)), atol=1e-6)
    two = y < 2  # an output without a class is masked
    model = user_learner.adapt(x[two].reshape(-1, 4, 2, 1), y[two], inner_steps=4)
    classifier = FewShotClassifier(user_learner, inner_steps=4).fit(x[two], y[two])
    np.testing.assert_allclose(
        classifier.predict_proba(x), model.probabilities(x.reshape(-1, 4, 2, 1))[:, :2], atol=1e-6
    )


@pytest.mark.parametrize("rows", [1, 4, 9, 17])  # in slices of two; padded, 9 and 17 rows would have empty ones
@pytest.mark.parametrize("labels", [False, True], ids=["regressor", "classifier"])
def test_a_learner_of_streams_reads_the_rows_once_in_their_order(rows, labels) -> None:
    x = np.random.default_rng(0).normal(size=(rows, 3))
    x[-1] = x[0]  # equal rows stay where they are
    y = np.arange(rows) % 2 if labels else x @ [1.0, -2.0, 0.5]
    model = mtnets.models.mlp(3, 4, 2 if labels else 1, init_std=0.3)
    learner = _untrained(model, "cross-entropy" if labels else "mse", View(2, stream=True))
    estimator = (FewShotClassifier if labels else FewShotRegressor)(learner).fit(x, y)
    adapted = learner.adapt(x, y)
    assert estimator.n_iter_ == adapted.inner_steps == math.ceil(rows / 2)
    expected = adapted(x)[:, 0]
    found = np.asarray(estimator.adapted_(x))[:, 0] if labels else estimator.predict(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    left_out = type(estimator)(learner).fit(np.vstack([x[:1], x]), np.r_[y[:1], y], np.r_[0, np.ones(rows)])
    np.testing.assert_array_equal(left_out.predict(x), estimator.predict(x))


@pytest.mark.parametrize("rows", [5, 9, 17])
def test_a_learner_of_random_parts_sees_rows_alone(rows) -> None:
    x = np.sort(np.random.default_rng(0).normal(size=(rows, 1)), axis=0)
    learner = _untrained(mtnets.models.mlp(1, 4, 1, init_std=0.3), "mse", View(8))
    estimator = FewShotRegressor(learner, inner_steps=3).fit(x, x[:, 0] ** 2)
    np.testing.assert_allclose(estimator.predict(x), learner.adapt(x, x**2)(x)[:, 0], rtol=1e-5)


def _untrained(model, loss, view):
    params, state = model.init(jax.random.key(0))
    meta = mtnets.maml().init(model, params, jax.random.key(0), inner_lr=0.1, inner_steps=3)
    return mtnets.Learner(model, mtnets.maml(), mtnets.Learned(meta, state, 0.1), 3, loss, view=view)


def test_a_learner_of_functions_takes_what_it_was_trained_on() -> None:
    task = mtnets.tasks.sinusoid(shots=10).test.sample(jax.random.key(1))
    regressor = FewShotRegressor("sine-10shot").fit(task.support.x, task.support.y[:, 0])
    model = mtnets.load("sine-10shot").adapt(task.support.x, task.support.y)
    np.testing.assert_allclose(regressor.predict(task.query.x), model(task.query.x)[:, 0], atol=1e-5)


def test_partial_fit_goes_on(wine) -> None:
    x, y, _, _ = wine
    classifier = FewShotClassifier(inner_steps=2).partial_fit(x, y, classes=["red", "rosé", "white", "port"])
    first = classifier.loss_
    np.testing.assert_array_equal(classifier.classes_, ["port", "red", "rosé", "white"])
    classifier.partial_fit(x, y)
    assert classifier.loss_ < first
    assert classifier.n_iter_ == 4
    with pytest.raises(mtnets.DataError, match="label mead"):
        classifier.partial_fit(x[:1], ["mead"])
    targets = x[:, 0] * 1000
    regressor = FewShotRegressor(inner_steps=2).partial_fit(x, targets)
    first = regressor.loss_
    assert regressor.partial_fit(x, targets).loss_ < first


def test_pickle_and_clone(wine, user_learner) -> None:
    x, y, x_rest, _ = wine
    learner = mtnets.load("tabular-classification")
    for given in (None, "tabular-classification", learner):
        classifier = FewShotClassifier(given).fit(x, y)
        again = pickle.loads(pickle.dumps(classifier))
        np.testing.assert_array_equal(again.predict_proba(x_rest), classifier.predict_proba(x_rest))
        again.partial_fit(x, y)
        assert not hasattr(clone(again), "adapted_")
    with pytest.raises(mtnets.RunError, match=r"cannot be pickled"):
        pickle.dumps(FewShotClassifier(user_learner))


def test_pipelines_and_searches(wine) -> None:
    x, y, _, _ = wine
    pipeline = make_pipeline(StandardScaler(), FewShotClassifier())
    assert cross_val_score(pipeline, x, y, cv=2).mean() > 0.6
    with pytest.warns(UserWarning, match="inner_steps is 0: nothing is learned from the rows, .*; take 1 or more"):
        search = GridSearchCV(FewShotClassifier(), {"inner_steps": [0, 5]}, cv=2).fit(x, y)
    assert search.best_params_ == {"inner_steps": 5}


@pytest.mark.slow
def test_meta_fit_learns_what_tasks_share() -> None:
    """Lines y = a x₀ with another a in each task, never anything of x₁: one row tells a."""
    rng = np.random.default_rng(0)
    slopes, tasks = rng.normal(size=60), np.repeat(np.arange(60), 12)
    x = rng.normal(size=(720, 2))
    y = 100 * slopes[tasks] * x[:, 0]
    few, more = np.array([[1.0, -1.0], [-1.0, 2.0]]), rng.normal(size=(50, 2))
    targets = 150 * few[:, 0]
    regressor = FewShotRegressor()
    regressor.meta_fit(x, y, tasks, shots=2, queries=10, meta_steps=400, validate_every=0)
    assert regressor.fit(few, targets).score(more, 150 * more[:, 0]) > 0.8
    assert regressor.learner_ is regressor.meta_learner_
    again = pickle.loads(pickle.dumps(regressor))
    np.testing.assert_array_equal(again.predict(more), regressor.predict(more))
    assert regressor.meta_learner_.outputs == 1
    assert FewShotRegressor(regressor.meta_learner_).learner is regressor.meta_learner_
    unfitted: Any = clone(regressor)
    with pytest.raises(NotFittedError):
        unfitted.predict(more)
    np.testing.assert_array_equal(unfitted.fit(few, targets).predict(more), regressor.predict(more))

    labels = np.where(x[:, 0] * np.sign(slopes[tasks]) > 0, "up", "down")
    classifier = FewShotClassifier()
    classifier.meta_fit(x, labels, tasks, shots=2, queries=10, meta_steps=400, validate_every=0)
    classifier.fit(few, ["down", "up"])
    assert classifier.score(more, np.where(more[:, 0] > 0, "down", "up")) > 0.85
    with pytest.raises(DataError, match=r"y has the label .*sideways.*, which meta_fit did not have"):
        classifier.fit(few, ["sideways", "up"])


def test_what_does_not_fit_is_refused(wine, user_learner) -> None:
    x, y, _, _ = wine
    rng = np.random.default_rng(0)
    with pytest.raises(mtnets.DataError, match=r"65 features, more than the 64"):
        FewShotClassifier().fit(rng.normal(size=(6, 65)), [0, 1] * 3)
    with pytest.raises(mtnets.DataError, match=r"11 classes, more than the 10"):
        FewShotClassifier().fit(rng.normal(size=(22, 3)), np.arange(22) // 2)
    with pytest.raises(mtnets.DataError, match=r"13 features; this learner needs 8 \(4 × 2 × 1\)"):
        FewShotClassifier(user_learner).fit(x, y)
    with pytest.raises(mtnets.OptionError, match=r"trained with mse.*use FewShotRegressor"):
        FewShotClassifier("sine-10shot").fit(x[:, :1], y)
    with pytest.raises(mtnets.OptionError, match=r"inner_steps is -1"):
        FewShotClassifier(inner_steps=-1).fit(x, y)
    with pytest.raises(mtnets.DataError, match=r"tasks has shape \(2,\)"):
        FewShotClassifier().meta_fit(x, y, [0, 1])
    with pytest.raises(mtnets.DataError, match=r"no name for row 3"):
        FewShotClassifier().meta_fit(x, y, [None if row == 3 else "a" for row in range(len(x))])
    with pytest.raises(mtnets.OptionError, match=r"inner_steps is 2\.5"):
        FewShotRegressor(inner_steps=2.5).fit(x, np.arange(len(x)))


def test_a_constant_target_and_a_single_row() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(FewShotRegressor().fit(x, np.full(5, 7.0)).predict(x), 7)
    np.testing.assert_allclose(FewShotRegressor().fit(x[:1], [3.0]).predict(x), 3)
    for rows, value in ((3, 0.1), (5, 1 / 3)):  # whose mean is off by a rounding
        np.testing.assert_allclose(FewShotRegressor().fit(x[:rows], np.full(rows, value)).predict(x), value)


def test_the_first_rows_must_say_how_features_are_scaled(wine) -> None:
    x, y, _, _ = wine
    names = np.unique(y)
    with pytest.raises(DataError, match="The first rows of partial_fit say how features are scaled"):
        FewShotClassifier().partial_fit(x[:1], y[:1], classes=names)
    with pytest.raises(DataError, match="The first rows of partial_fit say how features are scaled"):
        FewShotRegressor().partial_fit(x[:1], [1.0])
    classifier = FewShotClassifier().partial_fit(x, y, classes=names)
    with pytest.raises(DataError, match="classes is not what it was in the first call"):
        classifier.partial_fit(x, y, classes=[*names, "zinfandel"])


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch) -> None:
    for module in ("mtnets.sklearn", "mtnets.interop.sklearn"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(mtnets.OptionError, match=r"pip install 'mtnets\[sklearn\]'"):
        __import__("mtnets.sklearn")
