"""Kills, failing writes, signals and worse, put into trainings; after each of them the run goes on to the same bits.

    python -m tests.faults.campaign --trials 100 --replays 2000 --report results/faults/campaign.json

A trial is a run folder and two to four trainings in it: the first ones are hit by a fault, the last one is left alone
and has to end as a training does that nothing happened to. All of them are forked from one process, which has imported
everything and started nothing.

Most of the time of a training goes into compilation, which writes nothing. So most trials replay one: the events of a
real training, recorded once, go through the same code to the run folder, without the meta-steps between them.
"""

import argparse
import ctypes
import dataclasses
import os
import pickle
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

HERE = Path(__file__).parent
SECONDS = 600  # after which a training counts as hanging
COMMAND = (
    "train sinusoid --method maml --shots 2 --meta-steps 8 --meta-batch 2 --validate-every 4 --validation-tasks 2 "
    "--test-tasks 2 --log-every 2 --checkpoint-every 2 --devices 1 --quiet --resume --out"
)
ERRORS = {"EIO": 5, "ENOSPC": 28, "EACCES": 13, "EROFS": 30}


@dataclasses.dataclass
class Fault:
    """What happens to a training.

    Attributes:
      name: of its kind, for the report.
      environment: for `faulty.c`.
      signals: numbers with the seconds after which they are sent.
      inside: what the process does before it trains.
      beside: what happens to the folder, with the seconds after which it does.
      runs_on: whether the training may end well all the same.
    """

    name: str
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    signals: tuple[tuple[int, float], ...] = ()
    inside: Callable[[], None] | None = None
    beside: tuple[Callable[[Path], None], float] | None = None


@dataclasses.dataclass
class Outcome:
    """How a training ended: its exit status (negative for a signal, None for a hang), and what it said."""

    status: int | None
    said: str


Work = Callable[[Path], int]  # trains in a folder, resuming what is there, and returns an exit status


def attempt(work: Work, folder: Path, fault: Fault | None = None) -> Outcome:
    """Trains in a folder, in a process of its own."""
    fault = fault or Fault("none")
    said = folder.parent / "said"
    pid = os.fork()
    if pid == 0:
        _child(work, folder, fault, said)
    begun, sent = time.monotonic(), 0
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return Outcome(os.waitstatus_to_exitcode(status), said.read_text(errors="replace"))
        seconds = time.monotonic() - begun
        for number, after in fault.signals[sent:]:
            if seconds >= after:
                os.kill(pid, number)
                sent += 1
        if fault.beside is not None and seconds >= fault.beside[1]:
            fault.beside[0](folder)
            fault.beside = None
        if seconds > SECONDS:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Outcome(None, said.read_text(errors="replace"))
        time.sleep(0.01)


def _child(work: Work, folder: Path, fault: Fault, said: Path) -> None:
    """The training process; never returns."""
    status = 70
    try:
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update({"FAULT_FOLDER": str(folder), **fault.environment})
        if fault.inside is not None:
            fault.inside()
        status = work(folder)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        ctypes.CDLL(None).faulty_tell()
        os._exit(status)


# --- what trains


def train(folder: Path) -> int:
    """The command of the shell."""
    from mtnets.cli import run

    sys.argv = ["mtnets", *COMMAND.split(), str(folder)]
    return run()


def record(folder: Path, path: Path) -> int:
    """The same, with everything that goes to the run folder kept in a pickle."""
    from mtnets.outer.run import RunFolder

    events: list[Any] = []
    kept: dict[str, Any] = {"events": events}
    on_event, on_finish, on_open = RunFolder.record, RunFolder.finish, RunFolder.__init__

    def opened(self: RunFolder, path: Path, plan: Any, **choices: bool) -> None:
        kept["plan"] = types.SimpleNamespace(config=plan.config, seeds=plan.seeds, training=plan.training)
        on_open(self, path, plan, **choices)

    def recorded(self: RunFolder, event: Any, seconds: float) -> None:
        position = jax.tree.map(np.asarray, event.position)._replace(step=event.position.step)
        events.append(dataclasses.replace(event, position=position))
        on_event(self, event, seconds)

    def finished(self: RunFolder, result: Any) -> Any:
        kept["result"] = pickle.dumps(result)
        return on_finish(self, result)

    RunFolder.__init__, RunFolder.record, RunFolder.finish = opened, recorded, finished  # type: ignore[method-assign]
    status = train(folder)
    path.write_bytes(pickle.dumps(kept))
    return status


def replay(recording: dict[str, Any]) -> Work:
    """What puts a recording into a folder as a training would, from its last checkpoint on."""

    def work(folder: Path) -> int:
        from mtnets.errors import MtnetsError
        from mtnets.outer.loop import CheckpointDue
        from mtnets.outer.run import RunFolder, state

        try:
            with RunFolder(folder, recording["plan"], resume=True, overwrite=False) as run:
                events = recording["events"]
                latest = run.checkpoints.latest or 0
                if latest:
                    due = next(e for e in events if isinstance(e, CheckpointDue) and e.position.step == latest)
                    read = run.checkpoints.restore(latest, state(due.position))
                    same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == b.tobytes(), read, state(due.position))
                    assert all(jax.tree.leaves(same)), "a checkpoint is not what was saved"
                run.begin_log(latest)
                for event in events:
                    if event.position.step > latest:
                        run.record(event, seconds=0.0)
                run.check_present()
                result = pickle.loads(recording["result"])
                result.learner.save(folder)
                run.finish(result)
        except MtnetsError as error:
            print(f"mtnets: {error}")
            return 1
        except OSError as error:
            print(f"mtnets: {error.filename or 'a file'}: {error.strerror or error}.")
            return 1
        return 0

    return work


