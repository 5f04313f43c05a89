"""Losses with meta-learned arrays: meta-gradients against a loop in Python, and bad input."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets.inner import Batch, Meta, Task, criterion
from mtnets.inner.loop import Inner
from mtnets.inner.losses import LearnedWeights
from problems import INNER_LR, One, assert_trees_close, dot, gradient_at, like, slope, to_float64

RANDOM = np.random.default_rng(0)
KEYS = jax.random.split(jax.random.key(3), 1)
STEPS = 2
COUNTS = {"meta_steps": 2, "meta_batch": 1, "inner_steps": 1, "validate_every": 0, "progress": False}


def forward(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"]


@functools.cache
def network() -> mtnets.Model:
    params = {"a": RANDOM.normal(size=(3, 4)) / 2, "b": RANDOM.normal(size=(4, 2)) / 2}
    return mtnets.wrap((forward, params), (3,), input_dtype=np.float64)


def naive(meta: Meta, task: Task) -> jax.Array:
    def inner(params) -> jax.Array:
        losses = ((forward(params, task.support.x) - task.support.y) ** 2).mean(1)
        v = meta.loss
        hidden = jnp.maximum(losses[:, None] @ v["w"] + v["b"], 0)
        weights = 2 / (1 + jnp.exp(-(hidden @ v["v"] + v["c"])))
        return jnp.mean(weights * losses)

    params = meta.params
    for _ in range(STEPS):
        params = jax.tree.map(lambda w, g: w - INNER_LR * g, params, jax.grad(inner)(params))
    return jnp.mean((forward(params, task.query.x) - task.query.y) ** 2)


@pytest.mark.usefixtures("float64")
def test_meta_gradient() -> None:
    task = Task(*(Batch(RANDOM.normal(size=(n, 3)), RANDOM.normal(size=(n, 2))) for n in (5, 6)))
    inner = Inner(network(), mtnets.maml(), criterion("mse", LearnedWeights("mse", hidden=3)), STEPS)
    meta = to_float64(inner.init(network().init(jax.random.key(0))[0], jax.random.key(1), INNER_LR))
    meta = jax.tree.map(lambda leaf, noise: leaf + 0.3 * noise, meta, like(meta, 1))
    found = jax.jit(functools.partial(gradient_at, inner))(meta, {}, INNER_LR, One(task), KEYS).gradient
    assert_trees_close(found, jax.grad(naive)(meta, task), 1e-9, 1e-12)
    direction = like(meta, 2)
    assert dot(found, direction) == pytest.approx(slope(lambda meta: naive(meta, task), meta, direction), rel=1e-6)


def test_all_examples_count_alike_at_the_start() -> None:
    loss = LearnedWeights("huber")
    prediction, batch = RANDOM.normal(size=(4, 2)), Batch(None, RANDOM.normal(size=(4, 2)))
    expected = mtnets.losses.Huber()(prediction, batch)
    np.testing.assert_allclose(loss(prediction, batch), expected, 1e-6)


@dataclasses.dataclass(frozen=True)
class Scaled(mtnets.LearnedLoss):
    """One of a user's own: a temperature."""

    def init(self, key):
        return jnp.ones(())

    def learned(self, arrays, prediction, batch):
        return ((prediction * arrays - batch.y) ** 2).mean(1)


def tasks() -> One:
    x = RANDOM.normal(size=(5, 3)).astype(np.float32)
    return One(Task(Batch(x, x[:, :2]), Batch(x, x[:, :2])))


def trained(inner_loss, method=None):
    model = mtnets.models.mlp(3, 4, 2, init_std=0.5)
    return mtnets.meta_train(model, method or mtnets.maml(0.1), tasks(), loss="mse", inner_loss=inner_loss, **COUNTS)


def test_learned_saved_and_used(tmp_path) -> None:
    learner = trained(LearnedWeights("mse", hidden=4))
    assert np.any(learner.meta.loss["v"])
    learner.save(tmp_path)
    again = mtnets.load(tmp_path)
    assert again.criterion.inner_loss == LearnedWeights("mse", hidden=4)
    x = np.ones((3, 3))
    np.testing.assert_array_equal(again.adapt(x, x[:, :2])(x), learner.adapt(x, x[:, :2])(x))


def test_one_of_a_users_own(tmp_path) -> None:
    learner = trained(Scaled())
    assert learner.meta.loss != 1
    learner.save(tmp_path)
    with pytest.raises(mtnets.RunError, match=r"load\(path, inner_loss=...\)"):
        mtnets.load(tmp_path)
    assert mtnets.load(tmp_path, inner_loss=Scaled()).meta.loss == learner.meta.loss


def test_the_outer_loss_cannot_be_learned() -> None:
    with pytest.raises(mtnets.OptionError, match=r"give it as inner_loss="):
        mtnets.meta_train(mtnets.models.mlp(3, 4, 2), mtnets.maml(0.1), tasks(), loss=LearnedWeights("mse"), **COUNTS)


@pytest.mark.parametrize(
    "method", [mtnets.fomaml(0.1), mtnets.reptile(0.1), mtnets.maml(0.1, estimator=mtnets.Truncated(0))]
)
def test_estimators_that_give_it_no_gradient_are_refused(method) -> None:
    with pytest.raises(mtnets.OptionError, match="estimator gives it no gradient"):
        trained(LearnedWeights("mse"), method)


@pytest.mark.parametrize("options", [{"loss": "none"}, {"loss": "learned-weights"}, {"hidden": 0}])
def test_bad_options(options) -> None:
    with pytest.raises(mtnets.OptionError):
        LearnedWeights(**options)
