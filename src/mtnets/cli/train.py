"""`mtnets train FAMILY`: options of a family, a method, an estimator and the outer loop."""

import contextlib
import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

from mtnets.cli.commands import FLAT
from mtnets.cli.configuration import Configuration, read_config
from mtnets.cli.options import (
    CriterionOptions,
    ProcessOptions,
    RunOptions,
    build_method,
    build_tasks,
    method_options,
    task_options,
    training_options,
)
from mtnets.cli.parsing import parsed
from mtnets.devices import use_cores
from mtnets.errors import OptionError, one_of
from mtnets.inner import ESTIMATORS, METHODS, method_to_json
from mtnets.interop.loggers import LOGGERS
from mtnets.learner import Learner
from mtnets.memory import in_words
from mtnets.outer import memory_needed, run_training
from mtnets.precision import use_deterministic, use_precision
from mtnets.processes import is_first
from mtnets.tasks import FAMILIES, Images, TableInputs

# What people usually say of the tasks of a family.
EXAMPLES = {
    "folder": "--root my/images --ways 5 --shots 1 ",
    "glyphs": "--ways 5 --shots 1 ",
    "miniimagenet": "--root data/miniimagenet --ways 5 --shots 1 ",
    "omniglot": "--root data --ways 5 --shots 1 ",
    "sinusoid": "--shots 10 ",
    "table": "patients.csv --task-column patient --target score ",
}


def train(family: str, args: list[str]) -> None:
    """Meta-trains a learner on a family of tasks."""
    # these three decide which other options there are, and their defaults
    path, args = taken(args, "config")
    method, args = taken(args, "method")
    estimator, args = taken(args, "estimator")
    config = None if path is None else read_config(family, path)
    kind, default = options_kind(family, config, known_method(method) if method else None, known_estimator(estimator))
    about = (
        f"Meta-trains a learner on {family} tasks. --config FILE starts from a recipe (mtnets recipes) or the "
        "config.json of a run."
    )
    options: Any = parsed(
        kind,
        args=args,
        example=f"mtnets train {family} {EXAMPLES.get(family, '')}--method mt-net --out runs/{family}",
        default=default,
        prog=f"mtnets train {family}",
        description=about,
        config=FLAT,
    )
    use_precision(options.run.precision)
    if options.run.deterministic:
        use_deterministic()
    # curves are so small that tasks shared over cores take longer
    use_cores(1 if options.training.devices == "all" and FAMILIES[family].small else options.training.devices)
    options.processes.join()
    folder = Path(options.run.out or f"runs/{family}-{options.method.method}")
    tasks = build_tasks(FAMILIES[family], options.tasks)
    if config is not None:
        config.check_repeats(tasks)
    method = build_method(options.method)
    choices = {**options.criterion.arguments(), **dataclasses.asdict(options.training)}
    if options.run.memory:
        for need in memory_needed(None, method, tasks, **choices):
            again = f" --remat-every {need.remat_every}" if need.remat_every else ""
            print(f"{in_words(need.bytes)} with --tasks-at-once {need.tasks_at_once}{again}")
        return
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(LOGGERS[name](folder)) for name in options.run.log]
        result = run_training(
            None,
            method,
            tasks,
            seed=options.run.seed,
            out=folder,
            resume=options.run.resume,
            overwrite=options.run.overwrite,
            progress=not options.run.quiet,
            report=options.run.report,
            on_log=(lambda line: [log(line) for log in logs]) if logs else None,
            **choices,
        )
    if not is_first():
        return
    test, learner = result.test.to_json(), result.learner
    last = test["inner_steps"][-1]
    mean = "not finite" if last["mean"] is None else f"{last['mean']:.4f} ± {last['ci95'] or 0:.4f}"
    print(
        f"{test['metric']} {mean} on {test['num_tasks']} test tasks after {last['step']} "
        f"inner step{'s' * (last['step'] != 1)} "
        f"({learner.record['meta_step']} meta-steps, batch norm: {learner.model.norm}); written to {folder}"
    )
    if result.report is not None:
        print(f"report: {result.report}")
    if not options.run.quiet:
        print("\n".join(["Next:", *(f"  {line}" for line in what_next(folder, learner))]))


def what_next(folder: Path, learner: Learner) -> list[str]:
    """Commands that use a learner, ready to copy."""
    run = shlex.quote(str(folder))
    code = f"import mtnets; help(mtnets.load({json.dumps(str(folder))}).adapt)"  # tasks that no file holds
    adapt = f"python -c {shlex.quote(code)}"
    if isinstance(learner.inputs, Images):
        adapt = f"mtnets adapt {run} --support FOLDER_OF_CLASSES --query FOLDER_OF_IMAGES"
    elif isinstance(learner.inputs, TableInputs):
        adapt = f"mtnets adapt {run} --support SOME_ROWS.csv --query OTHER_ROWS.csv"
    return [f"mtnets evaluate {run}", adapt, f"mtnets doctor {run}"]


def taken(args: list[str], name: str) -> tuple[str | None, list[str]]:
    """The value of `--name VALUE` or `--name=VALUE`, the last one of several, and the other arguments.

    Raises:
      OptionError: for the flag without a value.
    """
    value, others, left = None, [], iter(args)
    for arg in left:
        flag, equals, text = arg.partition("=")
        if flag != f"--{name}":
            others.append(arg)
            continue
        value = text if equals else next(left, "")
        if not value:
            raise OptionError(f"--{name} needs a value.")
    return value, others


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
      OptionError: for one that does not exist.
    """
    known = name.replace("-", "_")
    if known not in METHODS:
        names = [each.replace("_", "-") for each in METHODS]
        raise OptionError(f"There is no method {name!r}; {one_of(name, names)}")
    return known


def known_estimator(name: str | None) -> str | None:
    """The name of an estimator, if any.

    Raises:
      OptionError: for one that does not exist.
    """
    if name is not None and name not in ESTIMATORS:
        raise OptionError(f"There is no estimator {name!r}; {one_of(name, ESTIMATORS)}")
    return name
