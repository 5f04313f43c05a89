"""`mtnets train FAMILY`: options of a family, a method, an estimator and the outer loop."""

import contextlib
import dataclasses
import json
import shlex
from pathlib import Path

from mtnets.cli.choices import known_estimator, known_method, options_kind, options_of, read_choices
from mtnets.cli.options import build_method
from mtnets.cli.parsing import taken
from mtnets.interop.loggers import LOGGERS
from mtnets.learner import Learner
from mtnets.memory import in_words
from mtnets.outer import memory_needed, run_training
from mtnets.processes import is_first
from mtnets.tasks import Images, TableInputs

# What --help shows beside the options of the tasks; --help-all shows all.
SHOWN = ("method", "inner_lr", "loss", "meta_steps", "meta_batch", "inner_steps", "meta_lr", "validate_every")
SHOWN += ("seed", "out", "resume", "overwrite", "quiet")


def train(family: str, args: list[str]) -> None:
    """Meta-trains a learner on a family of tasks."""
    method, args = taken(args, "method")
    estimator, args = taken(args, "estimator")
    chosen = (known_method(method) if method else None, known_estimator(estimator))
    options, _, tasks = read_choices(
        "train",
        family,
        args,
        lambda config: options_kind(family, config, *chosen),
        about=f"Meta-trains a learner on {family} tasks.",
        usage=f"--method mt-net --out runs/{family}",
        shown={*SHOWN, *options_of(*chosen)},
    )
    folder = Path(options.run.out or f"runs/{family}-{options.method.method}")
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
