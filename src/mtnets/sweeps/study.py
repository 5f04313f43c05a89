"""Trains settings and tells what became of them; the folder is its memory, so that nothing is trained twice."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mtnets.errors import listed
from mtnets.outer.plan import Plan
from mtnets.stopping import Terminated
from mtnets.sweeps.grid import Setting
from mtnets.sweeps.rows import Row, row_of
from mtnets.sweeps.runs import Job, Problem, Run, jobs_of
from mtnets.sweeps.workers import run_here, run_in_processes

MOST_NAMED = 3  # runs in a line of progress


class Study:
    """The trainings of a sweep.

    Args:
      problem: what all settings share.
      seeds: of each setting.
      folder: for the runs, `SETTING/seed-0`.
      workers: processes that train at a time.
      side_by_side: runs that a program trains at most; None for no bound.
      progress: whether to show progress on standard error.

    Attributes:
      seeds, folder, workers: as given.
    """

    def __init__(
        self,
        problem: Problem,
        seeds: Sequence[int],
        folder: Path,
        *,
        workers: int = 1,
        side_by_side: int | None = None,
        progress: bool = True,
    ) -> None:
        self.seeds, self.folder, self.workers = tuple(seeds), folder, workers
        self._problem, self._side_by_side, self._progress = problem, side_by_side, progress
        self._known: dict[str, list[Run]] = {}

    def alone(self) -> "Study":
        """The same for one setting at a time, on another machine."""
        return Study(self._problem, self.seeds, self.folder.resolve(), side_by_side=self._side_by_side, progress=False)

    def plan(self, setting: Setting) -> Plan:
        """The training of a setting, its seeds side by side.

        Raises:
          OptionError: for a setting that is not possible.
        """
        return self._problem.plan(setting, self.seeds)

    def train(self, settings: Sequence[Setting], done: int = 0, total: int | None = None) -> None:
        """Trains and tests every run of the settings that has not ended; one that was stopped goes on.

        Args:
          settings: what to train.
          done: how many runs of the sweep came before, for the display.
          total: how many there are in all. Defaults to those of the settings.

        Raises:
          OptionError: for a setting that is not possible; nothing is trained before.
          RunError: where a folder holds a run of another configuration, or a run cannot go on.
        """
        runs = [run for setting in settings for run in self._runs(setting)]
        left = [run for run in runs if run.record() is None]
        jobs = list(jobs_of(left, self._side_by_side))
        progress = Progress(done + len(runs) - len(left), total or len(runs), self._progress)
        if len(left) < len(runs):
            progress.say(f"{len(runs) - len(left)} of {len(runs)} runs have ended before")
        try:
            if self.workers > 1 and jobs:
                run_in_processes(jobs, self._problem, self.workers, progress.begins, progress.ends)
            else:
                run_here(jobs, progress.begins, progress.ends, self._progress)
        except (KeyboardInterrupt, Terminated) as stopped:
            raise type(stopped)(
                f"The sweep was stopped; called again, it goes on from its last checkpoints, in {self.folder}."
            ) from None

    def row(self, setting: Setting) -> Row:
        """What became of a setting that was trained."""
        return row_of(setting, self._runs(setting))

    def _runs(self, setting: Setting) -> list[Run]:
        if setting.label not in self._known:
            plan, folder = self.plan(setting), self.folder / setting.folder
            self._known[setting.label] = [
                Run(plan.alone(i), folder / f"seed-{seed}") for i, seed in enumerate(self.seeds)
            ]
        return self._known[setting.label]


class Progress:
    """Which run of how many, and the time that is left, on standard error.

    Args:
      done: runs that have ended.
      total: of the sweep.
      show: whether to show anything.
    """

    def __init__(self, done: int, total: int, show: bool) -> None:
        self._console, self._show = Console(stderr=True), show
        self._begun, self._ended, self._total = done, done, total
        self._since, self._trained = time.perf_counter(), 0

    def begins(self, job: Job) -> None:
        """Tells of runs that begin."""
        first, count = self._begun + 1, len(job.folders)
        self._begun += count
        which = f"run {first}" if count == 1 else f"runs {first} to {first + count - 1}"
        names = listed([f"{folder.parent.name}/{folder.name}" for folder in job.folders], MOST_NAMED)
        beside = ", side by side" * (count > 1)
        self.say(f"{which} of {self._total}{beside}: {names}{self._left()}")

    def ends(self, job: Job) -> None:
        """Tells of runs that have ended."""
        self._ended += len(job.folders)
        self._trained += len(job.folders)
        self.say(f"{self._ended} of {self._total} runs have ended{self._left()}")

    def _left(self) -> str:
        if not self._trained or self._ended == self._total:
            return ""
        seconds = (time.perf_counter() - self._since) / self._trained * (self._total - self._ended)
        return f" · about {int(seconds // 60)}:{int(seconds % 60):02d} left"

    def say(self, text: str) -> None:
        """One line."""
        if self._show:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
