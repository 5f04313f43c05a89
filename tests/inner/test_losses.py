"""Losses, against their formulas in NumPy and SciPy."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import log_loss, mean_absolute_error, mean_pinball_loss

import mtnets
from mtnets.errors import OptionError
from mtnets.inner import LOSSES, Batch, LearnedLoss, PerExample, criterion, loss_to_text
from mtnets.inner.losses import MASKED
from mtnets.inner.objective import Function, Objective, loss_of

FIXED = [name for name, loss in LOSSES.items() if not issubclass(loss, LearnedLoss)]  # see test_learned_losses.py
RANDOM = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("float64")


def value(loss: PerExample, prediction, batch: Batch):
    return batch.mean(loss(jnp.asarray(prediction), batch))


def example(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and targets that the loss takes, for four examples."""
    if LOSSES[name].targets == "labels":
        return RANDOM.normal(size=(4, 3)), np.array([0, 2, 1, 1])
    y = RANDOM.normal(size=(4, 2))
    y = RANDOM.poisson(2, (4, 2)).astype(float) if name == "poisson" else y
    y = (y > 0).astype(float) if name in ("binary", "dice") else y
    return RANDOM.normal(size=(4, 2 * LOSSES[name]().outputs_per_target)), y


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(f):
    return np.exp(f) / np.exp(f).sum(1, keepdims=True)


def pinball(f, y):
    return np.mean([mean_pinball_loss(y, f[:, i::3], alpha=level) for i, level in enumerate((0.05, 0.5, 0.95))])


def focal(f, y):
    p = softmax(f)[np.arange(4), y]
    return np.mean(-((1 - p) ** 2) * np.log(p))


def dice(f, y):
    p = sigmoid(f)
    return np.mean(1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1))


FORMULAS = {  # the mean over four examples
    "mse": lambda f, y: np.mean((f - y) ** 2),
    "mae": lambda f, y: mean_absolute_error(y, f),
    "huber": lambda f, y: np.mean(np.where(np.abs(f - y) <= 1, (f - y) ** 2 / 2, np.abs(f - y) - 0.5)),
    "gaussian": lambda f, y: -stats.norm.logpdf(y, f[:, :2], np.exp(f[:, 2:] / 2)).mean(),
    "quantile": pinball,
    "poisson": lambda f, y: -np.mean(stats.poisson.logpmf(y, np.exp(f)) + special.gammaln(y + 1)),
    "cross-entropy": lambda f, y: log_loss(y, softmax(f), labels=[0, 1, 2]),
    "focal": focal,
    "binary": lambda f, y: np.mean(-y * np.log(sigmoid(f)) - (1 - y) * np.log(1 - sigmoid(f))),
    "dice": dice,
}


@pytest.mark.parametrize("name", FIXED)
def test_it_is_its_formula(name: str) -> None:
    prediction, y = example(name)
    np.testing.assert_allclose(
        value(LOSSES[name](), prediction, Batch(None, y)), FORMULAS[name](prediction, y), rtol=1e-12
    )


@pytest.mark.parametrize("name", FIXED)
def test_first_and_second_derivatives(name: str) -> None:
    """Against central differences."""
    prediction, y = example(name)
    loss, batch, along = LOSSES[name](), Batch(None, y), RANDOM.normal(size=prediction.shape)

    def slope(t):
        return jax.jvp(lambda p: value(loss, p, batch), (prediction + t * along,), (along,))[1]

    step = 1e-6
    rise = value(loss, prediction + step * along, batch) - value(loss, prediction - step * along, batch)
    np.testing.assert_allclose(slope(0.0), rise / (2 * step), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(jax.grad(slope)(0.0), (slope(step) - slope(-step)) / (2 * step), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", FIXED)
def test_examples_of_weight_zero_do_not_count(name: str) -> None:
    """And other weights are those of a weighted mean."""
    loss, (prediction, y) = LOSSES[name](), example(name)
    padded = Batch(None, y, np.array([1.0, 1.0, 0.0, 0.0]))
    np.testing.assert_allclose(
        value(loss, prediction, padded), value(loss, prediction[:2], Batch(None, y[:2])), rtol=1e-12
    )
    assert not np.asarray(jax.grad(lambda p: value(loss, p, padded))(prediction))[2:].any()
    twice = Batch(None, np.concatenate([y, y[:1]]))
    weighted = Batch(None, y, np.array([2.0, 1.0, 1.0, 1.0]))
    expected = value(loss, np.concatenate([prediction, prediction[:1]]), twice)
    np.testing.assert_allclose(value(loss, prediction, weighted), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["cross-entropy", "focal"])
def test_large_logits_are_finite(name: str) -> None:
    large, one = jnp.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]]), Batch(None, np.array([1, 0]))
    assert np.isfinite(value(LOSSES[name](), large, one))
    assert np.isfinite(jax.grad(lambda p: value(LOSSES[name](), p, one))(large)).all()


