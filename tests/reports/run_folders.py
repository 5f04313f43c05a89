"""Run folders without a training: what a report and a comparison read of one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtnets.files import write_json
from mtnets.learner.evaluate import Estimate

TASKS = {"family": "sinusoid", "shots": 10, "queries": 10, "network": {"hidden": [40, 40]}}
CONFIG = {
    "run": "0" * 32,
    "tasks": TASKS,
    "model": {"network": "mlp", "sizes": [1, 40, 40, 1]},
    "method": {"name": "maml", "inner_lr": 0.01},
    "training": {"meta_steps": 100, "meta_batch": 4, "inner_steps": 1, "meta_lr": 0.001, "log_every": 50},
    "seed": 0,
    "loss": "mse",
    "optimiser": "adam",
}
LOG = [
    {"step": 50, "post_loss": 3.0, "pre_loss": 4.0, "moving": {"layers.0": 0.4}, "skipped": 0},
    {"step": 50, "validation": [2.5]},
    {"step": 100, "post_loss": 2.0, "pre_loss": None, "moving": {"layers.0": 0.3}, "skipped": 2},
]


def scores(seed: int = 0, tasks: int = 40, better: float = 0.0) -> np.ndarray:
    """Losses before the inner step and after it, `[tasks, 2]`."""
    random = np.random.default_rng(seed)
    before = random.exponential(3.0, tasks)
    return np.stack([before, before / 4 + 0.2 + random.normal(0, 0.05, tasks) - better], 1).astype(np.float32)


def run_folder(
    path: Path, losses: np.ndarray, config: Mapping[str, Any] | None = None, metric: str = "loss", **others: np.ndarray
) -> Path:
    """The folder of a run that ended with these scores.

    Args:
      path: of the folder.
      losses: `[tasks, steps + 1]`.
      config: entries that are not those of `CONFIG`.
      metric: the score, among the others.
      **others: scores beside the loss.
    """
    path.mkdir(parents=True)
    settled = {**CONFIG, **(config or {})}
    estimate = Estimate(metric, others.get(metric, losses), losses, {"loss": losses, **others})
    estimate.save(path / "scores.npz")
    result = {
        "meta_steps": 100,
        "best_meta_step": 50,
        "validation": 2.5,
        "failed": None,
        "norm": "none",
        "seconds_per_meta_step": 0.002,
        "compile_seconds": 1.5,
        "machine": {"backend": "cpu"},
        "config": settled,
        "test": estimate.to_json(),
    }
    write_json(path / "config.json", settled)
    write_json(path / "result.json", result)
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LOG))
    return path
