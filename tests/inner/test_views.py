"""What an inner step sees of the support set: meta-gradients against loops in Python, and bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets.inner import Batch, Learned, Task, View, adapt, criterion
from mtnets.inner.loop import Inner
from problems import INNER_LR, One, assert_trees_close, dot, gradient_at, like, slope, to_float64

pytestmark = pytest.mark.usefixtures("float64")
STEPS = 3
RANDOM = np.random.default_rng(0)
KEYS = jax.random.split(jax.random.key(3), 1)
INNER_KEY = jax.random.fold_in(jax.random.fold_in(KEYS[0], 1), 0)


def forward(params, x):
    return jnp.tanh(x @ params["a"]["kernel"] + params["a"]["bias"]) @ params["b"]["kernel"]


@functools.cache
def network() -> mtnets.Model:
    params = {
        "a": {"kernel": RANDOM.normal(size=(3, 4)) / 2, "bias": RANDOM.normal(size=4) / 2},
        "b": {"kernel": RANDOM.normal(size=(4, 2)) / 2},
    }
    return mtnets.wrap((forward, params), (3,), input_dtype=np.float64)


def batch(count, weights=None) -> Batch:
    return Batch(RANDOM.normal(size=(count, 3)), RANDOM.normal(size=(count, 2)), weights)


def start():
    model = network()
    params, _ = to_float64(model.init(jax.random.key(0)))
    return mtnets.maml().init(model, params, jax.random.key(1), inner_lr=INNER_LR, inner_steps=STEPS)


def inner_of(view, loss="mse", inner_loss=None, method=None) -> Inner:
    return Inner(network(), method or mtnets.maml(), criterion(loss, inner_loss), STEPS, view)


def squared(params, part) -> jax.Array:
    w = np.ones(len(part.y)) if part.weights is None else part.weights
    return jnp.sum(w * ((forward(params, part.x) - part.y) ** 2).mean(1)) / jnp.sum(w)


def absolute(params, part) -> jax.Array:
    return jnp.abs(forward(params, part.x) - part.y).mean()


def naive(params, parts, query, judge=None) -> list[jax.Array]:
    """Losses of each part before it is learned, and of the query set after all."""
    judge = judge or squared
    losses = []
    for part in parts:
        losses.append(judge(params, part))
        params = jax.tree.map(lambda w, g: w - INNER_LR * g, params, jax.grad(squared)(params, part))
    return [*losses, judge(params, query)]


def check(inner, task, expected_loss) -> None:
    """Compares the meta-gradient with that of a naive loss, and this with finite differences."""
    meta = start()
    found = jax.jit(functools.partial(gradient_at, inner))(meta, {}, INNER_LR, One(task), KEYS).gradient.params
    assert_trees_close(found, jax.grad(expected_loss)(meta.params), 1e-9, 1e-12)
    direction = like(meta.params, 2)
    assert dot(found, direction) == pytest.approx(slope(expected_loss, meta.params, direction), rel=1e-6)


def drawn(view, support) -> list[Batch]:
    """The parts that the steps of the inner loop see, with the keys that it derives."""
    keys = jax.random.split(jax.random.fold_in(INNER_KEY, 1), STEPS)
    support = jax.tree.map(jnp.asarray, support)
    return [view.of(support, i, jax.random.fold_in(key, 5)) for i, key in enumerate(keys)]


@pytest.mark.parametrize("weights", [None, np.r_[np.ones(5), 0.5, 0, 0]], ids=["alike", "padded"])
def test_random_parts(weights) -> None:
    view, task = View(4), Task(batch(8, weights), batch(5))
    parts = drawn(view, task.support)
    assert not np.array_equal(parts[0].x, parts[1].x), "each step draws anew"
    rows = [tuple(row) for row in np.asarray(parts[0].x)]
    assert len(set(rows)) == 4, "without replacement"
    assert set(rows) <= {tuple(row) for row in task.support.x}
    check(inner_of(view), task, lambda params: naive(params, parts, task.query)[-1])


def test_examples_of_weight_0_are_drawn_last() -> None:
    support = batch(8, np.r_[0, 0, 0, 0, 0, 1.0, 1, 1])
    for seed in range(5):
        part = View(3).of(jax.tree.map(jnp.asarray, support), 0, jax.random.key(seed))
        assert np.all(np.asarray(part.weights) > 0)


def test_a_part_as_large_as_the_support_set_is_that_set() -> None:
    support = batch(6)
    assert View(6).of(support, 0, jax.random.key(0)) is support
    assert View(9).of(support, 0, jax.random.key(0)) is support


@pytest.mark.parametrize(("loss", "judge"), [("mse", squared), ("mae", absolute)])
def test_stream(loss, judge) -> None:
    """The loss along the way: of each slice before it is learned, and of the query set after the last."""
    task = Task(batch(6), batch(5))
    slices = [task.support.take(np.arange(2 * i, 2 * i + 2)) for i in range(STEPS)]
    inner = inner_of(View(2, stream=True), loss, "mse")
    check(inner, task, lambda params: sum(naive(params, slices, task.query, judge)) / (STEPS + 1))


def test_stream_whose_last_slice_is_shorter() -> None:
    support = batch(5)
    view = View(2, stream=True)
    slices = [support.take(np.arange(2 * i, min(5, 2 * i + 2))) for i in range(STEPS)]
    params = start().params
    for part in slices:
        params = jax.tree.map(lambda w, g: w - INNER_LR * g, params, jax.grad(squared)(params, part))
    run = jax.jit(lambda meta, support: adapt(inner_of(view), Learned(meta, {}, INNER_LR), support, KEYS[0]))
    adapted = run(start(), support)
    assert_trees_close(adapted.params, params, 1e-10, 1e-12)
    assert view.slices(5) == STEPS


def test_first_order_holds_gradients_along_the_way() -> None:
    task = Task(batch(6), batch(5))
    slices = [task.support.take(np.arange(2 * i, 2 * i + 2)) for i in range(STEPS)]

    def expected(params):
        losses = []
        for part in slices:
            losses.append(squared(params, part))
            gradient = jax.lax.stop_gradient(jax.grad(squared)(params, part))
            params = jax.tree.map(lambda w, g: w - INNER_LR * g, params, gradient)
        return (sum(losses) + squared(params, task.query)) / (STEPS + 1)

    inner, meta = inner_of(View(2, stream=True), method=mtnets.fomaml()), start()
    found = jax.jit(functools.partial(gradient_at, inner))(meta, {}, INNER_LR, One(task), KEYS).gradient.params
    assert_trees_close(found, jax.grad(expected)(meta.params), 1e-9, 1e-12)


def single(count: int, queries: int = 3) -> One:
    tasks = Task(batch(count), batch(queries))
    return One(jax.tree.map(np.float32, tasks))


def trained(tasks, method=None, model=None, **options):
    options = {"meta_steps": 2, "meta_batch": 1, "inner_steps": 3, "validation_tasks": 1, "progress": False} | options
    return mtnets.meta_train(
        model or mtnets.models.mlp(3, 4, 2), method or mtnets.maml(0.1), tasks, loss="mse", **options
    )


class TestUse:
    def test_stream(self, tmp_path) -> None:
        """Trained, saved, and used on streams of other lengths; scored along the way."""
        tasks = single(6)
        learner = trained(tasks, stream=True)
        learner.save(tmp_path)
        learner = mtnets.load(tmp_path)
        assert learner.view == View(2, stream=True)
        estimate = mtnets.evaluate(learner, tasks, 1)
        support = tasks.task.support
        before = learner.adapt(support.x[:2], support.y[:2])
        assert before.inner_steps == 1
        squared = (np.asarray(before(support.x[2:4])) - support.y[2:4]) ** 2
        assert estimate.losses[0, 1] == pytest.approx(squared.mean(), rel=1e-4)
        assert estimate.final == pytest.approx(estimate.losses.mean(), rel=1e-6)
        assert learner.adapt(np.ones((5, 3)), np.ones((5, 2))).inner_steps == 3
        longer = mtnets.evaluate(learner, single(10), 1)
        assert longer.losses.shape == (1, 6)
        with pytest.raises(mtnets.OptionError, match="learned in 3 slices of 2; leave it out"):
            learner.adapt(support.x, support.y, inner_steps=5)

    def test_random_parts(self) -> None:
        learner = trained(single(8), inner_batch_size=4)
        assert learner.view == View(4)
        adapted = learner.adapt(np.ones((20, 3)), np.ones((20, 2)))
        assert np.all(np.isfinite(adapted(np.ones((1, 3)))))

    def test_a_slice_without_weight_is_named(self) -> None:
        """In use, of many tasks, in training and in evaluation."""
        words = "A slice of the stream has no example of a weight above 0"
        learner, weights = trained(single(6), stream=True), [1, 1, 0, 0, 1, 0]
        support = single(6).task.support
        with pytest.raises(mtnets.RunError, match=words):
            learner.adapt(support.x, support.y, weights=weights)
        x, y = (np.stack([part, part]) for part in support[:2])
        with pytest.raises(mtnets.RunError, match=f"for task 1. {words}"):
            learner.adapt_many(x, y, weights=np.array([np.ones(6), weights]))
        short = single(6).task
        tasks = One(short._replace(support=short.support._replace(weights=np.float32(weights))))
        with pytest.raises(mtnets.RunError, match=words):
            trained(tasks, stream=True)
        with pytest.raises(mtnets.DataError, match=f"Task 0 of these: {words}"):
            mtnets.evaluate(learner, tasks, 2)
        assert learner.adapt(support.x, support.y, weights=[1, 0, 0, 1, 1, 1]).inner_steps == 3

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"inner_batch_size": 0}, "inner_batch_size is 0; it must be at least 1, or 'all'"),
            ({"inner_batch_size": "half"}, "inner_batch_size is 'half'"),
            ({"stream": True, "inner_batch_size": 2}, "a stream is learned in inner_steps slices"),
            ({"stream": True, "multi_step_loss": 5}, "the loss of a stream is that along the way"),
            ({"stream": True, "method": mtnets.reptile(0.1)}, "displacement estimator takes no loss along the way"),
            ({"stream": True, "model": mtnets.models.mlp(3, 4, 2, norm="support")}, "never there as a whole"),
        ],
    )
    def test_refused(self, options, message) -> None:
        with pytest.raises(mtnets.OptionError, match=message):
            trained(single(6), **options)

    def test_a_stream_that_cannot_be_divided_is_refused(self) -> None:
        with pytest.raises(mtnets.DataError, match="have 7 examples, and a stream is learned in inner_steps = 3"):
            trained(single(7), stream=True)
