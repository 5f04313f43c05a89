"""Learned noise: it is there where a task learns and not where it predicts, and μ learns through it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtnets
from mtnets import from_nnx
from mtnets.inner import Batch, Task, criterion
from mtnets.inner.loop import Inner
from mtnets.networks.models import MetaDropout
from problems import INNER_LR, STEPS, One, assert_trees_close, gradient_at, like, to_float64

RANDOM = np.random.default_rng(0)
KEY = jax.random.key(3)


class Noisy(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        noise = nnx.Linear(3, 4, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.body = MetaDropout(nnx.Linear(3, 4, rngs=rngs), noise, rngs=rngs)
        self.head = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.body(x)))


@functools.cache
def network() -> mtnets.Model:
    return from_nnx(Noisy, (3,))


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def forward(params, x, noise=0.0):
    """The same written out: `f(x) softplus(μ(x) + ln(e − 1) + ε)`."""
    a = dense(params["body"]["noise"]["module"], x) + np.log(np.e - 1) + noise
    x = dense(params["body"]["layer"], x) * jnp.log1p(jnp.exp(a))
    return dense(params["head"], jnp.maximum(x, 0))


@pytest.mark.usefixtures("float64")
def test_a_task_learns_under_noise_and_predicts_without(monkeypatch) -> None:
    """Beside a loop in which ε is the same for all steps: the draw itself is held, the rest is the library's."""
    model, noise = network(), RANDOM.normal(size=(5, 4))
    inner = Inner(model, mtnets.maml(), criterion("mse"), STEPS)
    params, state = to_float64(model.init(jax.random.key(0)))
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.asarray(noise, dtype))
    params = jax.tree.map(lambda leaf, change: leaf + 0.3 * change, params, like(params, 1))
    meta = to_float64(inner.init(params, KEY, INNER_LR))
    assert [layer.name for layer in inner.layers] == ["body.layer", "head"]
    task = Task(*(Batch(RANDOM.normal(size=(n, 3)), RANDOM.normal(size=(n, 2))) for n in (5, 6)))

    def naive(meta):
        def with_moved(moved):
            return {"body": meta.params["body"] | {"layer": moved[0]}, "head": moved[1]}

        def loss(moved):
            return jnp.mean((forward(with_moved(moved), task.support.x, noise) - task.support.y) ** 2)

        moved = [meta.params["body"]["layer"], meta.params["head"]]
        for _ in range(STEPS):
            moved = jax.tree.map(lambda w, g: w - INNER_LR * g, moved, jax.grad(loss)(moved))
        return jnp.mean((forward(with_moved(moved), task.query.x) - task.query.y) ** 2)

    expected, gradient = jax.jit(jax.value_and_grad(naive))(meta)
    found = jax.jit(functools.partial(gradient_at, inner))(meta, state, INNER_LR, One(task), KEY[None])
    np.testing.assert_allclose(found.metrics["post_loss"], expected, rtol=1e-11)
    assert_trees_close(found.gradient, gradient, rtol=1e-8, atol=1e-13)
    assert np.abs(found.gradient.params["body"]["noise"]["module"]["kernel"]).max() > 1e-6


def test_every_key_and_example_has_noise_of_its_own() -> None:
    """And a network that starts with weights of zero in μ is the plain one where it predicts."""
    model = network()
    params, state = model.init(jax.random.key(0))
    x = np.ones((4, 3), np.float32)
    apply = jax.jit(lambda key: model.apply(params, state, x, key)[0])
    plain = np.asarray(jax.jit(lambda: model.apply(params, state, x, None)[0])())
    np.testing.assert_allclose(plain, dense(params["head"], jnp.maximum(dense(params["body"]["layer"], x), 0)), 1e-5)
    draws = [np.asarray(apply(jax.random.key(i))) for i in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.abs(draws[0] - draws[2]).max() > 1e-3
    assert np.abs(draws[0] - plain).max() > 1e-3
    assert np.abs(draws[0][0] - draws[0][1]).max() > 1e-3, "each example has its own"