@pytest.mark.parametrize("name", ["cross-entropy", "focal"])
def test_outputs_that_are_no_classes_of_the_task_are_masked(name: str) -> None:
    loss, logits, y = LOSSES[name](), RANDOM.normal(size=(4, 3)), np.array([0, 1, 1, 0])
    masked = Batch(None, y, outputs=np.array([True, True, False]))
    np.testing.assert_allclose(value(loss, logits, masked), value(loss, logits[:, :2], Batch(None, y)), rtol=1e-12)
    assert not np.asarray(jax.grad(lambda p: value(loss, p, masked))(logits))[:, 2].any()
    assert MASKED < -1e8


def test_label_smoothing_and_class_weights() -> None:
    """The labels are spread over the classes of the task; the loss of an example is multiplied."""
    logits, y = RANDOM.normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    spread = 0.9 * np.eye(3)[y] + 0.1 / 3
    smooth = mtnets.losses.CrossEntropy(smoothing=0.1)
    np.testing.assert_allclose(value(smooth, logits, Batch(None, y)), -(spread * log_p).sum(1).mean(), rtol=1e-12)
    two = Batch(None, y, outputs=np.array([True, True, False]))
    np.testing.assert_allclose(value(smooth, logits, two), value(smooth, logits[:, :2], Batch(None, y)), rtol=1e-12)
    weighted = mtnets.losses.CrossEntropy(class_weights=(2.0, 1.0, 3.0))
    by_hand = np.mean(np.array([2.0, 1, 3])[y] * -log_p[np.arange(5), y])
    np.testing.assert_allclose(value(weighted, logits, Batch(None, y)), by_hand, rtol=1e-12)


def test_labels_of_each_place() -> None:
    """Dense labels: a mean over places, then over examples."""
    logits, y = RANDOM.normal(size=(3, 4, 4, 2)), RANDOM.integers(0, 2, (3, 4, 4))
    loss = LOSSES["cross-entropy"]()
    assert loss(jnp.asarray(logits), Batch(None, y)).shape == (3,)
    flat = value(loss, logits.reshape(-1, 2), Batch(None, y.reshape(-1)))
    np.testing.assert_allclose(value(loss, logits, Batch(None, y)), flat, rtol=1e-12)


def test_what_outputs_stand_for() -> None:
    """Points, intervals, and units of the targets."""
    gaussian, outputs = mtnets.losses.Gaussian(), np.array([[1.0, 2.0, 0.0, np.log(4.0)]])
    np.testing.assert_array_equal(gaussian.point(outputs), [[1.0, 2.0]])
    low, high = gaussian.interval(outputs, 0.95)
    np.testing.assert_allclose(np.stack([low, high]), stats.norm([[1.0, 2.0]], [[1.0, 2.0]]).interval(0.95), rtol=1e-9)
    unscaled = gaussian.unscaled(outputs, lambda z: 10 * z + 3)
    np.testing.assert_allclose(unscaled, [[13.0, 23.0, np.log(100.0), np.log(400.0)]], rtol=1e-12)
    quantile, outputs = mtnets.losses.Quantile(levels=(0.1, 0.5, 0.9)), np.array([[1.0, 2.0, 3.0, 6.0, 5.0, 4.0]])
    np.testing.assert_array_equal(quantile.point(outputs), [[2.0, 5.0]])
    np.testing.assert_array_equal(np.stack(quantile.interval(outputs, 0.8)), [[[1.0, 4.0]], [[3.0, 6.0]]])
    with pytest.raises(OptionError, match=r"needs the levels 0\.05 and 0\.95; the learner was trained with 0\.1"):
        quantile.interval(outputs, 0.9)
    with pytest.raises(OptionError, match="mse says no intervals; train with 'gaussian' or 'quantile'"):
        LOSSES["mse"]().interval(outputs, 0.9)
    with pytest.raises(OptionError, match="has 5 outputs; the loss quantile needs 3 for each"):
        mtnets.losses.Quantile().shape_of_targets((5,))


def test_intervals_in_small_units() -> None:
    """The bound of a log-variance is in the units in which the network predicts, not in those of the targets."""
    gaussian = mtnets.losses.Gaussian(smallest=-4.0)
    outputs = gaussian.unscaled(np.array([[1.0, -9.0]]), lambda z: 1e-3 * z)
    low, high = gaussian.interval(outputs, 0.95)
    np.testing.assert_allclose(high - low, 2 * 1.959964 * 1e-3 * np.exp(-2.0), rtol=1e-4)
    np.testing.assert_allclose(np.sqrt(gaussian.variance(np.asarray(outputs))), 1e-3 * np.exp(-2.0), rtol=1e-4)


