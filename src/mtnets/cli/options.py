"""Options of the command line, from the fields of families, methods, estimators and settings."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from mtnets.errors import OptionError
from mtnets.inner import ESTIMATORS, METHODS, Method
from mtnets.inner.rules.transformations import InnerOptimiser
from mtnets.outer import Training
from mtnets.precision import Precision
from mtnets.processes import join_processes
from mtnets.tasks import Family, Options

# Options that take more in Python than a command line can write, with their types and their help here.
WRITABLE: Mapping[str, tuple[Any, str]] = {
    "adapts": (tuple[str, ...], "which layers move: all, head (the last used), body (all others), first, or names."),
    "inner_optimiser": (InnerOptimiser, "turns a task's gradients into directions, before α or learned rates."),
}

PLACES = {"data": "FILE", "root": "PATH", "cache": "FOLDER"}  # options of families that are paths, as --help shows them
FilePath = Annotated[str, tyro.conf.arg(metavar="FILE")]
FolderPath = Annotated[str, tyro.conf.arg(metavar="FOLDER")]


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where the run goes.

    Attributes:
      seed: of the starting weights and of all tasks.
      out: folder for config, metrics, checkpoints, the best learner and its result. Defaults to runs/FAMILY-METHOD.
      resume: go on from the last checkpoint in that folder.
      overwrite: empty that folder first.
      quiet: show no progress.
      report: write report.html into the folder at the end, a page on what was trained and how well it does.
      log: programs that draw curves while it runs (docs/training.md): tensorboard, wandb (offline), mlflow, trackio.
      memory: do not train; print the memory that a meta-step needs, and with which settings it needs less.
      precision: of products on a GPU or a TPU: float32, or tf32 or bfloat16, which are faster and round more; on a CPU
        always float32.
      deterministic: the same bits from the same seed in every process on a GPU too, where it costs speed.
    """

    seed: int = 0
    out: FolderPath = ""
    resume: bool = False
    overwrite: bool = False
    quiet: bool = False
    report: bool = True
    log: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    memory: bool = False
    precision: Precision = "float32"
    deterministic: bool = False


@dataclasses.dataclass(frozen=True)
class ProcessOptions:
    """Several processes, on one host or many, that train together; all are given the same other options.

    Attributes:
      coordinator: HOST:PORT of process 0, or auto under Slurm, Open MPI, Kubernetes and on TPU pods, where JAX finds
        all three. Defaults to this process alone.
      processes: how many there are.
      process: which of them this is, from 0 on.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None

    def join(self) -> None:
        """Joins the others, if there are any.

        Raises:
          OptionError, RunError: as `mtnets.join_processes`.
        """
        if self.coordinator is not None:
            join_processes(self.coordinator, self.processes, self.process)
        elif self.processes is not None or self.process is not None:
            name, value = ("process", self.process) if self.processes is None else ("processes", self.processes)
            raise OptionError(f"{name} is {value} without a coordinator; name all three, or coordinator='auto'.")


@dataclasses.dataclass(frozen=True)
class CriterionOptions:
    """What tasks are learned by and judged by; `mtnets losses` lists losses and metrics.

    Attributes:
      loss: on the query sets, a name, or with options in quotes: 'huber(delta=2.0)'. Defaults to that of the family.
      inner_loss: the same on the support sets. Defaults to the loss.
      metrics: scores beside the loss. Defaults to the accuracy for labels of classes, and to none for numbers.
      best: which of the metrics chooses the best learner, or loss. Defaults to the first of them.
    """

    loss: str | None = None
    inner_loss: str | None = None
    metrics: tuple[str, ...] | None = None
    best: str | None = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of `meta_train` that these are."""
        metrics = None if self.metrics is None else {name: name for name in self.metrics}
        return {"loss": self.loss, "inner_loss": self.inner_loss, "metrics": metrics, "best": self.best}


