"""The metrics that ship, by scikit-learn's definitions, for a query set of any weights. All are compiled with the rest.

In classification they take logits `[examples, classes]` and labels `[examples]`; `f1`, `auroc` and `auprc` also several
yes or no, logits and targets `[examples, outputs]`, over whose outputs they are a mean. Targets of more axes are dense,
such as `[examples, height, width]`: a label, or a yes or no, for each place of an example, which all count alike, with
the weight of their example. Classes that the task does not use (`Batch.outputs`) and examples of weight 0 do not count.
A score that the query set does not define (an area of one class alone) is NaN, which means over tasks leave out.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError
from mtnets.inner.losses import Gaussian, masked_logits
from mtnets.inner.objective import Metric
from mtnets.inner.task import Batch


def accuracy(prediction: Array, batch: Batch) -> Array:
    """Share of labels that are those of the largest logits, `[examples]`; over all places of an example."""
    _check_labels("accuracy", prediction, batch)
    return _each(jnp.argmax(masked_logits(prediction, batch), axis=-1) == batch.y)


def balanced_accuracy(prediction: Array, batch: Batch) -> Array:
    """Mean of the recalls of the classes that occur in the query set."""
    _check_labels("balanced-accuracy", prediction, batch)
    right, _, actual = _counts(prediction, batch)
    return _mean_where(actual > 0, right / jnp.maximum(actual, 1e-12))


def f1(prediction: Array, batch: Batch) -> Array:
    """Macro F1: the mean over classes that occur among labels or predictions of `2 right / (predicted + actual)`; for
    targets of several yes or no, over outputs, of which a logit above 0 says yes."""
    right, predicted, actual = _counts(prediction, batch)
    both = predicted + actual
    return _mean_where(both > 0, 2 * right / jnp.maximum(both, 1e-12))


def auroc(prediction: Array, batch: Batch) -> Array:
    """Area under the curve of true against false positives: the probability that an example of a class has a larger
    score than one of another. Mean over classes, one against the rest; for two classes the same for either, and for
    targets of several yes or no the mean over outputs."""
    scores, yes, weights, used = _one_against_rest(prediction, batch)

    def area(score: Array, yes: Array) -> Array:
        positive, negative = weights * yes, weights * (1 - yes)
        above, as_high = _at_least(score, negative)  # false positives before and at the threshold of each element
        total = positive.sum() * negative.sum()
        return 1 - jnp.sum(positive * (above + as_high)) / (2 * total)

    return _mean_where(used, jax.vmap(area, in_axes=1)(scores, yes))


def auprc(prediction: Array, batch: Batch) -> Array:
    """Average precision: the mean, over examples of a class, of the precision at the threshold of their score. Mean
    over classes, one against the rest, or over outputs."""
    scores, yes, weights, used = _one_against_rest(prediction, batch)

    def area(score: Array, yes: Array) -> Array:
        positive = weights * yes
        right, predicted = _at_least(score, positive)[1], _at_least(score, weights)[1]
        precision = right / jnp.maximum(predicted, 1e-12)
        return jnp.sum(positive * precision) / positive.sum()

    return _mean_where(used, jax.vmap(area, in_axes=1)(scores, yes))


def log_score(prediction: Array, batch: Batch) -> Array:
    """Negative logarithm of the probability of the label, `[examples]`, mean over all places of an example: smaller is
    better."""
    _check_labels("log-score", prediction, batch)
    probabilities = jax.nn.log_softmax(masked_logits(prediction, batch))
    return -_each(jnp.take_along_axis(probabilities, batch.y[..., None], -1)[..., 0])


def calibration_error(prediction: Array, batch: Batch) -> Array:
    """Expected calibration error: the gap between the probability of the prediction and how often it is right, in 15
    bins of equal width, mean by the weight of the bins.

    References:
      Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, ICML 2017.
    """
    _check_labels("calibration-error", prediction, batch)
    logits, labels, weights = _elements(prediction, batch)
    probabilities = jax.nn.softmax(logits)
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    bins = jax.nn.one_hot(jnp.clip(jnp.ceil(confidence * 15) - 1, 0, 14).astype(int), 15) * weights[:, None]
    gaps = jnp.abs(bins.T @ (right - confidence))
    return gaps.sum() / weights.sum()


def r2(prediction: Array, batch: Batch) -> Array:
    """`1 − Σ (y − f)² / Σ (y − ȳ)²`, mean over outputs."""
    weights = _weights(batch).reshape(-1, *(1,) * (batch.y.ndim - 1))
    mean = jnp.sum(weights * batch.y, 0) / weights.sum()
    spread = jnp.sum(weights * jnp.square(batch.y - mean), 0)
    return jnp.mean(1 - jnp.sum(weights * jnp.square(batch.y - prediction), 0) / spread)


def mae(prediction: Array, batch: Batch) -> Array:
    """Mean absolute error, `[examples]`."""
    return _each(jnp.abs(prediction - batch.y))


def psnr(prediction: Array, batch: Batch) -> Array:
    """Peak signal-to-noise ratio of numbers from 0 to 1 over the whole query set, in decibels: `−10 log₁₀ MSE`."""
    return -10 * jnp.log10(batch.mean(_each(jnp.square(prediction - batch.y))))


def coverage(prediction: Array, batch: Batch) -> Array:
    """Share of targets within the outermost levels of `Quantile`'s outputs, or within the central 90 % of `Gaussian`'s,
    `[examples]`: which of the two the network returns is told by their number, two for each target or more."""
    low, high = interval(prediction, batch.y.shape[-1])
    return _each((low <= batch.y) & (batch.y <= high))


def width(prediction: Array, batch: Batch) -> Array:
    """Width of that interval, `[examples]`, in units of the targets."""
    low, high = interval(prediction, batch.y.shape[-1])
    return _each(high - low)


def interval(prediction: Array, targets: int) -> tuple[Array, Array]:
    """Lower and upper ends, `[examples, targets]` each."""
    each = prediction.shape[-1] // targets
    if each == 2:
        gaussian = Gaussian()
        return gaussian.interval(jnp.concatenate(gaussian.moments(prediction), axis=-1), 0.9)
    quantiles = prediction.reshape(*prediction.shape[:-1], targets, each)
    return quantiles.min(-1), quantiles.max(-1)


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(accuracy, True, "labels"),
    "balanced-accuracy": Metric(balanced_accuracy, True, "labels"),
    "f1": Metric(f1, True),
    "auroc": Metric(auroc, True),
    "auprc": Metric(auprc, True),
    "log-score": Metric(log_score, False, "labels"),
    "calibration-error": Metric(calibration_error, False, "labels"),
    "r2": Metric(r2, True, "numbers", of_points=True),
    "mae": Metric(mae, False, "numbers", of_points=True),
    "psnr": Metric(psnr, True, "numbers", of_points=True),
    "coverage": Metric(coverage, None, "numbers"),
    "width": Metric(width, False, "numbers"),
}


def _check_labels(name: str, prediction: Array, batch: Batch) -> None:
    """Raises OptionError for targets of several yes or no, which would be taken for labels if there are as many of them
    as examples."""
    if batch.y.ndim == prediction.ndim:
        raise OptionError(
            f"The metric {name} is of labels of classes, and the targets {list(batch.y.shape)} have a number for each "
            "output; for several yes or no use 'f1', 'auroc' or 'auprc'."
        )


def _weights(batch: Batch) -> Array:
    return jnp.ones(len(batch.y)) if batch.weights is None else batch.weights


def _each(values: Array) -> Array:
    """Mean over all places of an example, `[examples]`."""
    return values.reshape(len(values), -1).mean(1)


def _elements(prediction: Array, batch: Batch) -> tuple[Array, Array, Array]:
    """What is counted, one by one: logits `[elements, outputs]`; labels `[elements]`, or yes or no `[elements,
    outputs]`, one output if they are dense; and weights `[elements]`."""
    y, weights = batch.y, _weights(batch)
    places = y.size // max(1, len(y))
    if y.ndim < prediction.ndim:
        logits = masked_logits(prediction, batch).reshape(-1, prediction.shape[-1])
        return logits, y.reshape(-1), jnp.repeat(weights, places)
    if y.ndim == 2:
        return prediction, y, weights
    return prediction.reshape(-1, 1), y.reshape(-1, 1), jnp.repeat(weights, places)


def _counts(prediction: Array, batch: Batch) -> tuple[Array, Array, Array]:
    """Weights of each class, or of each yes: predicted and right, predicted, actual."""
    logits, y, weights = _elements(prediction, batch)
    if y.ndim == 2:
        predicted, actual = logits > 0, y > 0.5
    else:
        predicted, actual = (jax.nn.one_hot(labels, logits.shape[-1]) for labels in (logits.argmax(-1), y))
    weights = weights[:, None]
    return (predicted * actual * weights).sum(0), (predicted * weights).sum(0), (actual * weights).sum(0)


def _one_against_rest(prediction: Array, batch: Batch) -> tuple[Array, Array, Array, Array]:
    """Scores and yes or no, `[elements, outputs]`; weights; and which outputs have both a yes and a no."""
    scores, y, weights = _elements(prediction, batch)
    if y.ndim == 1:
        scores, yes = jax.nn.softmax(scores), jax.nn.one_hot(y, scores.shape[-1])
    else:
        yes = (y > 0.5).astype(scores.dtype)
    occurs = weights @ yes
    return scores, yes, weights, (occurs > 0) & (occurs < weights.sum())


def _at_least(score: Array, weights: Array) -> tuple[Array, Array]:
    """Sums of the weights of elements of a larger score than each, and of one at least as large, `[elements]`. By
    sorting: dense targets have too many elements to compare all pairs. NaN where a score is."""
    order = jnp.argsort(-score)
    ranked, sums = -score[order], jnp.concatenate([jnp.zeros(1, weights.dtype), jnp.cumsum(weights[order])])
    larger, at_least = (sums[jnp.searchsorted(ranked, -score, side=side)] for side in ("left", "right"))
    nothing = jnp.where(jnp.isnan(score).any(), jnp.nan, 0.0)
    return larger + nothing, at_least + nothing


def _mean_where(where: Array, values: Array) -> Array:
    """Mean of the values there; NaN if there are none."""
    return jnp.sum(jnp.where(where, values, 0.0)) / where.sum()
