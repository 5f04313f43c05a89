"""Weights of the examples that a learner adapts to: a weight of 2 is the example twice, one of 0 leaves it out."""

import contextlib

import jax
import numpy as np
import pytest
from flax import nnx

import mtnets
from mtnets.errors import DataError, OptionError
from mtnets.learner.data import to_counts, to_weights

COUNTS = np.array([1, 2, 0, 1, 3, 1, 0])
RANDOM = np.random.default_rng(0)
X, TARGETS, LABELS = RANDOM.normal(size=(7, 5)), RANDOM.normal(size=7), np.array([0, 1, 3, 0, 1, 2, 2])


@pytest.mark.parametrize(("name", "y"), [("tabular-classification", LABELS), ("tabular-regression", TARGETS)])
def test_a_weight_is_for_how_many_examples_one_counts(name, y) -> None:
    """In the loss, in the scale of the rows and of the targets, and in the classes that occur."""
    learner = mtnets.load(name)
    weighed, repeated = learner.adapt(X, y, weights=COUNTS), learner.adapt(X.repeat(COUNTS, 0), y.repeat(COUNTS))
    np.testing.assert_allclose(weighed(X), repeated(X), atol=1e-5)
    assert abs(weighed(X)[:, 0] - learner.adapt(X, y)(X)[:, 0]).max() > 1e-3
    further = weighed.update(X, y, weights=COUNTS)
    np.testing.assert_allclose(further(X), repeated.update(X.repeat(COUNTS, 0), y.repeat(COUNTS))(X), atol=1e-5)


def test_many_tasks_of_different_sizes() -> None:
    learner = mtnets.load("tabular-classification")
    weights = np.array([np.ones(7), np.arange(7) < 4])
    models = learner.adapt_many(np.stack([X, X]), np.stack([LABELS, LABELS]), weights=weights)
    for model, alone in zip(models, (learner.adapt(X, LABELS), learner.adapt(X[:4], LABELS[:4])), strict=True):
        np.testing.assert_allclose(model(X), alone(X), atol=1e-5)
    with pytest.raises(DataError, match=r"weights has shape \(3, 7\); it must be \(2, 7\): \[tasks, examples\]"):
        learner.adapt_many(np.stack([X, X]), np.stack([LABELS, LABELS]), weights=np.ones((3, 7)))
    with pytest.raises(DataError, match="Task 1: All of weights are zero"):
        learner.adapt_many(np.stack([X, X]), np.stack([LABELS, LABELS]), weights=np.array([np.ones(7), np.zeros(7)]))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(6), r"weights has shape \(6,\) and y \(7,\); there must be one weight for each example"),
        (np.ones((7, 1)), r"weights has shape \(7, 1\)"),
        (2.0, r"weights has shape \(\)"),
        ([1, -1, 1, 1, 1, 1, 1], "weights is -1 at 1; a weight must be at least 0"),
        ([1, np.nan, 1, 1, 1, 1, 1], "weights is nan"),
        ([1, np.inf, 1, 1, 1, 1, 1], "weights is inf"),
        (np.zeros(7), "All of weights are zero"),
        (["a"] * 7, "weights has type <U1; it must be real numbers"),
    ],
)
def test_weights_that_are_none(weights, message) -> None:
    learner = mtnets.load("tabular-regression")
    with pytest.raises(DataError, match=message):
        learner.adapt(X, TARGETS, weights=weights)
    with pytest.raises(DataError, match=message):
        learner.adapt(X, TARGETS).update(X, TARGETS, weights=weights)


def test_only_proportions_count_where_all_are_below_one() -> None:
    np.testing.assert_array_equal(to_counts([0.1, 0.2, 0.0], TARGETS[:3]), [0.5, 1, 0])
    np.testing.assert_array_equal(to_counts([1, 2, 0], TARGETS[:3]), [1, 2, 0])
    np.testing.assert_array_equal(to_weights(to_counts([3e38, 1.5e38, 0], TARGETS[:3])), [1, 0.5, 0])


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["support", "transductive"])
def test_batch_norm_leaves_out_what_weighs_nothing(norm) -> None:
    network = mtnets.models.Conv4(filters=4, norm=norm)
    family = mtnets.tasks.glyphs(ways=3, network=network)
    learner = mtnets.meta_train(None, mtnets.maml(0.1), family, meta_steps=0, validate_every=0, progress=False)
    task = jax.tree.map(np.asarray, family.test.sample(jax.random.key(0)))
    x, y = np.concatenate([task.support.x, task.query.x[:4]]), np.concatenate([task.support.y, task.query.y[:4]])
    with pytest.warns(UserWarning, match=norm) if norm == "transductive" else contextlib.nullcontext():
        weighed, alone = learner.adapt(x, y, weights=np.arange(len(x)) < 3), learner.adapt(x[:3], y[:3])
    np.testing.assert_allclose(weighed(task.query.x), alone(task.query.x), atol=1e-4)


def test_weights_are_refused_where_batch_norm_counts_all_alike() -> None:
    class Network(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.norm, self.last = nnx.BatchNorm(5, rngs=rngs), nnx.Linear(5, 1, rngs=rngs)

        def __call__(self, x):
            return self.last(self.norm(x))

    model = mtnets.wrap(Network, (5,), norm="transductive")
    tasks = mtnets.tasks.from_function(lambda rng: ((X, rng.normal(size=7)), (X, TARGETS)), loss="mse")
    learner = mtnets.meta_train(model, mtnets.maml(), tasks, meta_steps=0, validate_every=0, progress=False)
    with (
        pytest.warns(UserWarning, match="transductive"),
        pytest.raises(OptionError, match=r"The examples have weights.*batch norm counts all alike"),
    ):
        learner.adapt(X, TARGETS, weights=COUNTS)
