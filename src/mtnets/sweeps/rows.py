"""What became of each setting: its scores on validation and on test tasks, read from the folders of its runs."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtnets.errors import RunError
from mtnets.outer.run import read_scores
from mtnets.sweeps.grid import Setting
from mtnets.sweeps.intervals import Interval, interval95, mean_over
from mtnets.sweeps.runs import Run


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """A setting and its runs.

    Attributes:
      setting: what was varied.
      folders: of all its runs, by seed; each holds a learner, unless it failed before there was one.
      failed: the meta-step at which a run failed, by seed.
      seeds: of the runs that did not.
      scores: of these on each test task, `[seeds, tasks]`; masked where a metric is not defined.
      validations: score of each of these on validation tasks; NaN where it is not finite.
      seconds: of training, its share where a program trained several runs; tests do not count.
    """

    setting: Setting
    folders: Mapping[int, Path]
    failed: Mapping[int, int]
    seeds: tuple[int, ...]
    scores: np.ndarray
    validations: tuple[float, ...]
    seconds: float

    @property
    def over_tasks(self) -> Interval:
        """Mean test score with its interval over tasks, each averaged over seeds."""
        return interval95(mean_over(self.scores, 0))

    @property
    def over_seeds(self) -> Interval:
        """Mean test score with its interval over seeds."""
        return interval95(mean_over(self.scores, 1))

    @property
    def of_seeds(self) -> list[float]:
        """Mean test score of each seed."""
        return np.ma.filled(mean_over(self.scores, 1), np.nan).tolist()

    @property
    def validation(self) -> float:
        """Mean validation score; NaN if one is not finite, or a run failed: such a setting is never chosen."""
        return float(np.mean(self.validations)) if self.seeds and not self.failed else float("nan")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        test, seeds = self.over_tasks, self.over_seeds
        return {
            "setting": self.setting.label,
            "method": self.setting.title,
            "varied": {name: value if _is_plain(value) else str(value) for name, value in self.setting.varied.items()},
            "seeds": list(self.seeds),
            "failed": {str(seed): step for seed, step in self.failed.items()},
            "test": {
                "mean": test.mean,
                "ci95_tasks": test.half,
                "ci95_seeds": seeds.half,
                "of_seeds": self.of_seeds,
            },
            "validation": {"mean": self.validation, "of_seeds": list(self.validations)},
            "seconds": self.seconds,
        }


def row_of(setting: Setting, runs: Sequence[Run]) -> Row:
    """The row of a setting whose runs have all ended.

    Raises:
      RunError: where one has not, or its files are damaged.
    """
    failed: dict[int, int] = {}
    scores, validations, seconds, seeds = [], [], 0.0, []
    for run in runs:
        record, seed = run.record(), run.plan.seeds[0]
        if record is None:
            raise RunError(f"The run in {run.folder} has not ended; call the sweep again to go on.")
        if record["failed"] is not None:
            failed[seed] = record["failed"]
        if "test" not in record:
            continue
        try:
            seconds += _seconds(record)
            if record["failed"] is None:
                scores.append(read_scores(run.folder, record).final_scores)
                validations.append(np.nan if record["validation"] is None else float(record["validation"]))
                seeds.append(seed)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"The result in {run.folder} is damaged ({error}); remove the folder and call the sweep again."
            ) from error
    folders = {run.plan.seeds[0]: run.folder for run in runs}
    stacked = np.ma.stack(scores) if scores else np.ma.zeros((0, 0))
    return Row(setting, folders, failed, tuple(seeds), stacked, tuple(validations), seconds)


def _seconds(record: Mapping[str, Any]) -> float:
    """Of training and compilation; those of a program are shared by the runs that it trained."""
    steps = record["meta_steps"] * (record["seconds_per_meta_step"] or 0.0)
    return (steps + record["compile_seconds"]) / record["machine"]["side_by_side"]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
