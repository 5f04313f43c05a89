"""Conditioning by a context vector: beside gradient descent on φ alone, written out; and what summaries say of it."""

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
from mtnets.networks.models import BatchNorm, FiLM
from problems import INNER_LR, STEPS, One, assert_trees_close, batch_norm, gradient_at, like, to_float64

RANDOM = np.random.default_rng(0)
KEY = jax.random.key(3)


class Conditioned(nnx.Module):
    """FiLM after batch norm."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.body, self.norm = nnx.Linear(3, 4, rngs=rngs), BatchNorm(4, rngs=rngs)
        self.film, self.head = FiLM(2, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.film(self.norm(self.body(x)))))


@functools.cache
def network() -> mtnets.Model:
    return from_nnx(Conditioned, (3,), norm="transductive")


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"]


@pytest.mark.usefixtures("float64")
def test_a_task_moves_the_context_alone() -> None:
    """Several steps, and the meta-gradient of everything else through them."""
    model, method = network(), mtnets.maml(adapts="film.context")
    inner = Inner(model, method, criterion("mse"), STEPS)
    params = to_float64(model.init(jax.random.key(0))[0])
    params = jax.tree.map(lambda leaf, noise: leaf + 0.3 * noise, params, like(params, 1))
    meta = to_float64(inner.init(params, KEY, INNER_LR))
    task = Task(*(Batch(RANDOM.normal(size=(n, 3)), RANDOM.normal(size=(n, 2))) for n in (5, 6)))

    def loss(meta, phi, batch):
        p = meta.params
        gamma_and_beta = phi @ p["film"]["generator"]["module"]["kernel"]
        x = batch_norm(dense(p["body"], batch.x), p["norm"]["bias"])
        x = jnp.maximum(x * (1 + gamma_and_beta[:4]) + gamma_and_beta[4:], 0)
        return jnp.mean((dense(p["head"], x) - batch.y) ** 2)

    def naive(meta):
        phi = meta.params["film"]["context"]["kernel"][0]
        for _ in range(STEPS):
            phi -= INNER_LR * jax.grad(loss, 1)(meta, phi, task.support)
        return loss(meta, phi, task.query)

    expected, gradient = jax.jit(jax.value_and_grad(naive))(meta)
    found = jax.jit(functools.partial(gradient_at, inner))(meta, {}, INNER_LR, One(task), KEY[None])
    np.testing.assert_allclose(found.metrics["post_loss"], expected, rtol=1e-11)
    assert_trees_close(found.gradient, gradient, rtol=1e-8, atol=1e-13)
    assert inner.moving == ("film.context.kernel",)


def test_what_summaries_say_of_it() -> None:
    rows = {row.name: row.moves for row in mtnets.summarise(network(), mtnets.maml(adapts="film.context")).rows}
    assert rows == {"body": False, "film.context": True, "head": False}
