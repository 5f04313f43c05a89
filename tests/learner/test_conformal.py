"""Intervals that cover: thresholds by their definition, coverage where tasks are exchangeable, and what is refused."""

import dataclasses
import math

import jax
import numpy as np
import pytest

import mtnets
from mtnets import DataError, Ensemble, OptionError, conformal
from mtnets.inner import criterion
from mtnets.learner import CALIBRATION_SEED
from mtnets.learner.conformal import threshold_of

SINE = mtnets.tasks.sinusoid(shots=5, queries=4)
X = np.linspace(-2, 2, 5)[:, None].astype(np.float32)
Y = np.sin(X)
NEW = np.linspace(-3, 3, 7)[:, None].astype(np.float32)


def learners_for(outputs=1, tasks=SINE, features=1, **options):
    network = mtnets.models.mlp(features, 8, outputs, init_std=0.3)
    settings = {"meta_steps": 0, "inner_steps": 2, "validate_every": 0, "progress": False, **options}
    return mtnets.meta_train(network, mtnets.mt_net(0.1), tasks, seed=[0, 1], **settings)


@pytest.fixture(scope="module")
def squared():
    return learners_for()


@pytest.fixture(scope="module")
def gaussian():
    return learners_for(2, loss="gaussian")


def drawn(tasks, count):
    """Validation tasks as `conformal` draws them."""
    keys = jax.random.split(jax.random.key(CALIBRATION_SEED), count)
    return [jax.tree.map(np.asarray, tasks.validation.sample(jax.random.fold_in(key, 0))) for key in keys]


def by_definition(tasks, coverage):
    """The threshold of one target by loops: a list of scores, all of one weight, for each task."""
    candidates = sorted(score for scores in tasks for score in scores)
    for candidate in candidates:
        share = sum(sum(score <= candidate for score in scores) / len(scores) for scores in tasks) / (len(tasks) + 1)
        if share >= coverage - 1e-12:
            return candidate
    return math.inf


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [19, 20, 37, 100])
def test_with_one_query_it_is_the_usual_quantile(coverage, count) -> None:
    scores = np.random.default_rng(count).normal(size=(count, 1, 2))
    expected = np.sort(scores[:, 0], axis=0)[math.ceil(round((count + 1) * coverage, 9)) - 1]
    np.testing.assert_array_equal(threshold_of(scores, np.ones((count, 1)), coverage), expected)


def test_tasks_count_the_same_whatever_their_size() -> None:
    rng = np.random.default_rng(0)
    scores, weights = rng.exponential(size=(12, 6, 1)), np.arange(6) < rng.integers(1, 7, (12, 1))
    ragged = [each[kept, 0] for each, kept in zip(scores, weights, strict=True)]
    for coverage in (0.3, 0.6, 0.9):
        assert threshold_of(scores, weights.astype(float), coverage)[0] == by_definition(ragged, coverage)


def test_it_covers_where_tasks_are_exchangeable() -> None:
    """Scores of one task are alike; all of them as if they were independent would cover too little."""
    rng, tasks, queries, repetitions = np.random.default_rng(0), 9, 5, 4000
    covered = {"ours": 0.0, "pooled": 0.0}
    for _ in range(repetitions):
        scores = np.abs(rng.normal(size=(tasks + 1, 1, 1)) + 0.3 * rng.normal(size=(tasks + 1, queries, 1)))
        new = scores[-1]
        ours = threshold_of(scores[:-1], np.ones((tasks, queries)), 0.8)
        pooled = np.sort(scores[:-1].ravel())[math.ceil(0.8 * (tasks * queries + 1)) - 1]
        covered["ours"] += np.mean(new <= ours) / repetitions
        covered["pooled"] += np.mean(new <= pooled) / repetitions
    assert 0.8 <= covered["ours"] <= 0.8 + 1 / (tasks + 1)
    assert covered["pooled"] < 0.79


def scores_by_hand(learner, task, scaled):
    model = learner.adapt(task.support.x, task.support.y)
    beyond = np.abs(np.asarray(task.query.y) - learner.loss.point(np.asarray(model(task.query.x))))
    return (beyond / model.std(task.query.x) if scaled else beyond)[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["squared", "gaussian"])
