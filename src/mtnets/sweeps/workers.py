"""Programs of a sweep one after another in this process, or in several processes of this machine."""

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mtnets.devices import cores, use_cores
from mtnets.errors import MtnetsError, OptionError, RunError, first_line
from mtnets.outer.plan import make_plan
from mtnets.precision import SETTINGS
from mtnets.stopping import Terminated, stopping
from mtnets.sweeps.runs import Job, Problem
from mtnets.tasks import Family, Options

POLL_SECONDS = 0.5  # after which a signal to stop is noticed


class Parcel(NamedTuple):
    """A job as another process can be told of it: a program is built there again.

    Attributes:
      problem: of the sweep; tasks are their options.
      job: what of the job's plan can be sent.
      config: what the plan has to come to.
      precision: of products, as JAX was told it.
      devices: CPU devices for the process.
    """

    problem: dict[str, Any]
    job: dict[str, Any]
    config: dict[str, Any]
    precision: str | None
    devices: int


def run_here(jobs: Sequence[Job], begins: Callable[[Job], None], ends: Callable[[Job], None], progress: bool) -> None:
    """Runs jobs one after another in this process."""
    for job in jobs:
        begins(job)
        job(progress)
        ends(job)


def run_in_processes(
    jobs: Sequence[Job],
    problem: Problem,
    workers: int,
    begins: Callable[[Job], None],
    ends: Callable[[Job], None],
) -> None:
    """Runs jobs in processes, a new one for each, several at a time.

    Raises:
      OptionError: for what cannot be sent to another process.
      RunError: for what went wrong in one of them; the others stop with a checkpoint.
    """
    parcels = [_packed(job, problem, max(1, cores() // workers)) for job in jobs]
    context, waiting = multiprocessing.get_context("spawn"), list(zip(jobs, parcels, strict=True))
    running: dict[Any, tuple[Any, Any, Job]] = {}  # by what tells that a process has ended

    def end_all() -> None:
        for process, _, _ in running.values():
            process.terminate()  # it stops with a checkpoint
        for process, _, _ in running.values():
            process.join()

    with stopping() as asked:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    job, parcel = waiting.pop(0)
                    messages, sending = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(parcel, sending), daemon=True)
                    begins(job)
                    process.start()
                    sending.close()
                    running[process.sentinel] = process, messages, job
                for sentinel in multiprocessing.connection.wait(list(running), POLL_SECONDS):
                    process, messages, job = running.pop(sentinel)
                    process.join()
                    _check(process, messages)
                    ends(job)
                if asked:
                    asked.stop("")
        finally:
            end_all()


def _packed(job: Job, problem: Problem, devices: int) -> bytes:
    tasks = problem.tasks
    options = tasks.options if isinstance(tasks, Family) else None
    plan = job.plan
    parcel = Parcel(
        {"model": problem.model, "tasks": tasks if options is None else options, "criterion": dict(problem.criterion)},
        {
            "method": plan.method,
            "training": dataclasses.asdict(plan.training),
            "seeds": plan.seeds,
            "inner_lrs": plan.inner_lrs,
            "folders": job.folders,
            "resume": job.resume,
        },
        plan.config,
        SETTINGS.jax_default_matmul_precision,
        devices,
    )
    try:
        return pickle.dumps(parcel)
    except (pickle.PicklingError, AttributeError, TypeError, RunError) as error:
        raise OptionError(
            f"What is trained cannot be sent to other processes ({first_line(error)}); use workers=1, or networks, "
            "tasks and losses that they can import."
        ) from error


def _work(packed: bytes, sending: Any) -> None:
    """What a process does: it trains a job, and tells what went wrong."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # Ctrl-C reaches the parent, which tells its children
    parent = multiprocessing.parent_process()
    threading.Thread(target=_outlive_not, args=(parent,), daemon=True).start()
    try:
        parcel: Parcel = pickle.loads(packed)
        use_cores(parcel.devices)
        SETTINGS.update("jax_default_matmul_precision", parcel.precision)
        _job(parcel)()
    except MtnetsError as error:
        sending.send(str(error))
        sys.exit(1)
    except (KeyboardInterrupt, Terminated):
        sys.exit(128 + signal.SIGTERM)


def _job(parcel: Parcel) -> Job:
    """The job of a parcel.

    Raises:
      RunError: where it does not come to the same configuration here.
    """
    problem, job = parcel.problem, parcel.job
    tasks = problem["tasks"].build() if isinstance(problem["tasks"], Options) else problem["tasks"]
    rates: list[float] = list(dict.fromkeys(job["inner_lrs"]))
    plan = make_plan(
        problem["model"],
        job["method"],
        tasks,
        seed=[0],
        inner_lr=rates,
        **problem["criterion"],
        options=job["training"],
    )
    plan = dataclasses.replace(plan, seeds=job["seeds"], inner_lrs=job["inner_lrs"])
    if plan.config != parcel.config:
        raise RunError(
            "The tasks are not what their options say, so that other processes cannot make them again; use workers=1."
        )
    return Job(plan, job["folders"], job["resume"])


def _outlive_not(parent: Any) -> None:
    """Stops this process, with a checkpoint, when its parent has ended."""
    multiprocessing.connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _check(process: Any, messages: Any) -> None:
    """Raises RunError for a process that did not end well."""
    message = ""
    with contextlib.suppress(EOFError):
        message = messages.recv() if messages.poll() else ""
    if message:
        raise RunError(message)
    if process.exitcode:
        raise RunError(
            f"A process of the sweep ended with status {process.exitcode}; call it again to go on, with fewer workers "
            "if memory was short."
        )
