"""Scores of intervals and of probabilities, each with its interval over tasks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.scores import mean_and_interval

Array = NDArray[Any]
BINS, RESAMPLES = 15, 1000  # of calibration; of its bootstrap over tasks


def of_intervals(low: Array, high: Array, y: Array, coverage: float) -> dict[str, Array]:
    """Share covered, width and interval score (width + 2/α × how far outside; Gneiting & Raftery 2007, equation 43), of
    each task.

    Args:
      low, high, y: `[tasks, queries, targets]`.
      coverage: that the intervals are of.
    """
    outside = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    values = {
        "coverage": outside == 0,
        "width": high - low,
        "interval_score": high - low + 2 / (1 - coverage) * outside,
    }
    return {name: each.mean((1, 2)) for name, each in values.items()}


def log_score(mean: Array, std: Array, y: Array) -> Array:
    """−ln of the density of a normal distribution, of each task."""
    with np.errstate(all="ignore"):
        return -stats.norm.logpdf(y, mean, std).mean((1, 2))


def of_labels(log_probabilities: Array, y: Array) -> dict[str, Array]:
    """Accuracy and −ln of the probability of the label, of each task, for `[tasks, queries, ways]`."""
    of_label = np.take_along_axis(log_probabilities, y[..., None], -1)[..., 0]
    return {"accuracy": (log_probabilities.argmax(-1) == y).mean(1), "log_score": -of_label.mean(1)}


def of_sets(sets: Array, y: Array) -> dict[str, Array]:
    """Share covered and number of labels, of each task, for sets `[tasks, queries, ways]`."""
    held = np.take_along_axis(sets, y[..., None], -1)[..., 0]
    return {"coverage": held.mean(1), "size": sets.sum(-1).mean(1)}


def calibration(log_probabilities: Sequence[Array], y: Array) -> dict[str, float]:
    """Expected calibration error over the queries of all tasks, mean over several models, with half the width of its
    95 % interval by a bootstrap over tasks.

    Args:
      log_probabilities: of each model, `[tasks, queries, ways]`.
      y: labels, `[tasks, queries]`.
    """
    gaps = np.stack([_gaps(each, y) for each in log_probabilities])  # [models, tasks, bins]
    rng, count = np.random.default_rng(0), gaps.shape[1]
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)  # how often each task
    errors = np.abs(np.einsum("rt,mtb->rmb", drawn, gaps)).sum(-1).mean(-1) / y.size
    low, high = np.quantile(errors, [0.025, 0.975])
    return {"mean": float(np.abs(gaps.sum(1)).sum(-1).mean() / y.size), "ci95": float(high - low) / 2}


def _gaps(log_probabilities: Array, y: Array) -> Array:
    """Sums of `right − confidence` in each bin of confidence, `[tasks, bins]`."""
    confidence = np.exp(log_probabilities.max(-1))
    gap = (log_probabilities.argmax(-1) == y) - confidence
    places = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return np.einsum("tq,tqb->tb", gap, np.eye(BINS)[places])


def summary(models: Sequence[dict[str, Array]]) -> dict[str, dict[str, float]]:
    """Means with their intervals over tasks, of which each is averaged over several models.

    Args:
      models: the scores of each model by name, `[tasks]`.
    """
    return {name: mean_and_interval(np.mean([each[name] for each in models], axis=0)) for name in models[0]}
