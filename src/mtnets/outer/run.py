"""A run folder: its configuration, comparison on resume, checkpoints, log and result."""

import contextlib
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mtnets.errors import OptionError, RunError
from mtnets.files import finite, replacing, write_json
from mtnets.inner import METHODS, method_from_json, method_to_json
from mtnets.learner.evaluate import Estimate
from mtnets.learner.learner import Learner
from mtnets.networks.models import model_from_config
from mtnets.outer.checkpoints import Checkpoints
from mtnets.outer.loop import CheckpointDue, Event, Logged, Validated
from mtnets.outer.plan import Plan
from mtnets.outer.settings import Training, training_from_json
from mtnets.tasks import options_from_record, options_to_record

# Settings that may change when a run is resumed; a cosine schedule depends on the number of meta-steps.
FREE = {
    "tasks.root",
    "tasks.cache",
    "training.skip_nonfinite",
    "training.meta_steps",
    "training.devices",
    "training.tasks_at_once",
    "training.checkpoint_seconds",
    "training.test_tasks",
}


class RunResult(NamedTuple):
    """What a training in a folder gives.

    Attributes:
      learner: the best one on validation tasks.
      test: its scores on test tasks.
      meta_steps: length of the training.
      seconds_per_meta_step: None if no meta-step was timed.
      compile_seconds: time spent in compilation.
      peak_memory_bytes: of the device if it reports that, otherwise of the process; None where neither is known.
      machine: what speed depends on.
      config: everything that the learner depends on.
    """

    learner: Learner
    test: Estimate
    meta_steps: int
    seconds_per_meta_step: float | None
    compile_seconds: float
    peak_memory_bytes: int | None
    machine: Mapping[str, Any]
    config: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As it is kept in `result.json`."""
        return {
            "meta_steps": self.meta_steps,
            "best_meta_step": self.learner.record["meta_step"],
            "validation": self.learner.record["validation"],
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
    """The files of a run.

    Args:
      path: of the folder.
      plan: the training that it is for.
      resume: go on with the run that is there, if any.
      overwrite: remove the run that is there, if any.

    Raises:
      OptionError: for both.
      RunError: if the folder cannot be used for this training.
    """

    def __init__(self, path: Path, plan: Plan, *, resume: bool, overwrite: bool) -> None:
        if resume and overwrite:
            raise OptionError("resume=True and overwrite=True exclude each other: go on with the run, or replace it.")
        if path.is_file():
            raise RunError(f"{path} is a file; name a folder for the run.")
        self.path = path
        old = _read_config(path)
        if old is not None and resume:
            _compare(old, plan.config, path)
        elif old is not None and overwrite:
            shutil.rmtree(path)
        elif old is not None:
            raise RunError(
                f"{path} holds a run already; go on with resume=True, replace it with overwrite=True, or name another "
                "folder."
            )
        elif path.exists() and any(path.iterdir()):
            raise RunError(f"{path} is not empty and holds no run; name a new or empty folder.")
        if old is None or overwrite:
            write_json(path / "config.json", plan.config)  # before anything else: a folder that has it holds a run
        self.checkpoints = Checkpoints(path / "checkpoints")
        latest, total = self.checkpoints.latest or 0, plan.training.meta_steps
        if latest > total:
            raise RunError(
                f"The run in {path} has a checkpoint of meta-step {latest} and meta_steps is {total}; ask for at least "
                "as many, or name another folder."
            )
        write_json(path / "config.json", plan.config)

    def begin_log(self, step: int) -> None:
        """Drops the lines of the log beyond the meta-step that the run goes on from."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        with replacing(path) as file:
            file.write("".join(line + "\n" for line in lines if _step_of(line) <= step).encode())

    def record(self, event: Event) -> None:
        """Does what an event of the loop asks for: a line of the log, or a checkpoint."""
        position = event.position
        match event:
            case Logged(metrics=metrics, moving=moving):
                skipped = int(position.outer.skipped.sum())
                self._log({"step": position.step, **metrics, "moving": moving, "skipped": skipped})
            case Validated(scores=scores):
                self._log({"step": position.step, "validation": list(scores)})
            case CheckpointDue():
                self.checkpoints.save(position.step, (position.outer, position.best))

    def _log(self, line: Mapping[str, Any]) -> None:
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(finite(line), allow_nan=False) + "\n")

    def finish(self, result: RunResult) -> RunResult:
        """Writes the scores of every test task and the result."""
        path = self.path / "result.json"
        if result.seconds_per_meta_step is None and path.exists():  # a finished run, resumed: nothing new to time
            before = json.loads(path.read_text())
            names = ("seconds_per_meta_step", "compile_seconds", "peak_memory_bytes")
            result = result._replace(**{name: before[name] for name in names})
        result.test.save(self.path / "scores.npz")
        write_json(path, result.to_json())
        return result


def peak_memory() -> int | None:
    """Most memory used so far, in bytes: of the device if it reports that, otherwise of this process; None on Windows,
    which reports neither."""
    on_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    if on_device:
        return int(on_device)
    try:
        import resource  # Unix only
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _step_of(line: str) -> float:
    """The meta-step of a line of the log; infinite for a line cut short."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")


def _read_config(folder: Path) -> dict[str, Any] | None:
    """The configuration of the run in a folder; None if it holds none."""
    path = folder / "config.json"
    if not path.exists():
        return None
    try:
        config = json.loads(path.read_text())
        if config.keys() >= {"tasks", "method", "training"}:
            return config
    except (ValueError, AttributeError):
        pass
    raise RunError(f"{path} is damaged or not that of a run; name another folder.")


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    """Raises RunError where two configurations differ in what a run depends on."""
    free = FREE if new["training"]["schedule"] == "constant" else FREE - {"training.meta_steps"}
    flat_old, flat_new = _flat(_completed(old)), _flat(new)
    for name in sorted(flat_old.keys() | flat_new.keys(), key=lambda name: (not name.endswith("name"), name)):
        a, b = flat_old.get(name), flat_new.get(name)
        if a != b and name not in free:
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


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()}