# --- what is looked at


def steps(folder: Path) -> list[int]:
    """The meta-steps with a checkpoint."""
    return sorted(int(path.stem) for path in (folder / "checkpoints").glob("[0-9]*.safetensors"))


def half_files(folder: Path) -> list[str]:
    """The files that are there and not whole. A line of the log may be cut short: the last one."""
    from mtnets.files import checked, parse_json, read_json
    from mtnets.learner.tensors import read_tensors

    wrong = []
    for name in ("config.json", "result.json", "learner.json"):
        if (folder / name).exists():
            try:
                read_json(folder / name)
            except ValueError as error:
                wrong.append(f"{name}: {error}")
    lines = (folder / "metrics.jsonl").read_bytes().split(b"\n") if (folder / "metrics.jsonl").exists() else []
    for line in lines[:-1]:
        try:
            checked(parse_json(line))
        except ValueError as error:
            wrong.append(f"metrics.jsonl: {error}")
    if (folder / "learner.safetensors").exists():
        try:
            read_tensors(folder / "learner.safetensors")
        except Exception as error:
            wrong.append(f"learner.safetensors: {error}")
    return wrong


def contents(folder: Path) -> dict[str, Any]:
    """What a training leaves, without what may differ between two that are the same: times, and the run's name."""
    import numpy as np

    from mtnets.files import read_json
    from mtnets.learner.tensors import read_tensors
    from tests.samples import log_without_times

    arrays, _ = read_tensors(folder / "learner.safetensors")
    with np.load(folder / "scores.npz") as scores:
        tested = {name: scores[name].tobytes() for name in scores.files}
    return {
        "learner": {name: array.tobytes() for name, array in sorted(arrays.items())},
        "scores": tested,
        "log": log_without_times(folder),
        "test": read_json(folder / "result.json")["test"],
        "names": sorted(path.name for path in folder.iterdir()),
        "checkpoints": sorted(path.name for path in (folder / "checkpoints").iterdir()),
    }


def hit(work: Work, fault: Fault, folder: Path, wrong: list[str]) -> Outcome:
    """A training with a fault. What must not happen is added to `wrong`."""
    before = steps(folder)[-1:]
    outcome = attempt(work, folder, fault)
    gone = not folder.exists()
    after = steps(folder)[-1:]
    if outcome.status is None:
        wrong.append("hang")
    if "Traceback" in outcome.said:
        wrong.append(f"traceback: {outcome.said[-1500:]}")
    if not gone and before and after < before:
        wrong.append(f"lost: checkpoints {before} before and {after} after")
    if not gone:
        wrong.extend(f"half file: {each}" for each in half_files(folder))
    if outcome.status == 0 and not (folder / "result.json").exists():
        wrong.append(f"claims more than happened: {outcome.said[-300:]}")
    if outcome.status == 1 and not outcome.said.strip().splitlines()[-1:][0].startswith("mtnets: "):
        wrong.append(f"no sentence: {outcome.said[-300:]}")
    return outcome


def trial(work: Work, faults: list[Fault], whole: dict[str, Any], folder: Path) -> tuple[list[str], list[str]]:
    """Trainings with these faults, one after another in one folder, and one that is left alone: how each ended, and
    what went wrong."""
    wrong: list[str] = []
    shutil.rmtree(folder, ignore_errors=True)
    ends = [f"{fault.name}: {hit(work, fault, folder, wrong).status}" for fault in faults]
    last = attempt(work, folder)
    if last.status != 0:
        wrong.append(f"lost: what was left does not go on: {last.status} {last.said[-1500:]}")
    else:
        now = contents(folder)
        wrong.extend(
            f"differs: {part}: {now[part]!r:.300} for {value!r:.300}"
            for part, value in whole.items()
            if now[part] != value
        )
    return ends, wrong


# --- kinds of faults


def kill_at(n: int) -> Fault:
    return Fault("kill at a change of a file", {"FAULT_AT": str(n), "FAULT_KIND": "kill"})


def tear_at(n: int) -> Fault:
    return Fault("kill in the middle of a write", {"FAULT_AT": str(n), "FAULT_KIND": "tear"})


def fail_at(n: int, error: str, *, ever: bool) -> Fault:
    kind = f"{ERRORS[error]}{'+' * ever}"
    return Fault(f"{error} {'from a change on' if ever else 'once'}", {"FAULT_AT": str(n), "FAULT_KIND": kind})


def killed_after(seconds: float) -> Fault:
    return Fault("SIGKILL at a moment", signals=((signal.SIGKILL, seconds),))


