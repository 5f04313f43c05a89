"""Tasks of several sizes: what is left out changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets import METHODS, Batch, DataError, OptionError, Task
from mtnets.inner import criterion
from mtnets.inner.loop import Inner
from problems import INNER_LR, One, assert_trees_close, gradient_at, init_of, offset_mlp, small_mlp, start_of

RANDOM = np.random.default_rng(0)
KEYS = jax.random.split(jax.random.key(3), 1)


def set_of(n: int, most: int | None = None) -> Batch:
    """`n` examples; with `most`, padded by numbers that would change everything if they counted."""
    random = np.random.default_rng(n)
    x, y = random.normal(size=(n, 3)), random.normal(size=(n, 2))
    if most is None:
        return Batch(x, y)
    rest = most - n
    x, y = np.r_[x, 50 + random.normal(size=(rest, 3))], np.r_[y, -50 + random.normal(size=(rest, 2))]
    return Batch(x, y, np.r_[np.ones(n), np.zeros(rest)])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("norm", ["none", "transductive", "support"])
def test_padding_changes_no_meta_gradient(norm: str) -> None:
    """Losses, metrics and statistics of batch norm leave it out."""
    model = small_mlp() if norm == "none" else offset_mlp(norm)
    params, state = start_of(model)
    meta = init_of(model, "maml")(params)
    judges = criterion("mse", metrics={"mae": "mae", "r2": "r2"})
    run = functools.partial(gradient_at, Inner(model, METHODS["maml"](), judges, 2))
    plain, padded = (
        jax.jit(lambda meta, task=task: run(meta, state, INNER_LR, One(task), KEYS))(meta)
        for task in (Task(set_of(5), set_of(6)), Task(set_of(5, 8), set_of(6, 11)))
    )
    assert_trees_close(padded.gradient, plain.gradient, rtol=1e-9, atol=1e-12)
    assert_trees_close(padded.metrics, plain.metrics, rtol=1e-10)


def unequal(rng):
    n = int(rng.integers(2, 7))
    a, x = rng.uniform(1, 2), rng.uniform(-1, 1, (n + 9, 1))
    return (x[:n], a * x[:n]), (x[n:], a * x[n:])


def test_tasks_of_a_function_are_padded() -> None:
    tasks = mtnets.tasks.from_function(unequal, loss="mse", most=(6, 9))
    counts = set()
    for i in range(20):
        task = tasks.train.sample(jax.random.key(i))
        assert task.support.x.shape == (6, 1)
        counts.add(int(task.support.weights.sum()))
        assert float(task.query.weights.sum()) == 9
    assert len(counts) > 2
    with pytest.raises(DataError, match=r"has a set of 9 examples, more than the 8 of most="):
        mtnets.tasks.from_function(unequal, loss="mse", most=(6, 8))
    with pytest.raises(OptionError, match="two numbers of at least 1"):
        mtnets.tasks.from_function(unequal, loss="mse", most=(0, 9))


@pytest.mark.slow
def test_tasks_of_a_list_are_padded_to_the_largest() -> None:
    tasks = [unequal(np.random.default_rng(i)) for i in range(5)]
    family = mtnets.tasks.from_sequence(tasks, tasks, tasks, loss="mse")
    most = max(len(support[0]) for support, _ in tasks)
    assert family.train.sample(jax.random.key(0)).support.x.shape == (most, 1)
    learner = mtnets.meta_train(None, mtnets.maml(0.1), family, meta_steps=2, validate_every=0, progress=False)
    scores = mtnets.evaluate(learner, family, 8).scores[:, -1]
    by_hand = set()
    for (x, y), (query_x, query_y) in tasks:
        by_hand.add(round(float(jnp.mean((learner.adapt(x, y)(query_x) - query_y) ** 2)), 4))
    assert {round(float(score), 4) for score in scores} <= by_hand


def test_shots_and_ways_are_drawn() -> None:
    rows = RANDOM.normal(size=(200, 3)).astype(np.float32)
    family = mtnets.tasks.arrays(rows, np.arange(20).repeat(10), ways=4, shots=3, queries=2, splits=(8, 6, 6))
    varied = mtnets.tasks.varied(family, fewest_shots=1, fewest_ways=2)
    sizes = set()
    for i in range(40):
        task = jax.device_get(varied.train.sample(jax.random.key(i)))
        each = np.bincount(task.support.y, task.support.weights, 4)
        ways, shots = int((each > 0).sum()), int(each.max())
        assert (each[:ways] == shots).all()
        np.testing.assert_array_equal(task.support.outputs, np.arange(4) < ways)
        np.testing.assert_array_equal(task.query.weights, task.query.y < ways)
        sizes.add((ways, shots))
    assert sizes == {(ways, shots) for ways in (2, 3, 4) for shots in (1, 2, 3)}
    uneven = mtnets.tasks.varied(family, fewest_shots=1, balanced=False)
    counts = [
        np.bincount(t.support.y, t.support.weights, 4) for t in map(uneven.train.sample, map(jax.random.key, range(9)))
    ]
    assert any(len(set(count)) > 1 for count in counts)


@pytest.mark.slow
def test_a_learner_of_several_sizes() -> None:
    """Trained on 2 to 4 classes with a few shots, it is scored as it is used."""
    rows = RANDOM.normal(size=(20, 3)).repeat(10, 0) + RANDOM.normal(size=(200, 3)) / 5
    family = mtnets.tasks.arrays(rows, np.arange(20).repeat(10), ways=4, shots=3, queries=2, splits=(8, 6, 6))
    varied = mtnets.tasks.varied(family, fewest_shots=1, fewest_ways=2)
    learner = mtnets.meta_train(None, mtnets.maml(0.1), varied, meta_steps=3, validate_every=0, progress=False)
    estimate = mtnets.evaluate(learner, varied, 6)
    for key, found in zip(jax.random.split(jax.random.key(20180605), 6), estimate.scores, strict=True):
        support, query = jax.device_get(varied.test.sample(jax.random.fold_in(key, 0)))
        kept, asked = support.weights > 0, query.weights > 0
        model = learner.adapt(support.x[kept], support.y[kept])
        right = np.argmax(model(query.x[asked]), -1) == query.y[asked]
        np.testing.assert_allclose(found[-1], right.mean(), atol=1e-6)


def test_sizes_that_cannot_be() -> None:
    sine = mtnets.tasks.sinusoid(shots=5)
    assert float(mtnets.tasks.varied(sine, fewest_shots=2).train.sample(jax.random.key(1)).support.weights.sum()) >= 2
    with pytest.raises(OptionError, match="fewest_shots is 6; it must be from 1 to 5"):
        mtnets.tasks.varied(sine, fewest_shots=6)
    with pytest.raises(OptionError, match="fewest_ways is 2; it must be left out"):
        mtnets.tasks.varied(sine, fewest_ways=2)


def test_batch_norm_of_other_libraries_is_refused() -> None:
    """It cannot tell padding from examples."""
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first, self.norm = nnx.Linear(1, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
            self.second = nnx.Linear(4, 1, rngs=rngs)

        def __call__(self, x):
            return self.second(nnx.relu(self.norm(self.first(x))))

    tasks = mtnets.tasks.from_function(unequal, loss="mse", most=(6, 9))
    with pytest.raises(OptionError, match=r"batch norm counts all alike; build it with mtnets\.models\.BatchNorm"):
        mtnets.meta_train(mtnets.wrap(Network, (1,), norm="transductive"), mtnets.maml(0.1), tasks, progress=False)
