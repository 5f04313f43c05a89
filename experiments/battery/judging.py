"""Errors on cells never seen, with settings that other cells choose, and the seconds that a new cell takes."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.battery.cells import VOLTS, Laboratory, NewCells
from experiments.scores import interval95
from mtnets import Learner, evaluate
from mtnets.inner import Distribution, Task
from mtnets.learner import TEST_SEED
from mtnets.learner.evaluate import draw_each

Array = NDArray[Any]
Predict = Callable[[Array], Any]
Fit = Callable[[Array, Array], Predict]  # given inputs and targets of a task, in units of the network
Scores = dict[str, Any]

SHOTS = (5, 10, 20)
AS_TRAINED, MORE_WORN = "as in training", "more worn"
WEAR = {AS_TRAINED: (0.0, 1.0), MORE_WORN: (1.0, 1.5)}
CHOOSING_SEED, CHOOSING_TASKS = 1, 100  # of the tasks by which settings are chosen
CLOSE = 20.0  # mV, that a model should come to
TIMED, TIMED_SHOTS = 30, 10  # cells whose seconds are taken; readings of each


class Candidate(NamedTuple):
    """Learners of several seeds at a rate of the inner optimiser.

    Attributes:
      learners: one for each seed.
      rate: that they were trained with, or are to take.
      given: whether they are to take it.
    """

    learners: Sequence[Learner]
    rate: float
    given: bool = False


class Setting(NamedTuple):
    """What other cells have chosen.

    Attributes:
      candidate: learners and rate.
      steps: inner steps.
      tried: the least error of each candidate, mV.
    """

    candidate: Candidate
    steps: int
    tried: tuple[float, ...]


def others(shots: int) -> Laboratory:
    """Cells of the laboratory that no network is trained on."""
    return Laboratory(cells=100, seed=1, shots=(shots,))


def millivolts(mean_squares: Array) -> Array:
    """Root mean square errors in mV."""
    return 1000 * VOLTS * np.sqrt(np.asarray(mean_squares, np.float64))


def errors(candidate: Candidate, tasks: Distribution, count: int, most: int, seed: int = TEST_SEED) -> Array:
    """Error of each task before the first inner step and after each, mV, `[seeds, tasks, most + 1]`."""
    rate = candidate.rate if candidate.given else None
    estimates = [
        evaluate(learner, tasks, count, inner_steps=most, inner_lr=rate, seed=seed) for learner in candidate.learners
    ]
    return millivolts(np.stack([estimate.losses for estimate in estimates]))


def chosen(candidates: Sequence[Candidate], shots: int, most: int) -> Setting:
    """The candidate and the steps with the least mean error over seeds and over cells that no network is trained on."""
    tasks = others(shots)
    means = np.array([errors(each, tasks, CHOOSING_TASKS, most, CHOOSING_SEED).mean((0, 1)) for each in candidates])
    means = np.nan_to_num(means, nan=np.inf)  # where it diverges
    best, steps = np.unravel_index(means.argmin(), means.shape)
    return Setting(candidates[int(best)], int(steps), tuple(means.min(1).tolist()))


def drawn(tasks: Distribution, count: int, seed: int = TEST_SEED) -> Task:
    """The tasks that `errors` judges, `[tasks, …]`."""
    return jax.device_get(draw_each(tasks, jax.random.split(jax.random.key(seed), count)))


def errors_of(fit: Fit, tasks: Task) -> Array:
    """Error of each task, mV, `[tasks]`, of a model fitted to it."""
    squares = [
        np.square(fit(x, y)(new) - truth).mean()
        for x, y, new, truth in zip(tasks.support.x, tasks.support.y, tasks.query.x, tasks.query.y, strict=True)
    ]
    return millivolts(np.array(squares))


def summary(scores: Array) -> Scores:
    """Mean over seeds and tasks, and what it varies by.

    Args:
      scores: errors `[seeds, tasks]`, mV.

    Returns:
      `mean`; `ci95`, half the 95 % interval over tasks, each averaged over seeds; `seeds`, the mean of each; `median`;
      `close`, the share of tasks within `CLOSE`; `errors`, of each task, averaged over seeds.
    """
    of_tasks = scores.mean(0)
    return {
        "mean": float(scores.mean()),
        "ci95": float(interval95(of_tasks)),
        "seeds": scores.mean(1).tolist(),
        "median": float(np.median(scores)),
        "close": float((scores <= CLOSE).mean()),
        "errors": of_tasks.round(2).tolist(),
    }


def seconds(fit: Fit) -> dict[str, float]:
    """The median seconds in which a model learns a cell and predicts it at 50 loads, and those of ridge regression,
    which is asked in turn with it: both share what else the machine does. Programs are compiled already."""
    from experiments.battery.models import ridge

    tasks = drawn(NewCells(TIMED_SHOTS, WEAR[AS_TRAINED]), TIMED + 1)
    taken: dict[str, list[float]] = {"seconds": [], "ridge": []}
    for i in range(TIMED + 1):
        x, y, new = tasks.support.x[i], tasks.support.y[i], tasks.query.x[i]
        for name, model in zip(taken, (fit, ridge), strict=True):
            begun = time.perf_counter()
            np.asarray(model(x, y)(new))
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(each[1:]) for name, each in taken.items()}  # the first one compiles