def asked_after(seconds: float, number: signal.Signals, again: float | None = None) -> Fault:
    more = () if again is None else ((number, seconds + again),)
    return Fault(f"{number.name}{' twice' * (again is not None)}", signals=((number, seconds), *more))


def removed_after(seconds: float) -> Fault:
    return Fault("folder removed", beside=(lambda folder: shutil.rmtree(folder, ignore_errors=True), seconds))


def clock_jumps() -> Fault:
    def jump() -> None:
        real, start = time.time, time.time()
        time.time = lambda: real() + (86_400 if int(10 * (real() - start)) % 2 else -86_400)

    return Fault("clock jumps by a day and back", inside=jump)


def little_memory(megabytes: int) -> Fault:
    def limit() -> None:
        import resource

        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + (megabytes << 20),) * 2)

    return Fault("little memory", inside=limit)


def draw(rng: random.Random, n: int, seconds: float, changes: int, *, replayed: bool) -> list[Fault]:
    """The faults of the `n`-th trial: in turn each change of a file, and a second fault on what the first one left."""
    at, error = n // 3 % changes + 1, rng.choice(list(ERRORS))
    later = rng.randint(1, changes)
    first = [kill_at(at), tear_at(at), fail_at(at, error, ever=rng.random() < 0.5)][n % 3]
    second = rng.choice(
        [kill_at(later), tear_at(later), killed_after(rng.uniform(0, seconds)), fail_at(later, error, ever=True)]
    )
    if replayed:
        return [first, second]
    moment = rng.uniform(0, seconds)
    rare = [
        asked_after(moment, signal.SIGINT),
        asked_after(moment, signal.SIGTERM),
        asked_after(moment, signal.SIGINT, 0.05),
        killed_after(moment),
        removed_after(moment),
        clock_jumps(),
        little_memory(rng.randint(20, 600)),
    ]
    return [rare[n % len(rare)], rng.choice([first, second])]


# --- the campaign


def preloaded(arguments: list[str]) -> int:
    """This module again, in a process that `faulty.c` is preloaded into."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "faulty.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "faulty.c", "-ldl"], check=True)
        environment = os.environ | {"LD_PRELOAD": str(library), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir(), "mtnets-faults")))
        environment["MTNETS_REPORT"] = "0"  # nothing of a run depends on it, and it takes as long as these trainings
        command = [sys.executable, "-m", "tests.faults.campaign", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100, help="whole trainings with faults")
    parser.add_argument("--replays", type=int, default=2000, help="replays of a training with faults")
    parser.add_argument("--first", type=int, default=0, help="number of the first one; each has its own faults")
    parser.add_argument("--report", type=Path, default=None, help="a JSON file; results are added to those in it")
    options = parser.parse_args(arguments)
    if "LD_PRELOAD" not in os.environ:
        return preloaded(arguments)

    from mtnets.files import read_json, write_json

    report: dict[str, Any] = {}
    if options.report is not None and options.report.exists():
        report = read_json(options.report)
    report["machine"] = {"system": platform.system(), "cores": os.cpu_count(), "python": platform.python_version()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recording = folder / "recording"
        assert attempt(lambda out: record(out, recording), folder / "first").status == 0
        replayed = replay(pickle.loads(recording.read_bytes()))
        for kind, work, count in (("replays", replayed, options.replays), ("trainings", train, options.trials)):
            if count:
                numbers = range(options.first, options.first + count)
                for _ in _series(kind, work, numbers, folder, report.setdefault(kind, {})):
                    if options.report is not None:
                        write_json(options.report, report)
    return int(any(report[kind]["wrong"] for kind in ("replays", "trainings") if kind in report))


def _series(kind: str, work: Work, numbers: range, folder: Path, report: dict[str, Any]) -> Iterator[None]:
    """Trials with these numbers, one after another, added to a report."""
    count = folder / "count"
    begun = time.monotonic()
    counted = Fault("none", {"FAULT_COUNT": str(count)})
    outcome = attempt(work, folder / kind, counted)
    seconds = time.monotonic() - begun
    assert outcome.status == 0, outcome.said
    changes, whole = int(count.read_text()), contents(folder / kind)
    report["changes of files in one"] = changes
    for n in numbers:
        faults, start = draw(random.Random(n), n, seconds, changes, replayed=kind == "replays"), time.monotonic()
        ends, wrong = trial(work, faults, whole, folder / "run")
        report["trials"] = report.get("trials", 0) + 1
        report["seconds"] = round(report.get("seconds", 0.0) + time.monotonic() - start, 1)
        for part, names in (("faults", [fault.name for fault in faults]), ("ends", ends)):
            counts = report.setdefault(part, {})
            for name in names:
                counts[name] = counts.get(name, 0) + 1
        report.setdefault("wrong", []).extend({"trial": n, "ends": ends, "what": each} for each in wrong)
        for each in wrong:
            print(f"{kind} {n} ({', '.join(ends)}): {each}", flush=True)
        yield
    print(
        f"{report['trials']} {kind}, {sum(report['faults'].values())} faults, {len(report['wrong'])} wrong", flush=True
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
