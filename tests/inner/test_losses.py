"""Losses, against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets.inner.losses import LOSSES, METRICS, accuracy, cross_entropy, mse

RANDOM = np.random.default_rng(0)


@pytest.mark.usefixtures("float64")
def test_mean_squared_error() -> None:
    """A mean over examples and outputs."""
    prediction, y = RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(5, 3))
    np.testing.assert_allclose(mse(prediction, y), np.sum((prediction - y) ** 2) / 15, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(mse)(prediction, y), 2 * (prediction - y) / 15, rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_cross_entropy() -> None:
    """A mean over examples, finite and with a finite gradient for large logits."""
    logits, y = RANDOM.normal(size=(6, 3)), np.array([0, 1, 2, 2, 1, 0])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(cross_entropy(logits, y), -np.log(p[np.arange(6), y]).mean(), rtol=1e-12)
    np.testing.assert_allclose(jax.grad(cross_entropy)(logits, y), (p - np.eye(3)[y]) / 6, rtol=1e-12)
    large = jnp.array([[1e4, -1e4, 0.0]])
    np.testing.assert_allclose(cross_entropy(large, np.array([1])), 2e4)
    assert np.isfinite(jax.grad(cross_entropy)(large, np.array([1]))).all()


def test_accuracy() -> None:
    logits = np.array([[3.0, 1, 2], [0, 1, 2], [5, 6, 1], [9, 8, 7]])
    assert float(accuracy(logits, np.array([0, 1, 1, 0]))) == 0.75


def test_every_loss_has_a_metric() -> None:
    assert LOSSES.keys() == METRICS.keys()
    assert METRICS["mse"] == ("loss", mse, False)
    assert METRICS["cross-entropy"] == ("accuracy", accuracy, True)
