"""Draws of rows, and scores of several models on the same draws."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.scores import mean_and_interval

OURS = "few-shot"
Score = Callable[[np.ndarray, np.ndarray], float]


def draw(y: np.ndarray, size: int, seed: int, *, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, `size` of each class or in all, and the other rows."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(y == c) for c in np.unique(y)] if classes else [np.arange(len(y))]
    learn = np.concatenate([rng.choice(group, size, replace=False) for group in groups])
    return learn, np.setdiff1d(np.arange(len(y)), learn)


def compare(
    x: np.ndarray, y: np.ndarray, size: int, draws: int, models: Mapping[str, Any], scores: Mapping[str, Score]
) -> dict[str, Any]:
    """Fits every model on every draw.

    Args:
      x: features `[rows, features]`.
      y: labels or targets `[rows]`.
      size: rows to learn from, of each class if there is a score called `accuracy`.
      draws: number of draws.
      models: estimators of scikit-learn by name; one is `OURS`.
      scores: functions of targets and predictions by name.

    Returns:
      Of each model: the mean of each score with its 95 % interval over draws; the same of our score minus the model's,
      paired by draw; and the seconds of one fit and prediction.
    """
    values = {name: {score: np.zeros(draws) for score in scores} for name in models}
    seconds = dict.fromkeys(models, 0.0)
    for i in range(draws):
        learn, ask = draw(y, size, i, classes="accuracy" in scores)
        for name, model in models.items():
            begun = time.perf_counter()
            prediction = model.fit(x[learn], y[learn]).predict(x[ask])
            seconds[name] += time.perf_counter() - begun
            for score, measure in scores.items():
                values[name][score][i] = measure(y[ask], prediction)
    return {
        name: {
            **{score: mean_and_interval(each) for score, each in values[name].items()},
            **{ahead(score): mean_and_interval(values[OURS][score] - each) for score, each in values[name].items()},
            "seconds": seconds[name] / draws,
        }
        for name in models
    }


def ahead(score: str) -> str:
    """The name of our score minus a model's."""
    return f"{score} of ours − this"


def accuracy(y: np.ndarray, prediction: np.ndarray) -> float:
    """Share of right predictions."""
    return float((y == prediction).mean())


def r2(y: np.ndarray, prediction: np.ndarray) -> float:
    """Share of the variance that is explained."""
    return float(1 - np.square(y - prediction).mean() / y.var())


def mae(y: np.ndarray, prediction: np.ndarray) -> float:
    """Mean absolute error."""
    return float(np.abs(y - prediction).mean())
