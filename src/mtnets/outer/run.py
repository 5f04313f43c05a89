"""A run folder: its configuration, comparison on resume, checkpoints, log and result."""

import contextlib
import io
import json
import shutil
import sys
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import jax
import numpy as np

from mtnets.errors import OptionError, RunError, first_line
from mtnets.files import (
    CHECKSUM,
    checked,
    checksum,
    finite,
    parse_json,
    read,
    read_json,
    remove_abandoned,
    replacing,
    write_json,
)
from mtnets.inner import LOSS, METHODS, loss_from_json, loss_to_text, method_from_json, method_to_json
from mtnets.learner.evaluate import Estimate
from mtnets.learner.learner import CONFIG, Learner
from mtnets.networks.models import model_from_config
from mtnets.outer.checkpoints import Checkpoints
from mtnets.outer.log import line_of
from mtnets.outer.loop import CheckpointDue, Event, Position
from mtnets.outer.plan import Plan, with_tasks_at_once
from mtnets.outer.settings import Training, training_from_json
from mtnets.processes import in_first, largest
from mtnets.tasks import options_from_record, options_to_record

METRICS, CHECKPOINTS, LOCK = "metrics.jsonl", "checkpoints", ".lock"
RESULT, SCORES = "result.json", "scores.npz"
RUN = "run"  # the entry of a configuration that tells a run from all others
PARTS = ("tasks", "method", "training")

# Settings that may change when a run is resumed; a cosine schedule depends on the number of meta-steps.
FREE = {
    "tasks.root",
    "tasks.cache",
    "training.skip_nonfinite",
    "training.meta_steps",
    "training.devices",
    "training.tasks_at_once",
    "training.checkpoint_seconds",
    "training.checkpoint_every",
    "training.test_tasks",
    "training.log_every",
}