def method_options(name: str, estimator: str | None = None) -> type:
    """The options of a method and of its estimator as one dataclass.

    Args:
      name: of the method, as in `METHODS`.
      estimator: its name, as in `ESTIMATORS`. Defaults to the method's own.
    """
    kind = METHODS[name]
    method = kind()
    chosen = method.estimator if estimator in (None, method.estimator.name) else ESTIMATORS[estimator]()
    of_estimator = [field.name for field in dataclasses.fields(chosen)]
    of_method = [f.name for f in dataclasses.fields(kind) if f.name not in ("estimator", *of_estimator)]
    hints = get_type_hints(kind) | get_type_hints(type(chosen)) | {n: hint for n, (hint, _) in WRITABLE.items()}
    about = attributes(Method) | attributes(kind) | attributes(type(chosen))
    about |= {n: text for n, (_, text) in WRITABLE.items()}
    about |= {
        "method": "--help after --method NAME shows the options of that one.",
        "estimator": "how the meta-gradient is taken. --help after --estimator NAME shows the options of that one.",
    }
    defaults = {n: getattr(method, n) for n in of_method} | {n: getattr(chosen, n) for n in of_estimator}
    if isinstance(defaults.get("adapts"), str):
        defaults["adapts"] = (defaults["adapts"],)
    methods, estimators = Literal[tuple(map(_dashed, METHODS))], Literal[tuple(ESTIMATORS)]  # type: ignore[misc]
    options = dataclasses.make_dataclass(
        "MethodOptions",
        [
            ("method", methods, dataclasses.field(default=_dashed(name))),
            ("estimator", estimators, dataclasses.field(default=chosen.name)),
            *((option, hints[option], dataclasses.field(default=value)) for option, value in defaults.items()),
        ],
        frozen=True,
    )
    title = f"{_dashed(name)}: {kind.equation}." if kind.equation else f"{_dashed(name)}."
    title += f" Learned besides the start: {kind.learned}." if kind.learned else ""
    options.__doc__ = _docstring(title, {n: about.get(n, "") for n in ("method", "estimator", *defaults)})
    return options


def build_method(options: Any) -> Method:
    """The method that such options choose."""
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    kind, estimator = METHODS[values.pop("method").replace("-", "_")], ESTIMATORS[values.pop("estimator")]
    of_estimator = {field.name: values.pop(field.name) for field in dataclasses.fields(estimator)}
    if len(values["adapts"]) == 1:
        values["adapts"] = values["adapts"][0]
    return kind(**values, estimator=estimator(**of_estimator))


def task_options(kind: type[Options]) -> type:
    """The options of a family, which are checked when it is built. One that is named `data` is given without a flag."""
    hints = get_type_hints(kind)
    for name, metavar in PLACES.items():
        if name in hints:
            hints[name] = Annotated[hints[name], tyro.conf.arg(metavar=metavar)]
    if kind.data_option == "data":
        hints["data"] = tyro.conf.Positional[hints["data"]]
    fields = [(field.name, hints[field.name], field) for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    options = dataclasses.make_dataclass(kind.__name__, fields, frozen=True)
    options.__doc__ = kind.__doc__
    return options


def build_tasks(kind: type[Options], options: Any) -> Family:
    """The family that such options choose."""
    return kind(**{field.name: getattr(options, field.name) for field in dataclasses.fields(options)}).build()


def training_options() -> type:
    """The settings of the outer loop as a dataclass; None leaves a choice to the task family."""
    hints = get_type_hints(Training)
    options = dataclasses.make_dataclass(
        "TrainingOptions",
        [(field.name, *_open(hints[field.name], field)) for field in dataclasses.fields(Training)],
        frozen=True,
    )
    options.__doc__ = _docstring("Settings of the outer loop.", attributes(Training))
    return options


def _open(hint: Any, field: Any) -> tuple[Any, Any]:
    """Type and default of a setting; None where a task family has one, or it depends on others."""
    if field.default is dataclasses.MISSING or field.name in ("clip_norm", "log_every"):
        return hint | None, dataclasses.field(default=None)
    return hint, dataclasses.field(default=field.default)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _docstring(title: str, attributes: Mapping[str, str]) -> str:
    """A docstring from which tyro takes the help of each option."""
    return "\n".join([f"{title}\n\nAttributes:", *(f"  {name}: {about}" for name, about in attributes.items())])


def attributes(kind: type) -> dict[str, str]:
    """The text of each attribute in a docstring, without backticks and quotes."""
    text = inspect.cleandoc(kind.__dict__.get("__doc__") or "").partition("Attributes:\n")[2]
    attributes: dict[str, str] = {}
    name = ""
    for line in text.split("\n\n", maxsplit=1)[0].splitlines():
        if line.startswith("    "):  # goes on
            attributes[name] += f" {line.strip()}"
        else:
            name, _, about = line.strip().partition(": ")
            attributes[name] = about
    return {name: about.replace("`", "").replace('"', "") for name, about in attributes.items()}
