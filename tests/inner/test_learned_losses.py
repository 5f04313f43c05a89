"""Losses with meta-learned arrays: meta-gradients against a loop in Python, and bad input."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets.inner import Batch, Meta, Standing, Task, criterion
from mtnets.inner.loop import Inner
from mtnets.inner.losses import LearnedWeights, MeTAL
from problems import (
    INNER_LR,
    One,
    assert_trees_close,
    dot,
    gradient_at,
    like,
    naive_offset_mlp,
    offset_mlp,
    pair,
    slope,
    start_of,
    to_float64,
)

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


def naive_addition(arrays, step, base, means, f, y):
    """What MeTAL adds for one output of one example, all numbers."""
    now = jax.tree.map(lambda leaf: leaf[min(step, len(leaf) - 1)], arrays)
    state = jnp.stack([base, *means])
    state = (state - state.mean()) / jnp.sqrt(((state - state.mean()) ** 2).mean() + 1e-12)
    adapter, names = now["adapter"], ("w", "b", "v", "c")
    made = adapter["v"].T @ jnp.maximum(adapter["w"].T @ state + adapter["b"], 0) + adapter["c"]
    scale, shift = 1 + now["scale"] * made[:4], now["shift"] * made[4:]
    m = {name: scale[i] * now["loss"][name] + shift[i] for i, name in enumerate(names)}
    return m["v"] @ jnp.maximum(m["w"].T @ jnp.stack([*state, f, y]) + m["b"], 0) + m["c"]


@pytest.mark.usefixtures("float64")
def test_meta_gradient_of_metal() -> None:
    """In a network with batch norm, with more inner steps than it was made for, which use the last perceptron."""
    model, names = offset_mlp(), ["layers.0", "layers.1"]
    inner = Inner(model, mtnets.maml(), criterion("mse", MeTAL("mse")), 1)
    params, state = start_of(model)
    meta = to_float64(inner.init(params, jax.random.key(1), INNER_LR))
    meta = jax.tree.map(lambda leaf, noise: leaf + 0.2 * noise, meta, like(meta, 1))
    task = Task(*(Batch(RANDOM.normal(size=(n, 3)), RANDOM.normal(size=(n, 2))) for n in (5, 6)))

    def naive(meta: Meta) -> jax.Array:
        offset = meta.params["norms"][0]["bias"]

        def inner_loss(weights, step):
            f, y = naive_offset_mlp(weights, offset, task.support.x), task.support.y
            base = jnp.mean((f - y) ** 2)
            means = [jnp.concatenate([w, b[None]]).mean() for w, b in weights]
            add = functools.partial(naive_addition, meta.loss, step, base, means)
            return base + jnp.mean(jax.vmap(jax.vmap(add))(f, y))

        weights = [pair(meta.params, name) for name in names]
        for step in range(STEPS):
            weights = jax.tree.map(lambda w, g: w - INNER_LR * g, weights, jax.grad(inner_loss)(weights, step))
        return jnp.mean((naive_offset_mlp(weights, offset, task.query.x) - task.query.y) ** 2)

    longer = dataclasses.replace(inner, steps=STEPS)
    found = jax.jit(functools.partial(gradient_at, longer))(meta, state, INNER_LR, One(task), KEYS)
    run = jax.jit(jax.value_and_grad(naive))
    loss, expected = run(meta)
    assert float(found.metrics["post_loss"]) == pytest.approx(float(loss), rel=1e-11)
    assert_trees_close(found.gradient, expected, 1e-8, 1e-12)
    assert all(np.abs(leaf).max() > 1e-9 for leaf in jax.tree.leaves(found.gradient.loss))
    direction = like(meta, 2)
    assert dot(found.gradient, direction) == pytest.approx(slope(lambda meta: run(meta)[0], meta, direction), rel=1e-5)


def test_metal_takes_any_number_of_classes_in_any_order() -> None:
    """Outputs that are no classes of the task, and padding, make no difference."""
    loss, logits = MeTAL(), RANDOM.normal(size=(4, 3)).astype(np.float32)
    arrays = loss.init_for(jax.random.key(0), 2, 1)
    arrays = jax.tree.map(lambda leaf, noise: leaf + np.float32(0.3) * noise, arrays, like(arrays, 0))
    standing = Standing(0, np.array([0.1, -0.2], np.float32))
    y, order = np.array([0, 2, 1, 1]), np.array([2, 0, 1])
    at = jax.jit(lambda logits, batch: loss.at(arrays, standing, logits, batch))
    expected = np.asarray(at(logits, Batch(None, y)))
    assert np.abs(expected - mtnets.losses.CrossEntropy()(logits, Batch(None, y))).max() > 1e-3
    others = np.argsort(order)[y]
    np.testing.assert_allclose(at(logits[:, order], Batch(None, others)), expected, 1e-5)
    wide = np.concatenate([logits, np.full((4, 2), 50, np.float32)], 1)
    used = Batch(None, y, outputs=np.array([True, True, True, False, False]))
    np.testing.assert_allclose(at(wide, used), expected, 1e-5)
    padded = Batch(None, np.append(y, 0), np.array([1, 1, 1, 1, 0], np.float32))
    more = np.concatenate([logits, np.full((1, 3), 9, np.float32)])
    np.testing.assert_allclose(at(more, padded)[:4], expected, 1e-5)


@pytest.mark.parametrize("name", ["mse", "cross-entropy"])
def test_metal_is_the_loss_at_the_start(name) -> None:
    loss, y = MeTAL(name), np.array([0, 1, 1, 0])
    batch = Batch(None, y if loss.labels else RANDOM.normal(size=(4, 2)))
    prediction = RANDOM.normal(size=(4, 2)).astype(np.float32)
    np.testing.assert_allclose(loss(prediction, batch), mtnets.inner.LOSSES[name]()(prediction, batch), 1e-6)


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


@pytest.mark.parametrize(
    ("loss", "learns", "method"),
    [
        (LearnedWeights("mse", hidden=4), lambda loss: loss["v"], None),
        pytest.param(MeTAL("mse"), lambda loss: loss["loss"]["v"], mtnets.alfa(0.1), marks=pytest.mark.slow),
    ],
    ids=["weights", "metal-and-alfa"],
)
def test_learned_saved_and_used(loss, learns, method, tmp_path) -> None:
    learner = trained(loss, method)
    assert np.any(learns(learner.meta.loss))
    learner.save(tmp_path)
    again = mtnets.load(tmp_path)
    assert again.criterion.inner_loss == loss
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


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("none", "no loss 'none' to add to; choose one of mse"),
        ("metal", "no loss 'metal' to add to"),
        ("gaussian", "'gaussian', of 2 outputs for each target; metal needs one with a single output"),
    ],
)
def test_bad_losses_of_metal(loss, message) -> None:
    with pytest.raises(mtnets.OptionError, match=message):
        MeTAL(loss)