class RunResult(NamedTuple):
    """What a training in a folder gives.

    Attributes:
      learner: the best one on validation tasks.
      test: its scores on test tasks.
      meta_steps: length of the training.
      stopped_early: whether its patience was over before that of the settings.
      seconds_per_meta_step: of all runs side by side; None if no meta-step was timed.
      compile_seconds: time spent in compilation.
      peak_memory_bytes: of the device if it reports that, otherwise of the process; None where neither is known.
      machine: what speed depends on.
      config: everything that the learner depends on.
      report: where the report for people is; None where none was written.
    """

    learner: Learner
    test: Estimate
    meta_steps: int
    stopped_early: bool
    seconds_per_meta_step: float | None
    compile_seconds: float
    peak_memory_bytes: int | None
    machine: Mapping[str, Any]
    config: Mapping[str, Any]
    report: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is kept in `result.json`."""
        return {
            "meta_steps": self.meta_steps,
            "stopped_early": self.stopped_early,
            "best_meta_step": self.learner.record["meta_step"],
            "validation": self.learner.record["validation"],
            "failed": self.learner.record["failed"],
            "norm": self.learner.model.norm,
            "seconds_per_meta_step": self.seconds_per_meta_step,
            "compile_seconds": self.compile_seconds,
            "moving": self.learner.moving(),
            "machine": dict(self.machine),
            "config": dict(self.config),
            "test": self.test.to_json(),
            "peak_memory_bytes": self.peak_memory_bytes,
        }


class RunFolder:
    """The files of a run, for one process at a time; a context manager, which gives the folder back.

    Of several processes that train together the first one alone has the folder.

    Args:
      path: of the folder.
      plan: the training that it is for.
      resume: go on with the run that is there, if any.
      overwrite: remove the run that is there, if any.

    Attributes:
      path: of the folder.
      checkpoints: of the run.
      plan: the training; if its number of tasks at once is to be measured, with that of the run that goes on.

    Raises:
      OptionError: for both.
      RunError: if the folder cannot be used for this training, or another process uses it.
    """

    def __init__(self, path: Path, plan: Plan, *, resume: bool, overwrite: bool) -> None:
        if resume and overwrite:
            raise OptionError("resume=True and overwrite=True exclude each other: go on with the run, or replace it.")
        self.path, self.plan = path, plan
        self._lock: filelock.BaseFileLock | None = None
        try:
            in_first(lambda: self._open(plan, resume, overwrite), None)
            self.plan = _as_begun(plan, largest(_number(self.plan.training.tasks_at_once)))
        except BaseException:
            self._release()
            raise

    def _open(self, plan: Plan, resume: bool, overwrite: bool) -> None:
        path = self.path
        if path.is_file():
            raise RunError(f"{path} is a file; name a folder for the run.")
        self._lock = _locked(path)
        for folder in (path, path / CHECKPOINTS):
            remove_abandoned(folder)
        old, run = _read_config(path)
        if old is not None and resume:
            _compare(old, plan.config, path)
        elif old is not None and overwrite:
            _empty(path)
        elif old is not None:
            raise taken(path)
        elif any(each.name != LOCK for each in path.iterdir()):
            raise RunError(f"{path} is not empty and holds no run; name a new or empty folder.")
        if old is None or overwrite or run is None:
            run = uuid.uuid4().hex
        self._run = run
        if old is not None and not overwrite:
            plan = _as_begun(plan, old["training"].get("tasks_at_once"))
        self.plan = plan
        if old is None or overwrite:
            self.keep(plan)  # before anything else: a folder that has it holds a run
        self.checkpoints = Checkpoints(path / CHECKPOINTS, {"id": run, "seed": plan.seeds[0]})
        latest, total = self.checkpoints.latest or 0, plan.training.meta_steps
        if latest > total:
            raise RunError(
                f"The run in {path} has a checkpoint of meta-step {latest} and meta_steps is {total}; ask for at least "
                "as many, or name another folder."
            )
        self.keep(plan)

    def keep(self, plan: Plan) -> None:
        """Writes the configuration of the run."""
        write_json(self.path / CONFIG, {RUN: self._run, **plan.config})

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def check_present(self) -> None:
        """Raises RunError where the folder was removed, or replaced, since the run began."""
        if not (self.path / LOCK).exists() or not (self.path / CONFIG).exists():
            raise RunError(f"{self.path} was removed or emptied during the training; name a folder that stays.")

    def begin_log(self, step: int) -> None:
        """Drops the lines of the log beyond the meta-step that the run goes on from.

        Raises:
          RunError: for a damaged log.
        """
        path = self.path / METRICS
        lines = path.read_bytes().splitlines() if path.exists() else []
        kept = []
        for i, line in enumerate(lines):
            try:
                if checked(parse_json(line))["step"] <= step:
                    kept.append(line + b"\n")
            except (KeyError, TypeError, ValueError) as error:
                if i < len(lines) - 1:  # the last one may have been cut short
                    raise RunError(
                        f"Line {i + 1} of {path} is damaged ({first_line(error)}); take it out to go on."
                    ) from error
        with replacing(path) as file:
            file.write(b"".join(kept))

    def record(self, event: Event, seconds: float) -> None:
        """Does what an event of the loop asks for: a line of the log, or a checkpoint.

        Args:
          event: what happened.
          seconds: of training until now.

        Raises:
          RunError: where the folder was removed, or cannot be written.
        """
        if (line := line_of(event, seconds)) is not None:
            self._log(line)
        if isinstance(event, CheckpointDue):
            self.check_present()
            self.checkpoints.save(event.position.step, state(event.position), seconds)

    def _log(self, line: Mapping[str, Any]) -> None:
        self.check_present()
        plain = finite(line)
        with (self.path / METRICS).open("a") as file:
            file.write(json.dumps({**plain, CHECKSUM: checksum(plain, "crc32")}, allow_nan=False) + "\n")

    def finish(self, result: RunResult) -> RunResult:
        """Writes the scores of every test task and the result."""
        self.check_present()
        path = self.path / RESULT
        if result.seconds_per_meta_step is None:  # a finished run, resumed: nothing new to time
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
                before = read_json(path)
                names = ("seconds_per_meta_step", "compile_seconds", "peak_memory_bytes")
                result = result._replace(**{name: before[name] for name in names})
        result.test.save(self.path / SCORES)
        write_json(path, result.to_json())
        return result


def state(position: Position) -> dict[str, Any]:
    """What a checkpoint keeps of a position, besides its meta-step."""
    return {"outer": position.outer, "best": position.best, "sums": position.sums, "mark": position.mark}


def peak_memory() -> int | None:
    """Most memory used so far, in bytes: of the device if it reports that, otherwise of this process; None on Windows,
    which reports neither."""
    on_device = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    if on_device:
        return int(on_device)
    try:
        import resource  # Unix only
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _locked(path: Path) -> filelock.BaseFileLock:
    """The lock of a folder, which is made where there is none.

    Raises:
      RunError: where another process has it, or the folder cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path / LOCK, timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise RunError(f"Another process trains in {path}; wait until it has ended, or name another folder.") from None
    except (OSError, NotImplementedError) as error:
        raise RunError(f"{path} cannot be used for a run ({error}); name another folder.") from error
    return lock


