"""Means and intervals over seeds, tasks, patients or draws."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import stats

from mtnets import Estimate, Learner


def interval95(values: np.ndarray) -> np.ndarray:
    """Half-width of the 95 % interval of the mean over the first axis (Student's t); NaN for a single value."""
    count = len(values)
    if count < 2:
        return np.full(values.shape[1:], np.nan)
    return stats.t.ppf(0.975, count - 1) * values.std(0, ddof=1) / np.sqrt(count)


def mean_and_interval(values: np.ndarray) -> dict[str, float]:
    """Mean of numbers `[n]` and half-width of its 95 % interval."""
    return {"mean": float(values.mean()), "ci95": float(interval95(values))}


def by_rate(learners: Sequence[Learner], inner_lrs: Sequence[float]) -> Iterator[tuple[float, Sequence[Learner]]]:
    """Each inner rate with its learners, one for each seed, in the order in which `meta_train` returns them."""
    seeds = len(learners) // len(inner_lrs)
    for i, inner_lr in enumerate(inner_lrs):
        yield inner_lr, learners[i * seeds : (i + 1) * seeds]


def summarise(estimates: Sequence[Estimate]) -> dict[str, list[Any]]:
    """Per inner step, from the scores of several seeds on the same tasks.

    Args:
      estimates: one for each seed.

    Returns:
      Lists with one entry per inner step. `mean` is over seeds and tasks; `tasks95` the half-width of the 95 % interval
      over tasks, each averaged over seeds; `seeds` the mean of each seed; `seeds95` the half-width of the 95 % interval
      over seeds (Student's t; NaN for one seed); `median` that of all tasks of all seeds; `diverged` the share of them.
    """
    scores = np.stack([estimate.scores for estimate in estimates]).astype(np.float64)  # [seeds, tasks, steps + 1]
    with np.errstate(all="ignore"):
        seeds, tasks = scores.mean(1), scores.mean(0)
        tasks95 = 1.96 * tasks.std(0, ddof=1) / np.sqrt(len(tasks))
        median = np.median(np.where(np.isnan(scores), np.inf, scores).reshape(-1, scores.shape[2]), axis=0)
        seeds95 = interval95(seeds)
    return {
        "mean": seeds.mean(0).tolist(),
        "tasks95": tasks95.tolist(),
        "seeds": seeds.T.tolist(),
        "seeds95": seeds95.tolist(),
        "median": median.tolist(),
        "diverged": np.mean([estimate.diverged for estimate in estimates], axis=0).tolist(),
    }
