"""The runs of a sweep, and which of them are trained side by side in one program."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtnets.files import read_json, write_json
from mtnets.inner import Distribution
from mtnets.networks.model import Model
from mtnets.outer.checkpoints import latest
from mtnets.outer.plan import Plan, make_plan
from mtnets.outer.run import CHECKPOINTS, CONFIG, RESULT, check_fits
from mtnets.outer.train import NotFinite, train_in
from mtnets.sweeps.grid import Setting
from mtnets.tasks import Family

FAILURE = "failure.json"  # in the place of a result, where nothing was learned before a run failed


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """What all settings of a sweep share.

    Attributes:
      model: the network; None for the task family's usual one.
      tasks: where tasks come from.
      criterion: `loss`, `inner_loss`, `metrics` and `best`, as for `meta_train`.
    """

    model: Model | None
    tasks: Family | Distribution
    criterion: Mapping[str, Any]

    def plan(self, setting: Setting, seeds: Sequence[int]) -> Plan:
        """The training of a setting, its seeds side by side.

        Raises:
          OptionError: for a setting that is not possible.
        """
        return make_plan(
            self.model, setting.method, self.tasks, seed=seeds, **self.criterion, options=dict(setting.training)
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One seed of one setting.

    Attributes:
      plan: of this run alone.
      folder: where it is.
    """

    plan: Plan
    folder: Path

    def record(self) -> dict[str, Any] | None:
        """What `result.json` or `failure.json` says of a run that has ended; None of one that is to be trained.

        Raises:
          RunError: where the folder holds a run of another configuration.
        """
        check_fits(self.folder, self.plan)
        training = self.plan.training
        for name in (RESULT, FAILURE):
            try:
                record = read_json(self.folder / name)
                if record["failed"] is not None:  # with so many meta-steps left out it would fail again
                    ended = record["config"]["training"]["skip_nonfinite"] == training.skip_nonfinite
                else:
                    ended = record["meta_steps"] == training.meta_steps or record.get("stopped_early", False)
                    ended &= record["test"]["num_tasks"] == training.test_tasks
            except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged and written anew
                continue
            return record if ended else None
        return None

    @property
    def start(self) -> int | None:
        """The meta-step that it would go on from; None where it would begin: there is nothing, or it has failed."""
        if not (self.folder / CONFIG).exists() or self._failed():
            return None
        return latest(self.folder / CHECKPOINTS) or 0

    def _failed(self) -> bool:
        for name in (RESULT, FAILURE):
            try:
                if read_json(self.folder / name)["failed"] is not None:
                    return True
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return False


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """Runs that one program trains side by side: what differs among them are seeds and inner rates.

    Attributes:
      plan: of all of them.
      folders: one for each.
      resume: whether they go on from a checkpoint.
    """

    plan: Plan
    folders: tuple[Path, ...]
    resume: bool

    def __call__(self, progress: bool = False) -> None:
        """Trains and tests them. That all fail is written down, and is no error."""
        try:  # what is left of runs that failed is removed where they begin anew
            train_in(self.folders, self.plan, resume=self.resume, overwrite=not self.resume, progress=progress)
        except NotFinite as error:
            for run, (folder, step) in enumerate(zip(self.folders, error.failed, strict=True)):
                write_json(folder / FAILURE, {"failed": step, "why": str(error), "config": self.plan.alone(run).config})


def jobs_of(runs: Sequence[Run], side_by_side: int | None = None) -> Iterator[Job]:
    """The programs that train runs, which have not ended.

    Args:
      runs: what is to be trained.
      side_by_side: how many a program trains at most; None for no bound.
    """
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault((run.plan.method, run.plan.training, run.start), []).append(run)
    for (_, _, start), group in groups.items():
        together = group[0].plan.training.patience == 0  # or each ends at a time of its own
        most = (side_by_side or len(group)) if together else 1
        for i in range(0, len(group), most):
            part = group[i : i + most]
            plan = dataclasses.replace(
                part[0].plan,
                seeds=tuple(run.plan.seeds[0] for run in part),
                inner_lrs=tuple(run.plan.inner_lrs[0] for run in part),
            )
            yield Job(plan, tuple(run.folder for run in part), start is not None)