def read_scores(folder: Path, result: Mapping[str, Any]) -> Estimate:
    """The scores of every test task that the run of a folder has kept.

    Args:
      folder: of the run.
      result: what its `result.json` holds.

    Raises:
      OSError, KeyError, TypeError, ValueError: for files that are not there, or damaged.
    """
    try:
        with np.load(io.BytesIO(read(folder / SCORES)), allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in saved.files}
    except (EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{SCORES} is damaged: {first_line(error)}") from error
    if any(
        each.shape != arrays["scores"].shape or each.ndim != 2 or each.dtype.kind != "f" for each in arrays.values()
    ):
        raise ValueError(f"{SCORES} does not hold scores [tasks, steps] alike")
    scores, losses, metric = arrays.pop("scores"), arrays.pop("losses"), result["test"]["metric"]
    stream = bool(result["config"]["training"].get("stream", False))
    return Estimate(metric, scores, losses, {metric: scores, LOSS: losses, **arrays}, stream)


def _number(choice: int | str) -> int:
    """A number of tasks at once, 0 for a word."""
    return choice if isinstance(choice, int) else 0


def _as_begun(plan: Plan, before: Any) -> Plan:
    """The plan with the number of tasks at once that was measured before: with another one, bits would differ."""
    measured = plan.training.tasks_at_once == "measured" and type(before) is int and before > 0
    return with_tasks_at_once(plan, before) if measured else plan


def _empty(path: Path) -> None:
    """Removes everything in a folder but its lock, and its configuration, without which it would be no run's."""
    for each in path.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name not in (LOCK, CONFIG):
            each.unlink()


def _read_config(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The configuration of the run in a folder and what names the run; None if it holds none."""
    path = folder / CONFIG
    if not path.exists():
        return None, None
    try:
        config = read_json(path)
        if isinstance(config, dict) and all(isinstance(config.get(part), dict) for part in PARTS):
            run = config.pop(RUN, None)
            return config, run if isinstance(run, str) else None
        why = f"it holds {config!r:.60}"
    except (OSError, ValueError) as error:
        why = str(error)
    raise RunError(f"{path} is damaged or not that of a run ({why}); name another folder.")


def taken(path: Path) -> RunError:
    """The error where a folder holds a run, and is neither to go on nor to be replaced."""
    return RunError(
        f"{path} holds a run already; go on with resume=True, replace it with overwrite=True, or name another folder."
    )


def check_fits(folder: Path, plan: Plan) -> None:
    """Raises RunError where a folder holds a run that could not be resumed with this plan."""
    old, _ = _read_config(folder)
    if old is not None:
        _compare(old, plan.config, folder)


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    """Raises RunError where two configurations differ in what a run depends on."""
    free = FREE if new["training"]["schedule"] == "constant" else FREE - {"training.meta_steps"}
    flat_old, flat_new = flat(_completed(old) | _losses(old)), flat({**new, **_losses(new)})
    for name in sorted(flat_old.keys() | flat_new.keys(), key=lambda name: (not name.endswith("name"), name)):
        a, b = flat_old.get(name), flat_new.get(name)
        # the network of a family counts as the model that it is, if it is that: earlier versions wrote it always
        if a != b and name not in free and not name.startswith("tasks.network."):
            raise RunError(
                f"The run in {folder} has {name} = {a} and this one {b}; resume with the same configuration, or name "
                "another folder."
            )


def _completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of an earlier version, with the defaults of options that it did not know."""
    complete = dict(config)
    # what is damaged, or not possible any more, is compared as it is
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError, RunError):
        defaults = {name: field.default for name, field in Training.__dataclass_fields__.items()}
        complete["training"] = defaults | training_from_json(config["training"])
        if config["method"].get("name") in METHODS:
            complete["method"] = method_to_json(method_from_json(config["method"]))
        if config["model"] is not None:
            complete["model"] = model_from_config(config["model"]).config
        if config["tasks"].get("family") is not None:
            complete["tasks"] = options_to_record(options_from_record(config["tasks"]))
    return json.loads(json.dumps(complete, default=str))


def _losses(config: Mapping[str, Any]) -> dict[str, str]:
    """The losses of a configuration that ship, as people write them."""
    texts: dict[str, str] = {}
    for name in ("loss", "inner_loss"):
        with contextlib.suppress(OptionError, TypeError):  # there is none, it is the user's, or damaged
            texts[name] = loss_to_text(loss_from_json(config.get(name)))
    return texts


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Values by the path of their names, `training.meta_lr`."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in flat(inner, f"{prefix}.{key}" if prefix else key).items()}
