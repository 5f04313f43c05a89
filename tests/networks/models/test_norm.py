"""Batch norm, against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mtnets.networks.models.norm import BatchNorm, batch_norm_factory

RANDOM = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("shape", [(6, 4), (3, 5, 5, 4)])
def test_normalises_over_all_axes_but_the_last(shape) -> None:
    x = 3 + 2 * RANDOM.normal(size=shape)
    norm = BatchNorm(4, epsilon=1e-3, rngs=nnx.Rngs(0))
    norm.bias[...] = jnp.arange(4.0)
    y = np.asarray(norm(x))
    flat = x.reshape(-1, 4)
    expected = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-3) + np.arange(4.0)
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(norm.mean[...], 0.01 * flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(norm.var[...], 0.99 + 0.01 * flat.var(0), rtol=1e-6)


def test_predicts_with_what_it_remembers() -> None:
    x = RANDOM.normal(size=(6, 4))
    norm = BatchNorm(4, momentum=0.0, rngs=nnx.Rngs(0))
    y = norm(x)
    norm.eval()
    np.testing.assert_allclose(norm(x), y, rtol=1e-6)
    np.testing.assert_allclose(norm(x[:1]), y[:1], rtol=1e-6)
    before = np.asarray(norm.mean[...])
    norm(x + 100)
    np.testing.assert_array_equal(norm.mean[...], before)
    norm.train()
    np.testing.assert_allclose(norm(x + 100), y, rtol=1e-6)


def test_gradients_go_through_the_statistics_that_it_keeps() -> None:
    """In the mode that predicts: finite differences of a loss on queries with respect to the support set."""
    support, query = RANDOM.normal(size=(6, 4)), RANDOM.normal(size=(3, 4))

    def loss(support):
        module = BatchNorm(4, momentum=0.0, rngs=nnx.Rngs(0))
        module(support)
        module.eval()
        return jnp.sum(module(query) ** 3)

    gradient = np.asarray(jax.jit(jax.grad(loss))(support))
    direction = RANDOM.normal(size=support.shape)
    f = jax.jit(loss)
    slope = (f(support + 1e-6 * direction) - f(support - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=1e-6)
    assert np.abs(gradient).max() > 1e-2


def test_which_norm_is_asked_for() -> None:
    assert batch_norm_factory("none") is None
    for norm, momentum in (("transductive", 0.99), ("support", 0.0), ("running", 0.99)):
        assert batch_norm_factory(norm)(2, rngs=nnx.Rngs(0)).momentum == momentum
