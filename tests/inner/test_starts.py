"""Starts that depend on the task: meta-gradients beside the same written naively, and the life of a learner."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets import FirstOrder, Method, Parts
from mtnets.inner import attenuation, metric, rate
from problems import (
    INNER_LR,
    STEPS,
    adaptation,
    assert_trees_close,
    gradient_at,
    gradient_of,
    inner_for,
    inner_key,
    naive_offset_mlp,
    offset_mlp,
    pair,
    start,
    start_of,
    task_of,
    tasks_for,
)

KEY = jax.random.key(5)
NAMES = ["layers.0", "layers.1"]


def naive(meta, task, *, detached=False, first_order=False, fold=None):
    """Query loss, and weights before the first step: `γ W`, then gradient descent; with T where there is a fold."""
    offset = meta.params["norms"][0]["bias"]

    def loss(weights, batch):
        if fold is not None:
            weights = [(w @ fold[name], b @ fold[name]) for name, (w, b) in zip(NAMES, weights, strict=True)]
        return jnp.mean((naive_offset_mlp(weights, offset, batch.x) - batch.y) ** 2)

    def gradients(weights):
        g = jax.grad(loss)(weights, task.support)
        return jax.lax.stop_gradient(g) if first_order else g

    weights = [pair(meta.params, name) for name in NAMES]
    means = jnp.stack([jnp.concatenate([gw, gb[None]]).mean() for gw, gb in gradients(weights)])
    means = jax.lax.stop_gradient(means) if detached else means
    hidden = jnp.maximum(means @ meta.start["A"] + meta.start["a"], 0)
    gamma = 1 / (1 + jnp.exp(-(hidden @ meta.start["B"] + meta.start["b"])))
    begun = weights = [(gamma[i] * w, gamma[i] * b) for i, (w, b) in enumerate(weights)]
    for _ in range(STEPS):
        weights = jax.tree.map(lambda w, g: w - INNER_LR * g, weights, gradients(weights))
    return loss(weights, task.query), begun


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "options", [{}, {"detached": True}, {"estimator": FirstOrder()}], ids=["exact", "detached", "first-order"]
)
def test_each_layer_forgets_a_part_of_the_start(options) -> None:
    """In a network with batch norm, over several steps; what is held constant, on purpose, is so in both."""
    model = offset_mlp()
    meta, state = start(model, "l2f", spread=0.5)
    tasks, first_order = tasks_for(model), "estimator" in options
    task = task_of(tasks, KEY)
    plain = functools.partial(naive, task=task, detached="detached" in options, first_order=first_order)
    (loss, begun), expected = jax.jit(jax.value_and_grad(plain, has_aux=True))(meta)
    found = gradient_of(model, "l2f", STEPS, **options)(meta, state, INNER_LR, tasks, KEY[None])
    np.testing.assert_allclose(found.metrics["post_loss"], loss, rtol=1e-11)
    assert_trees_close(found.gradient, expected, rtol=1e-9, atol=1e-13)
    assert all(np.abs(leaf).max() > 1e-9 for leaf in jax.tree.leaves(found.gradient.start))
    if not options:
        way = adaptation(model, "l2f")(meta, state, INNER_LR, task.support, inner_key(KEY)).probed
        for name, weights in zip(NAMES, begun, strict=True):
            for leaf, first in zip(pair(way, name), weights, strict=True):
                np.testing.assert_allclose(leaf[0], first, rtol=1e-12)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForgetfulTNet(Method, register=False):
    """A start of its own beside any fold and rule: what is attenuated are the weights that move."""

    def parts(self) -> Parts:
        return Parts(metric(), rate("fixed"), start=attenuation())


@pytest.mark.usefixtures("float64")
def test_it_goes_with_a_fold() -> None:
    model, method = offset_mlp(), ForgetfulTNet()
    meta = start(model, "l2f", spread=0.5)[0]._replace(fold=start(model, "t_net", spread=0.2)[0].fold)
    tasks = tasks_for(model)
    expected = jax.jit(jax.grad(lambda meta: naive(meta, task_of(tasks, KEY), fold=meta.fold)[0]))(meta)
    step = jax.jit(functools.partial(gradient_at, inner_for(model, method)))
    found = step(meta, start_of(model)[1], INNER_LR, tasks, KEY[None])
    assert_trees_close(found.gradient, expected, rtol=1e-9, atol=1e-13)


def test_saved_and_used(tmp_path) -> None:
    """More examples go on from where the task is: what was forgotten once is not forgotten again."""
    model = mtnets.models.mlp(3, 4, 2, init_std=0.5)
    method, key = mtnets.l2f(0.1), jax.random.key(0)
    params, state = model.init(key)
    meta = method.init(model, params, key, inner_lr=0.1, inner_steps=1)
    learner = mtnets.Learner(model, method, mtnets.Learned(meta, state, 0.1), 1, "mse")
    learner.save(tmp_path)
    again, (x, y) = mtnets.load(tmp_path), (np.ones((4, 3)), np.ones((4, 2)))
    begun = again.adapt(x, y, inner_steps=0)
    for name in NAMES:
        for leaf, whole in zip(pair(begun.params, name), pair(params, name), strict=True):
            np.testing.assert_allclose(leaf, 0.9 * np.asarray(whole), rtol=1e-6)
    still = begun.update(x, y, inner_steps=0)
    np.testing.assert_allclose(still(x), begun(x), 1e-6)
    summary = mtnets.summarise(model, mtnets.l2f())
    assert summary.shared == {"start": 12}
    assert summary.total == summary.parameters + 12


@pytest.mark.slow
def test_a_run_that_goes_on_is_the_run_that_was_not_stopped(tmp_path) -> None:
    model, tasks = mtnets.models.mlp(1, 3, 1, init_std=0.5), mtnets.tasks.sinusoid(shots=4)
    options = {"meta_batch": 2, "inner_steps": 2, "validate_every": 0, "progress": False, "test_tasks": 1}

    def train(folder, meta_steps, **more):
        method = mtnets.l2f(0.01)
        return mtnets.run_training(model, method, tasks, out=folder, meta_steps=meta_steps, **options, **more).learner

    whole = train(tmp_path / "whole", 4)
    train(tmp_path / "parts", 2)
    learner = train(tmp_path / "parts", 4, resume=True)
    assert_trees_close(learner.meta, whole.meta, rtol=0, atol=0)
    assert np.any(learner.meta.start["B"]), "the generator has learned"
