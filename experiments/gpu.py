"""All long experiments, in order of value, in pieces.

    while python -m experiments gpu; [ $? = 130 ]; do :; done     # to the end

A piece asks its training to stop after some minutes, which then writes a checkpoint; the next piece goes on there, bit
for bit. The exit status is 130 until all is done. (Searches on sine curves have no checkpoints: one has to fit into a
piece.) Results are those of the experiments themselves, in their folders.
"""

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax

from experiments.images import CifarFs, Fc100, Omniglot
from experiments.methods_on_images import MethodsOnImages
from experiments.methods_on_sine import MethodsOnSine
from experiments.resumable import check
from mtnets import DataError, OptionError, RunError
from mtnets.compilation import keep_programs
from mtnets.tasks.archives.locations import cache_folder

SEEDS = range(3)
FAMILY = ("best", "mt_net", "maml")  # of Omniglot with 5 ways, where all methods are near 99 %


class Experiment(Protocol):
    """An experiment in parts."""

    def __call__(self) -> None: ...
    def done(self) -> dict[str, bool]: ...


class Job(NamedTuple):
    """One experiment of the list, with its name in the list."""

    name: str
    experiment: Experiment


@dataclasses.dataclass(frozen=True)
class Gpu:
    """All long experiments, in order of value, in pieces of some minutes, wherever a GPU is found.

    Attributes:
      minutes: length of a piece, after which it asks to stop; a chunk of meta-steps and a checkpoint follow.
      only: names of the list; nothing for all.
      dry_run: print the list, with what is done.
      anyway: run on this processor where there is no GPU.
      root: where the data are. Defaults to `$MTNETS_DATA`, then `data`.
      cache: folder for unpacked images. Defaults to `$MTNETS_CACHE`, then `~/.cache/mtnets`.
      runs: folder for run folders.
      out: folder of the results.
    """

    minutes: float = 10.0
    only: tuple[str, ...] = ()
    dry_run: bool = False
    anyway: bool = False
    root: str = ""
    cache: str = ""
    runs: str = "runs"
    out: str = "results"

    def __call__(self) -> None:
        """Runs a piece, or prints the list."""
        jobs = self.jobs()
        if not 0 < self.minutes < float("inf"):
            raise OptionError(f"minutes is {self.minutes}; it must be a number above 0.")
        if self.only:
            check(self, {}, {"only": [job.name for job in jobs]})
            jobs = [job for job in jobs if job.name in self.only]
        if self.dry_run:
            print("\n".join(map(state, jobs)))
            return
        if jax.default_backend() != "gpu" and not self.anyway:
            raise RunError(
                f"No GPU is found (JAX runs on {jax.default_backend()}), and these experiments take days without one; "
                "run them where there is one, or say --anyway."
            )
        keep_programs(cache_folder(self.cache) / "programs")  # else each piece would compile them again
        with stopped_after(60 * self.minutes):
            run(jobs)

    def jobs(self) -> list[Job]:
        """The list, in order of value."""
        data: dict[str, Any] = {"root": self.root, "cache": self.cache}

        def places(name: str) -> dict[str, Any]:
            runs, out = (str(Path(folder, "reproduce", name)) for folder in (self.runs, self.out))
            return {**data, "runs": runs, "out": out}

        runs, out = (str(Path(folder, "methods-on-images")) for folder in (self.runs, self.out))
        sine_runs, sine_out = (str(Path(folder, "methods-on-sine-10-seeds")) for folder in (self.runs, self.out))
        return [
            *(Job(f"omniglot-20way-seed{s}", Omniglot(ways=(20,), seed=s, **places("omniglot"))) for s in SEEDS),
            Job("omniglot-5way", Omniglot(FAMILY, ways=(5,), **places("omniglot"))),
            Job("cifar-fs", CifarFs(("best", "maml"), **places("cifar-fs"))),
            Job("fc100", Fc100(("best", "maml"), **places("fc100"))),
            Job("methods-on-images", MethodsOnImages(**data, runs=runs, out=out)),
            Job("sine-10-seeds", MethodsOnSine(seeds=10, runs=sine_runs, out=sine_out)),
        ]


def run(jobs: list[Job]) -> None:
    """Runs one job after another; those whose data are absent do not hold up the others.

    Raises:
      RunError: in the end, if there were such.
    """
    absent = []
    for job in jobs:
        try:
            job.experiment()
        except DataError as error:
            absent.append(f"{job.name} cannot run: {error}")
    if absent:
        raise RunError(" ".join(absent))


def state(job: Job) -> str:
    """A line of the list: how many of a job's parts are done, and which is next."""
    try:
        done = job.experiment.done()
    except DataError as error:
        return f"{job.name:24} cannot run: {error}"
    missing = [name for name, there in done.items() if not there]
    rest = f"next {missing[0]}" if missing else "done"
    return f"{job.name:24} {len(done) - len(missing):4} of {len(done):4}  {rest}"


@contextlib.contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Ctrl-C after so many seconds within the block, as a training understands it: a checkpoint, and an end."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
    timer = threading.Timer(seconds, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
