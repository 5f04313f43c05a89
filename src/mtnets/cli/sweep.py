"""`mtnets sweep FAMILY`: the options of `mtnets train`, for several methods, seeds and settings."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtnets.cli.choices import known_estimator, known_method, options_kind, read_choices
from mtnets.cli.options import FolderPath, build_method, method_options
from mtnets.cli.parsing import taken, values_of
from mtnets.cli.tables import show
from mtnets.errors import OptionError
from mtnets.inner import Method
from mtnets.precision import Precision
from mtnets.sweeps import sweep as run_sweep
from mtnets.sweeps.grid import vary_from_text
from mtnets.sweeps.sweep import Engine

# What --help shows beside the options of the tasks; --help-all shows all.
SHOWN = ("methods", "vary", "seeds", "engine", "workers", "out", "quiet")
SHOWN += ("inner_lr", "loss", "meta_steps", "meta_batch", "inner_steps", "meta_lr", "validate_every")


@dataclasses.dataclass(frozen=True)
class SweepOptions:
    """What is varied, and where the runs go.

    Attributes:
      methods: which are compared. --help after --methods NAMES shows the options that all of them have, which are the
        same for all; of one method all its options.
      vary: NAME=VALUE,VALUE for each option of a method or of the training that is varied, such as inner-lr=0.01,0.1
        meta-lr=0.001,0.003; for a search also NAME=LOW..HIGH or LOW..HIGH:log.
      seeds: of every setting.
      engine: grid trains every combination; optuna searches, and ray trains on a cluster, every combination or, where
        there are ranges, random ones. Searches go by validation scores.
      trials: combinations that a search tries.
      workers: processes that train at a time.
      side_by_side: runs that a program trains at most; None for all that differ in seed and inner rate alone.
      out: folder for all runs, the table and the picture. Defaults to runs/FAMILY-sweep. Runs that have ended there are
        kept, and one that was stopped goes on.
      quiet: show no progress.
      precision: of products on a GPU or a TPU: float32, or tf32 or bfloat16, which are faster and round more; on a CPU
        always float32.
      deterministic: the same bits from the same seed in every process on a GPU too, where it costs speed.
    """

    methods: tuple[str, ...] = ("mt-net",)
    vary: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    engine: Engine = "grid"
    trials: int | None = None
    workers: int = 1
    side_by_side: int | None = None
    out: FolderPath = ""
    quiet: bool = False
    precision: Precision = "float32"
    deterministic: bool = False


def sweep(family: str, args: list[str]) -> None:
    """Compares methods and settings on a family of tasks."""
    estimator, args = taken(args, "estimator")
    estimator = known_estimator(estimator)
    names = [known_method(name) for name in values_of(args, "methods") or SweepOptions.methods]
    options, start, tasks = read_choices(
        "sweep",
        family,
        args,
        lambda config: options_of_sweep(family, config, names, estimator),
        about=f"Meta-trains learners on {family} tasks by several methods, seeds and settings, and compares them.",
        usage="--methods maml mt-net --vary inner-lr=0.01,0.1",
        shown=SHOWN,
    )
    run = options.run
    vary = vary_from_text(run.vary)
    folder = Path(run.out or f"runs/{family}-sweep")
    result = run_sweep(
        None,
        _methods(names, estimator, _given(options.method, start["method"], vary)),
        tasks,
        out=folder,
        seeds=run.seeds,
        vary=vary,
        engine=run.engine,
        trials=run.trials,
        workers=run.workers,
        side_by_side=run.side_by_side,
        progress=not run.quiet,
        **options.criterion.arguments(),
        **_given(options.training, start["training"], vary),
    )
    show(result.print)
    print(f"written to {folder}")


def options_of_sweep(family: str, config: Any, names: Sequence[str], estimator: str | None) -> tuple[type, Any]:
    """The dataclass of all options, and its values where a configuration gives some."""
    of_train, values = options_kind(family, config, names[0], estimator)
    kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(of_train)}
    del kinds["processes"]  # those of a sweep train apart
    kinds |= {"method": _shared(names, estimator), "run": SweepOptions}
    fields = [(name, kind, dataclasses.field(default_factory=kind)) for name, kind in kinds.items()]
    options = dataclasses.make_dataclass("Sweep", fields, frozen=True)
    options.__doc__ = f"Compares methods and settings on {family} tasks."
    if values is None:
        return options, None
    # the options of one method mean nothing to others
    of_method = {field.name for field in dataclasses.fields(kinds["method"])} & (
        {"inner_lr"} if len(names) > 1 else {field.name for field in dataclasses.fields(values.method)}
    )
    method = kinds["method"](**{name: getattr(values.method, name) for name in of_method})
    return options, options(
        tasks=values.tasks, method=method, criterion=values.criterion, training=values.training, run=SweepOptions()
    )


def _shared(names: Iterable[str], estimator: str | None) -> type:
    """The options that all of these methods have; None leaves one to the method."""
    kinds = [method_options(name, estimator) for name in names]
    first = kinds[0]
    fields = [
        (field.name, field.type | None, dataclasses.field(default=None))  # type: ignore[operator]
        for field in dataclasses.fields(first)
        if field.name not in ("method", "estimator")
        and all(field.name in {other.name for other in dataclasses.fields(kind)} for kind in kinds)
    ]
    options = dataclasses.make_dataclass("MethodOptions", fields, frozen=True)
    options.__doc__ = first.__doc__
    return options


def _methods(names: Sequence[str], estimator: str | None, given: Mapping[str, Any]) -> dict[str, Method]:
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"methods is {', '.join(names)}, with {name} twice; name each method once.")
    values = {name: value for name, value in given.items() if value is not None}
    return {name.replace("_", "-"): build_method(method_options(name, estimator)(**values)) for name in names}


def _given(options: Any, start: Any, vary: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options, without those that are varied and that the user has not set too.

    Raises:
      OptionError: for an option of a method that is set and varied.
    """
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    for name, value in values.items():
        if name in vary and value != getattr(start, name):
            raise OptionError(f"{name} is {value} and varied too; leave one of them out.")
    return {name: value for name, value in values.items() if name not in vary}