def test_the_threshold_is_that_of_adapting_and_predicting(loss, request) -> None:
    learner, scaled = request.getfixturevalue(loss)[0], loss == "gaussian"
    fit = conformal(learner, SINE, 12, coverage=0.8)
    scores = [scores_by_hand(learner, task, scaled) for task in drawn(SINE, 12)]
    np.testing.assert_allclose(fit.threshold, [by_definition(scores, 0.8)], rtol=1e-4)
    model = learner.adapt(X, Y)
    low, high = fit.interval(model, NEW)
    mean, unit = learner.loss.point(np.asarray(model(NEW))), model.std(NEW) if scaled else 1
    np.testing.assert_allclose((low + high) / 2, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose((high - low) / 2, np.broadcast_to(fit.threshold * unit, mean.shape), rtol=1e-4)
    plain = conformal(learner, SINE, 12, coverage=0.8, scaled=False)
    assert plain.scaled is False
    np.testing.assert_allclose(np.ptp(np.subtract(*plain.interval(model, NEW))), 0, atol=1e-5)


@pytest.mark.parametrize("options", [{"masks": 3}, {"masks": 3, "key": jax.random.PRNGKey(7)}, {}])
def test_ensembles(options, squared) -> None:
    """Scores in units of the spread of the members, or not."""
    learner = squared[0] if options else Ensemble(squared)
    for scaled in (True, False):
        fit = conformal(learner, SINE, 9, coverage=0.8, scaled=scaled, **options)
        scores = []
        for task in drawn(SINE, 9):
            model = learner.adapt(task.support.x, task.support.y, **options)
            unit = model.std(task.query.x) if scaled else 1
            scores.append((np.abs(np.asarray(model(task.query.x)) - task.query.y) / unit)[:, 0])
        np.testing.assert_allclose(fit.threshold, [by_definition(scores, 0.8)], rtol=1e-3)
        low, high = fit.interval(learner.adapt(X, Y, **options), NEW)
        assert (low < high).all()


def test_quantiles_are_moved() -> None:
    learner = learners_for(3, loss="quantile")[0]
    fit = conformal(learner, SINE, 12)
    scores = []
    for task in drawn(SINE, 12):
        low, high = learner.adapt(task.support.x, task.support.y).interval(task.query.x)
        scores.append(np.maximum(low - task.query.y, task.query.y - high)[:, 0])
    np.testing.assert_allclose(fit.threshold, [by_definition(scores, 0.9)], rtol=1e-4)
    model = learner.adapt(X, Y)
    moved = np.stack(fit.interval(model, NEW)) - np.stack(model.interval(NEW))
    np.testing.assert_allclose(moved, np.broadcast_to([[-fit.threshold], [fit.threshold]], moved.shape), rtol=1e-4)


@pytest.mark.slow
def test_sets_of_labels() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(20).repeat(9)
    tasks = mtnets.tasks.arrays(rng.normal(size=(20, 3))[y] + rng.normal(size=(180, 3)), y, ways=3, shots=2, queries=3)
    learner = learners_for(4, tasks, 3)[0]  # one output more than tasks have classes
    fit = conformal(learner, tasks, 12, coverage=0.8)
    scores = []
    for task in drawn(tasks, 12):
        model = learner.adapt(task.support.x, task.support.y)
        scores.append(1 - np.asarray(model.probabilities(task.query.x))[np.arange(9), task.query.y])
    np.testing.assert_allclose(fit.threshold, [by_definition(scores, 0.8)], rtol=1e-4)
    x, labels = drawn(tasks, 1)[0].support[:2]
    model = learner.adapt(x, labels)
    np.testing.assert_array_equal(fit.sets(model, x), np.asarray(model.probabilities(x)) >= 1 - fit.threshold)
    with pytest.raises(OptionError, match=r"cross-entropy is of labels, which have no intervals; take sets\(adapted"):
        fit.interval(model, x)
    with pytest.raises(OptionError, match="scaled is True, and the loss cross-entropy has scores of its own"):
        conformal(learner, tasks, 12, scaled=True)


@pytest.mark.slow
def test_intervals_are_in_units_of_the_targets() -> None:
    """A learner that standardises each task: the same data in other units have the same intervals in those units."""
    tasks = mtnets.tasks.random_tables(kind="regression", features=3, examples=8, queries=4)
    learner = learners_for(1, tasks, 3)[0]
    fit = conformal(learner, tasks, 20)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=8)
    small, large = (
        np.stack(fit.interval(learner.adapt(x, scale * y + shift), x)) for scale, shift in ((1, 0), (50, 9))
    )
    np.testing.assert_allclose(large, 50 * small + 9, rtol=1e-3, atol=1e-2)
    spread = learner.adapt(x, y).inputs.unscale(np.ones((1, 1))) - learner.adapt(x, y).inputs.unscale(np.zeros((1, 1)))
    np.testing.assert_allclose(small[1] - small[0], np.broadcast_to(2 * fit.threshold * spread, (8, 1)), rtol=1e-4)


