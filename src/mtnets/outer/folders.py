"""The folders of runs that are trained side by side, one each: what is in each is what the run alone would leave."""

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mtnets.errors import OptionError, RunError, first_line
from mtnets.learner.learner import Learner
from mtnets.outer.checkpoints import KEEP
from mtnets.outer.loop import CheckpointDue, Event, Logged, Position, Validated, as_alone, of_run
from mtnets.outer.plan import Plan, with_tasks_at_once
from mtnets.outer.run import CONFIG, RESULT, RunFolder, RunResult, state, taken
from mtnets.processes import in_first, is_first, largest, of_first


class RunFolders:
    """The files of a training, for one process at a time; a context manager, which gives the folders back.

    Args:
      paths: of the folder of each run.
      plan: the training that they are for.
      resume: go on with the runs that are there, if any.
      overwrite: remove the runs that are there, if any.

    Attributes:
      each: the folder of each run.
      plan: the training; if its number of tasks at once is to be measured, with that of the runs that go on.

    Raises:
      OptionError, RunError: as `RunFolder`.
    """

    def __init__(self, paths: Sequence[Path], plan: Plan, *, resume: bool, overwrite: bool) -> None:
        if not (resume or overwrite):
            in_first(functools.partial(_check_free, paths), None)  # before any of them is made
        with contextlib.ExitStack() as stack:
            self.each = [
                stack.enter_context(RunFolder(path, plan.alone(run), resume=resume, overwrite=overwrite))
                for run, path in enumerate(paths)
            ]
            self._locks = stack.pop_all()
        at_once = self.each[0].plan.training.tasks_at_once
        self.plan = plan if at_once == plan.training.tasks_at_once else with_tasks_at_once(plan, int(at_once))

    def __enter__(self) -> "RunFolders":
        return self

    def __exit__(self, *_: object) -> None:
        self._locks.close()

    def __str__(self) -> str:
        """Where they are."""
        return str(self.each[0].path if len(self.each) == 1 else self.each[0].path.parent)

    def keep(self, plan: Plan) -> None:
        """Writes the configuration of each run."""
        for run, folder in enumerate(self.each):
            folder.keep(plan.alone(run))

    @property
    def last(self) -> int | None:
        """The last meta-step of which every run has a checkpoint; None where there is none, or another process has
        them."""
        if not is_first():
            return None
        return max(set.intersection(*(set(folder.checkpoints.steps) for folder in self.each)), default=None)

    def restored(self, start: Position) -> Position:
        """The position of the last checkpoint that all runs have; the start where none has any. Several processes have
        that of the first one.

        Raises:
          RunError: where runs are so far apart that they were not trained side by side.
        """
        last = largest(in_first(self._rewound, 0))
        if not last:
            return start
        return Position(last, **of_first(in_first(functools.partial(self._read, last, start), state(start))))

    def _rewound(self) -> int:
        """The meta-step that all runs go on from. What they have beyond it is dropped: the process was killed while it
        wrote the checkpoints of one meta-step."""
        last = self.last
        if last is None:
            self._check_together()
        for folder in self.each:
            folder.checkpoints.drop_after(last or 0)
            folder.begin_log(last or 0)
        return last or 0

    def _read(self, last: int, start: Position) -> dict[str, Any]:
        """The checkpoints of a meta-step, side by side."""
        parts = [
            folder.checkpoints.restore(last, state(of_run(start, run) if len(self.each) > 1 else start))
            for run, folder in enumerate(self.each)
        ]
        return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

    def _check_together(self) -> None:
        for folder in self.each:
            if len(folder.checkpoints.steps) >= KEEP or (folder.path / RESULT).exists():
                at = {each.path.name: each.checkpoints.latest or "none" for each in self.each}
                places = ", ".join(f"{name}: {step}" for name, step in at.items())
                raise RunError(
                    f"The runs in {self} cannot go on side by side, since they have no checkpoint of the same "
                    f"meta-step ({places}); resume them one by one, or start anew with overwrite=True."
                )

    @property
    def seconds(self) -> float:
        """Of training until the checkpoint that the runs go on from."""
        return max((folder.checkpoints.seconds for folder in self.each), default=0.0) if is_first() else 0.0

    def record(self, event: Event, seconds: float) -> None:
        """Does what an event of the loop asks for in the folder of each run: a line of the log, or a checkpoint.

        Args:
          event: what happened.
          seconds: of training until now.

        Raises:
          RunError: where a folder was removed, or cannot be written.
        """
        if isinstance(event, Logged | Validated | CheckpointDue):
            for run, folder in enumerate(self.each):
                folder.record(as_alone(self.plan, event, run), seconds)

    def save(self, learners: Sequence[Learner]) -> None:
        """Writes the learner of each run."""
        for learner, folder in zip(learners, self.each, strict=True):
            folder.check_present()
            learner.save(folder.path)

    def save_so_far(self, learners: Sequence[Learner], step: int) -> None:
        """Writes the learner of each run beside the checkpoint of a meta-step, for use before the training has ended.

        Raises:
          RunError: if one cannot be written; the checkpoint stays.
        """
        try:
            self.save(learners)
        except OSError as error:
            raise RunError(
                f"The learner of meta-step {step} could not be written to {self} ({first_line(error)}); the checkpoint "
                f"of meta-step {step} stays. Make room on the disk and go on with resume=True."
            ) from error

    def finish(self, results: Sequence[RunResult]) -> list[RunResult]:
        """Writes the scores of every test task, and the result, of each run."""
        return [folder.finish(result) for folder, result in zip(self.each, results, strict=True)]


def _check_free(paths: Sequence[Path]) -> None:
    """Raises RunError where a folder holds a run."""
    for path in paths:
        if (path / CONFIG).exists():
            raise taken(path)


def folders_below(out: Path, plan: Plan, *, by_rate: bool) -> list[Path]:
    """A folder below `out` for each run: `seed-0`, or `inner-lr-0.01-seed-0` where several rates were named.

    Raises:
      OptionError: for runs that are the same.
      RunError: where `out` is the folder of a run itself.
    """
    if (out / CONFIG).exists():
        raise RunError(f"{out} holds a single run, and several seeds have a folder each below it; name another folder.")
    rates = [f"inner-lr-{rate}-" if by_rate else "" for rate in plan.inner_lrs]
    names = [f"{rate}seed-{seed}" for rate, seed in zip(rates, plan.seeds, strict=True)]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"The run {name} was asked for twice; name each seed and each inner rate once.")
    return [out / name for name in names]
