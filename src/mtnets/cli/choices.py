"""What `mtnets train FAMILY` and `mtnets sweep FAMILY` read alike: the options of a family, a method and a training."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, get_type_hints

import tyro

from mtnets.cli.commands import FLAT
from mtnets.cli.configuration import Configuration, read_config
from mtnets.cli.early import no_name
from mtnets.cli.options import (
    CriterionOptions,
    ProcessOptions,
    RunOptions,
    build_tasks,
    method_options,
    task_options,
    training_options,
)
from mtnets.cli.parsing import parsed, taken
from mtnets.devices import use_cores
from mtnets.inner import ESTIMATORS, METHODS, Method, method_to_json
from mtnets.precision import use_deterministic, use_precision
from mtnets.tasks import FAMILIES, Family

HELP = ("-h", "--help")
# What people usually say of the tasks of a family.
EXAMPLES = {
    "folder": "--root my/images --ways 5 --shots 1 ",
    "glyphs": "--ways 5 --shots 1 ",
    "miniimagenet": "--root data/miniimagenet --ways 5 --shots 1 ",
    "omniglot": "--root data --ways 5 --shots 1 ",
    "sinusoid": "--shots 10 ",
    "table": "patients.csv --task-column patient --target score ",
}


class Choices(NamedTuple):
    """What a command line of a family says.

    Attributes:
      options: values of all options, in parts: `tasks`, `method`, `criterion`, `training`, `run` and others.
      start: the parts `method` and `training` before the arguments: the defaults, or what a configuration says.
      tasks: the family that they build.
    """

    options: Any
    start: Mapping[str, Any]
    tasks: Family


def read_choices(
    command: str,
    family: str,
    args: list[str],
    kind_of: Callable[[Configuration | None], tuple[type, Any]],
    *,
    about: str,
    usage: str,
    shown: Collection[str],
) -> Choices:
    """Reads a command line of a family, and prepares the process for a training.

    Args:
      command: `train` or `sweep`.
      family: of tasks.
      args: that follow, without those that decide which other options there are.
      kind_of: the dataclass of all options, and its values where a configuration gives some.
      about: what the command does.
      usage: options of an example, beside those of the family.
      shown: the options that `--help` shows, beside those of the tasks.

    Raises:
      OptionError, DataError: for arguments, a configuration or data that cannot be used.
      SystemExit: after `--help`.
    """
    path, args = taken(args, "config")
    config = None if path is None else read_config(family, path)
    kind, default = kind_of(config)
    parts = {field.name: field.type for field in dataclasses.fields(kind) if field.name in ("method", "training")}
    start = {name: part() if default is None else getattr(default, name) for name, part in parts.items()}  # type: ignore[operator]
    if set(HELP) & set(args):
        kind, default = shortened(kind, default, shown)
    prog = f"mtnets {command} {family}"
    options: Any = parsed(
        kind,
        args=["--help" if arg == "--help-all" else arg for arg in args],
        example=f"{prog} {EXAMPLES.get(family, '')}{usage}",
        also=("config", "help_all"),
        default=default,
        prog=prog,
        description=f"{about} --config FILE starts from a recipe (mtnets recipes) or the config.json of a run; "
        "--help-all lists every option.",
        config=FLAT,
    )
    use_precision(options.run.precision)
    if options.run.deterministic:
        use_deterministic()
    # curves are so small that tasks shared over cores take longer
    use_cores(1 if options.training.devices == "all" and FAMILIES[family].small else options.training.devices)
    getattr(options, "processes", ProcessOptions()).join()  # a sweep has none that train together
    tasks = build_tasks(FAMILIES[family], options.tasks)
    if config is not None:
        config.check_repeats(tasks)
    return Choices(options, start, tasks)


def shortened(kind: type, default: Any, shown: Collection[str]) -> tuple[type, Any]:
    """A dataclass of all options, and its values, as `--help` shows them: those of the tasks, without their network,
    and of the other parts those that are named."""
    parts: dict[str, Any] = {}
    for part in dataclasses.fields(kind):
        hints = get_type_hints(part.type, include_extras=True)
        fields = dataclasses.fields(part.type)  # type: ignore[arg-type]
        names = {f.name for f in fields if not dataclasses.is_dataclass(f.type)} if part.name == "tasks" else shown
        kinds = [(f.name, hints[f.name] if f.name in names else tyro.conf.Suppress[hints[f.name]], f) for f in fields]
        parts[part.name] = dataclasses.make_dataclass("Part", kinds, frozen=True)  # type: ignore[arg-type]
        parts[part.name].__doc__ = part.type.__doc__
    whole = [(name, part, dataclasses.field(default_factory=part)) for name, part in parts.items()]
    short = dataclasses.make_dataclass(kind.__name__, whole, frozen=True)
    if default is None:
        return short, None
    values = {name: part(**vars(getattr(default, name))) for name, part in parts.items()}
    return short, short(**values)


def options_of(method: str | None, estimator: str | None) -> set[str]:
    """The options that a method, or an estimator, has and others have not."""
    of_method = set() if method is None else _fields(METHODS[method]) - _fields(Method)
    return of_method | ({"estimator"} | _fields(ESTIMATORS[estimator]) if estimator else set())


def _fields(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def options_kind(
    family: str, config: Configuration | None, method: str | None, estimator: str | None
) -> tuple[type, Any]:
    """The dataclass of all options of a training, and its values where a configuration gives some.

    Args:
      family: of tasks.
      config: where values come from, if any.
      method: that the user names, if any.
      estimator: that the user names, if any.
    """
    values: dict[str, Any] = {}
    if config is not None and method in (None, config.method.name):
        method, values = config.method.name, method_to_json(config.method)
        recorded = values.pop("estimator")
        estimator = estimator or recorded["name"]
        if estimator == recorded["name"]:
            values |= recorded
        elif not config.method.proximal:
            del values["proximal"]  # no pull was chosen: an estimator that needs one has its default
    elif config is not None:  # the options of another method mean nothing to this one
        values = {"inner_lr": config.method.inner_lr}
    of_method, of_training = method_options(method or "mt_net", estimator), training_options()
    of_tasks = task_options(FAMILIES[family])
    kinds = {"tasks": of_tasks, "method": of_method, "criterion": CriterionOptions}
    kinds |= {"training": of_training, "run": RunOptions, "processes": ProcessOptions}
    fields = [(name, kind, dataclasses.field(default_factory=kind)) for name, kind in kinds.items()]
    options = dataclasses.make_dataclass("Train", fields, frozen=True)
    options.__doc__ = f"Meta-trains a learner on {family} tasks."
    if config is None:
        return options, None
    names = {field.name for field in dataclasses.fields(of_method)} - {"method", "estimator"}
    values = {name: value for name, value in values.items() if name in names}
    if isinstance(values.get("adapts"), str):
        values["adapts"] = (values["adapts"],)
    return options, options(
        tasks=of_tasks(**{f.name: getattr(config.tasks, f.name) for f in dataclasses.fields(of_tasks)}),
        method=of_method(**values),
        criterion=config.criterion,
        training=of_training(**config.training),
        run=RunOptions(seed=config.seed),
    )


def known_method(name: str) -> str:
    """The name of a method, as in `METHODS`, from that of the command line.

    Raises:
      UsageError: for one that does not exist.
    """
    known = name.replace("-", "_")
    if known not in METHODS:
        raise no_name("method", name, [each.replace("_", "-") for each in METHODS])
    return known


def known_estimator(name: str | None) -> str | None:
    """The name of an estimator, if any.

    Raises:
      UsageError: for one that does not exist.
    """
    if name is not None and name not in ESTIMATORS:
        raise no_name("estimator", name, ESTIMATORS)
    return name
