"""Losses, against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets.inner import LOSSES, Batch, cross_entropy, mse

RANDOM = np.random.default_rng(0)


@pytest.mark.usefixtures("float64")
def test_mean_squared_error() -> None:
    """A mean over examples and outputs."""
    prediction, y = RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(5, 3))
    batch = Batch(None, y)
    np.testing.assert_allclose(mse(prediction, batch), np.sum((prediction - y) ** 2) / 15, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(mse)(prediction, batch), 2 * (prediction - y) / 15, rtol=1e-12)
    assert mse.score(prediction, batch) == mse(prediction, batch)


@pytest.mark.usefixtures("float64")
def test_cross_entropy() -> None:
    """A mean over examples, finite and with a finite gradient for large logits."""
    logits, y = RANDOM.normal(size=(6, 3)), np.array([0, 1, 2, 2, 1, 0])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    batch = Batch(None, y)
    np.testing.assert_allclose(cross_entropy(logits, batch), -np.log(p[np.arange(6), y]).mean(), rtol=1e-12)
    np.testing.assert_allclose(jax.grad(cross_entropy)(logits, batch), (p - np.eye(3)[y]) / 6, rtol=1e-12)
    large, one = jnp.array([[1e4, -1e4, 0.0]]), Batch(None, np.array([1]))
    np.testing.assert_allclose(cross_entropy(large, one), 2e4)
    assert np.isfinite(jax.grad(cross_entropy)(large, one)).all()


def test_accuracy() -> None:
    logits = np.array([[3.0, 1, 2], [0, 1, 2], [5, 6, 1], [9, 8, 7]])
    assert float(cross_entropy.score(logits, Batch(None, np.array([0, 1, 1, 0])))) == 0.75


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_examples_of_weight_zero_do_not_count(loss) -> None:
    """And other weights are those of a weighted mean."""
    prediction = RANDOM.normal(size=(4, 3))
    y = np.array([0, 2, 1, 1]) if loss is cross_entropy else RANDOM.normal(size=(4, 3))
    padded = Batch(None, y, np.array([1.0, 1.0, 0.0, 0.0]))
    np.testing.assert_allclose(loss(prediction, padded), loss(prediction[:2], Batch(None, y[:2])), rtol=1e-12)
    assert not np.asarray(jax.grad(loss)(prediction, padded))[2:].any()
    twice = Batch(None, np.concatenate([y, y[:1]]))
    weighted = Batch(None, y, np.array([2.0, 1.0, 1.0, 1.0]))
    np.testing.assert_allclose(
        loss(prediction, weighted), loss(np.concatenate([prediction, prediction[:1]]), twice), rtol=1e-12
    )


@pytest.mark.usefixtures("float64")
def test_outputs_that_are_no_classes_of_the_task_are_masked() -> None:
    logits, y = RANDOM.normal(size=(4, 3)), np.array([0, 1, 1, 0])
    masked = Batch(None, y, outputs=np.array([True, True, False]))
    np.testing.assert_allclose(cross_entropy(logits, masked), cross_entropy(logits[:, :2], Batch(None, y)), rtol=1e-12)
    assert not np.asarray(jax.grad(cross_entropy)(logits, masked))[:, 2].any()
    logits[:, 2] = 100
    assert cross_entropy.score(logits, masked) == cross_entropy.score(logits[:, :2], Batch(None, y))


def test_losses_are_listed_by_name() -> None:
    assert {"mse": mse, "cross-entropy": cross_entropy} == LOSSES
    assert [(loss.score_name, loss.more_is_better) for loss in LOSSES.values()] == [
        ("loss", False),
        ("accuracy", True),
    ]