@pytest.mark.slow
def test_padding_does_not_count(squared) -> None:
    def make(rng):
        shots, queries = rng.integers(2, 6), rng.integers(1, 4)
        x = rng.uniform(-5, 5, (shots + queries, 1))
        return (x[:shots], np.sin(x[:shots])), (x[shots:], np.sin(x[shots:]))

    tasks, learner = mtnets.tasks.from_function(make, loss="mse", most=(5, 3)), squared[0]
    fit = conformal(learner, tasks, 10, coverage=0.8)
    scores = []
    for task in drawn(tasks, 10):
        support, query = (
            tuple(np.asarray(values)[np.asarray(part.weights) > 0] for values in (part.x, part.y)) for part in task
        )
        scores.append(np.abs(np.asarray(learner.adapt(*support)(query[0])) - query[1])[:, 0])
    sizes = {int(np.count_nonzero(task.support.weights)) for task in drawn(tasks, 10)}
    assert len(sizes) > 1
    assert fit.examples == (min(sizes), max(sizes))
    np.testing.assert_allclose(fit.threshold, [by_definition(scores, 0.8)], rtol=1e-4)


def test_only_validation_tasks_are_drawn(squared) -> None:
    class Never:
        def sample(self, key):
            raise AssertionError("drawn")

    family = dataclasses.replace(SINE, train=Never(), test=Never())
    np.testing.assert_array_equal(
        conformal(squared[0], family, 9).threshold, conformal(squared[0], SINE.validation, 9).threshold
    )


def test_what_is_refused(squared, gaussian) -> None:
    learner = squared[0]
    for count, coverage, least in ((8, 0.9, 9), (18, 0.95, 19), (0, 0.5, 1)):
        with pytest.raises(
            OptionError, match=rf"num_tasks is {count}; a coverage of {coverage} needs at least {least}"
        ):
            conformal(learner, SINE, count, coverage=coverage)
    assert conformal(learner, SINE, 9, coverage=0.9).num_tasks == 9
    for options in ({"coverage": 1}, {"coverage": "x"}, {"num_tasks": 9.5}, {"masks": 1}, {"scaled": 3}, {"seed": -1}):
        with pytest.raises(OptionError, match=f"{next(iter(options))} is"):
            conformal(learner, SINE, **options)
    with pytest.raises(OptionError, match="learner is"):
        conformal([learner], SINE)
    with pytest.raises(OptionError, match="tasks"):
        conformal(learner, 3)
    with pytest.raises(DataError, match=r"The tasks \(support set\) have inputs \[16\] and the network takes \[1\]"):
        conformal(learner, mtnets.tasks.random_tables(kind="regression", features=16).validation, 9)
    with pytest.raises(OptionError, match="The loss mse says no standard deviation"):
        conformal(learner, SINE, 9, scaled=True)
    quantile = learners_for(3, loss="quantile")[0]
    with pytest.raises(OptionError, match="scaled is True, and the loss quantile has scores of its own"):
        conformal(quantile, SINE, 9, scaled=True)
    with pytest.raises(OptionError, match=r"coverage is 0\.5, which needs the levels 0\.25 and 0\.75"):
        conformal(quantile, SINE, 9, coverage=0.5)
    with pytest.raises(OptionError, match="The loss binary is of classes"):
        conformal(dataclasses.replace(learner, criterion=criterion("binary")), SINE, 9)
    still = dataclasses.replace(learner, method=mtnets.maml(0.1))
    with pytest.raises(OptionError, match="maml draws no masks"):
        conformal(still, SINE, 9, masks=4)


def test_models_to_which_the_threshold_does_not_apply(squared) -> None:
    fit = conformal(squared[0], SINE, 9)
    fit.interval(squared[0].adapt(X, Y), NEW)
    assert fit.examples == (5, 5)
    few, several = squared[0].adapt(X[:3], Y[:3]), squared[0].adapt(X, Y, weights=[1, 1, 0, 0, 0])
    assert (few.examples, several.examples) == (3, 2)  # a program of five examples for the latter
    with pytest.warns(UserWarning, match="Intervals were calibrated on tasks of 5 examples, and here are 3: they may"):
        low, high = fit.interval(few, NEW)
    np.testing.assert_array_equal(np.stack(fit.ends(few, NEW)), np.stack([low, high]))
    with pytest.warns(UserWarning, match="on tasks of 5 examples, and here are 2 to 3: they may cover less than 90%"):
        fit.warn_of_sizes([several, squared[0].adapt(X, Y), few])
    with pytest.raises(OptionError, match="adapted is of another learner"):
        fit.interval(squared[1].adapt(X, Y), NEW)
    with pytest.raises(OptionError, match=r"adapted took 3 inner steps, .* it was 2; .*inner_steps=3\)"):
        fit.interval(squared[0].adapt(X, Y, inner_steps=3), NEW)
    with pytest.raises(OptionError, match="adapted has 4 members, and the validation tasks were adapted to by 1"):
        fit.interval(squared[0].adapt(X, Y, masks=4), NEW)
    with pytest.raises(OptionError, match="adapted is of type Learner; it must be what"):
        fit.interval(squared[0], NEW)
    with pytest.raises(OptionError, match=r"The loss mse is of numbers, not labels; take interval\(adapted, x\)"):
        fit.sets(squared[0].adapt(X, Y), NEW)
