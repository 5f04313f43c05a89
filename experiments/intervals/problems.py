"""The families of tasks on which intervals are compared, with networks and settings of training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mtnets import Model, models, tasks
from mtnets.tasks import Family

Examples = tuple[np.ndarray, np.ndarray]
SHOTS, QUERIES = 10, 10  # of an oscillation
TIMES = (0.0, 10.0)  # when it is observed, seconds


FEATURES = 16  # at most, of a random table
WAYS = 5


class Problem(NamedTuple):
    """A family, and how its learners are trained.

    Attributes:
      title: its name in tables.
      family: builds it.
      network: builds the network, for a number of outputs.
      inner_lr: α at the start; rates are learned.
      meta_batch: tasks per meta-step.
      shorter: by what the number of meta-steps is divided.
      inner_steps: gradient steps within a task.
      losses: with which it is learned.
    """

    title: str
    family: Callable[[], Family]
    network: Callable[[int], Model]
    inner_lr: float
    meta_batch: int = 4
    shorter: int = 1
    inner_steps: int = 2
    losses: tuple[str, ...] = ("mse", "gaussian", "quantile")


def oscillation(rng: np.random.Generator) -> tuple[Examples, Examples]:
    """A damped oscillation `A e⁻ᵞᵗ cos(ωt + φ)`, observed with noise whose size differs from task to task."""
    amplitude, damping = rng.uniform(0.5, 2), rng.uniform(0.05, 0.5)
    frequency, phase = rng.uniform(0.5, 1.5), rng.uniform(0, 2 * np.pi)
    noise = np.exp(rng.uniform(np.log(0.02), np.log(0.3)))
    t = rng.uniform(*TIMES, (SHOTS + QUERIES, 1))
    y = amplitude * np.exp(-damping * t) * np.cos(frequency * t + phase) + noise * rng.normal(size=t.shape)
    x = t - np.mean(TIMES)  # around 0, as networks take it
    return (x[:SHOTS], y[:SHOTS]), (x[SHOTS:], y[SHOTS:])


def curve(outputs: int) -> Model:
    """A network for a function of one number."""
    return models.mlp(1, 40, 40, outputs)


def characters(outputs: int) -> Model:
    """A small conv-4, whose statistics of batch norm are those of the support set, as in use."""
    return models.conv4(outputs, filters=16, image_size=28, channels=1, norm="support")


PROBLEMS = {
    "sine": Problem("sine curves", lambda: tasks.sinusoid(shots=10), curve, 0.01),
    "oscillation": Problem("damped oscillations", lambda: tasks.from_function(oscillation, loss="mse"), curve, 0.01),
    "tables": Problem(
        "random tables",
        lambda: tasks.random_tables(kind="regression", features=FEATURES),
        lambda outputs: models.mlp(FEATURES, 40, outputs, init_std=0.1),
        0.1,
        meta_batch=8,
    ),
    "glyphs": Problem(
        "drawn characters", lambda: tasks.glyphs(ways=WAYS, shots=1), characters, 2.0, 8, 5, 1, ("cross-entropy",)
    ),
}


def training(problem: Problem, meta_steps: int) -> dict[str, Any]:
    """Settings of training."""
    steps = max(1, meta_steps // problem.shorter)
    return {
        "meta_steps": steps,
        "meta_batch": problem.meta_batch,
        "inner_steps": problem.inner_steps,
        "schedule": "cosine",
        "clip_norm": 10.0,
        "skip_nonfinite": 100,
        "validate_every": 0,  # the last learner: validation tasks are for calibration alone
    }