def test_what_a_mixture_of_networks_stands_for() -> None:
    """By moments and probabilities; logits may be −∞ or large."""
    outputs = RANDOM.normal(size=(3, 5, 4))
    np.testing.assert_allclose(LOSSES["mse"]().mixed(outputs), outputs.mean(0))
    assert LOSSES["mse"]().variance(outputs) is None
    mean, variance = outputs[..., :2], np.exp(outputs[..., 2:])
    total = (variance + mean**2).mean(0) - mean.mean(0) ** 2
    mixed = LOSSES["gaussian"]().mixed(outputs)
    np.testing.assert_allclose(mixed, np.concatenate([mean.mean(0), np.log(total)], -1), rtol=1e-12)
    poisson = LOSSES["poisson"]()
    np.testing.assert_allclose(poisson.point(poisson.mixed(outputs)), np.exp(outputs).mean(0), rtol=1e-12)
    np.testing.assert_array_equal(poisson.variance(outputs), poisson.point(outputs))
    logits = np.concatenate([outputs[..., :3], np.full((3, 5, 1), -np.inf)], -1)
    for name in ("cross-entropy", "focal"):
        log_p = LOSSES[name]().mixed(logits)
        np.testing.assert_allclose(np.exp(log_p), special.softmax(logits, -1).mean(0), rtol=1e-12)
    for name in ("binary", "dice"):
        np.testing.assert_allclose(special.expit(LOSSES[name]().mixed(outputs)), special.expit(outputs).mean(0))
    far = np.array([[[800.0, -800.0]], [[-800.0, 800.0]]])
    np.testing.assert_allclose(LOSSES["cross-entropy"]().mixed(far), np.log([[0.5, 0.5]]))
    np.testing.assert_allclose(LOSSES["binary"]().mixed(far), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mtnets.losses.Huber(delta=0.0), "delta is 0.0; it must be above 0"),
        (lambda: mtnets.losses.Quantile(levels=(0.9, 0.1)), "must be rising numbers between 0 and 1"),
        (lambda: mtnets.losses.CrossEntropy(smoothing=1.0), "smoothing is 1.0"),
        (lambda: mtnets.losses.CrossEntropy(class_weights=(0.0, 0.0)), "not all 0"),
        (lambda: mtnets.losses.Focal(gamma=-1.0), "gamma is -1.0"),
        (lambda: criterion("msee"), "There is no loss 'msee'; perhaps 'mse' is meant; choose one of mse, mae"),
        (
            lambda: criterion("mse", metrics={"a": "accuracy"}),
            "The metric 'a' is of labels, and the loss mse of numbers",
        ),
        (lambda: criterion("focal", metrics={"r2": "r2"}), "'r2' is of numbers, and the loss focal of labels; .*f1"),
        (lambda: criterion("huber(delta=2.0, 3)"), "cannot be read; write its options as name=value"),
        (lambda: criterion("huber(size=2.0)"), "The loss huber has no option 'size'; choose one of delta"),
        (lambda: criterion(mtnets.losses.Huber), r"The loss is the class Huber; call it: Huber\(\)"),
        (lambda: criterion(3), "loss is 3; it must be a name"),
        (lambda: criterion(lambda a: a), "cannot be called as loss"),
        (lambda: criterion("mse", metrics={"loss": "mae"}), "A metric is named 'loss'"),
        (lambda: criterion("mse", metrics={"a": "maee"}), "There is no metric 'maee'"),
        (lambda: criterion("mse", metrics={"a": 3}), r"metrics\['a'\] is 3"),
        (lambda: criterion("mse", best="mae"), "best is 'mae'; it must be one of loss"),
        (lambda: criterion("mse", metrics={"a": lambda f, b: f}, best="a"), "does not say whether higher is better"),
    ],
)
def test_what_cannot_be_is_refused(make, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        make()


def test_functions_are_told_apart_by_their_arguments() -> None:
    assert isinstance(loss_of(lambda prediction, batch: prediction), Function)
    assert isinstance(loss_of(lambda predict, batch, key: 0.0), Objective)
    assert isinstance(loss_of(lambda prediction, batch, weight=1.0: prediction), Function)


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("huber", mtnets.losses.Huber()),
        ("huber()", mtnets.losses.Huber()),
        ("huber(delta=2.0)", mtnets.losses.Huber(delta=2.0)),
        ("quantile(levels=(0.1, 0.9))", mtnets.losses.Quantile(levels=(0.1, 0.9))),
        (
            "cross-entropy(smoothing=0.1, class_weights=(1.0, 2.0))",
            mtnets.losses.CrossEntropy(smoothing=0.1, class_weights=(1.0, 2.0)),
        ),
        ("focal(gamma=1.0)", mtnets.losses.Focal(gamma=1.0)),
    ],
)
def test_losses_as_text(text: str, loss: Any) -> None:
    assert criterion(text).loss == loss
    assert criterion(loss_to_text(loss)).loss == loss
    assert loss_to_text(loss) == text.removesuffix("()")


def test_lists_will_do_for_tuples_in_text() -> None:
    assert criterion(" quantile( levels=[0.1, 0.9] ) ").loss == mtnets.losses.Quantile(levels=(0.1, 0.9))


def test_losses_are_values() -> None:
    assert LOSSES["mse"]() == mtnets.losses.Squared()
    assert dataclasses.replace(mtnets.losses.Huber(), delta=2.0) == mtnets.losses.Huber(delta=2.0)
    assert FIXED == [
        "mse",
        "mae",
        "huber",
        "gaussian",
        "quantile",
        "poisson",
        "cross-entropy",
        "focal",
        "binary",
        "dice",
    ]
