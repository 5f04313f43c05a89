"""Meta-training: the outer loop with progress, validation, checkpoints and a record of everything."""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack, overload

import jax
import numpy as np
import optax

from mtnets.arguments import checked_arguments
from mtnets.endings import end
from mtnets.errors import OptionError, RunError
from mtnets.inner import Distribution, Learned, LossLike, Method, MetricLike, cause_in_training
from mtnets.learner.evaluate import Estimate, evaluate_together
from mtnets.learner.learner import Learner
from mtnets.learner.meeting import check_outputs, drawn
from mtnets.networks.model import Model
from mtnets.outer.batching import fastest
from mtnets.outer.folders import RunFolders, folders_below
from mtnets.outer.forecast import warn_of_memory
from mtnets.outer.gradient import drawn_and_keys
from mtnets.outer.log import Listener, OnLog, lines_of
from mtnets.outer.loop import (
    CheckpointDue,
    Compiled,
    Position,
    Validated,
    begin,
    learners,
    learners_now,
    learners_so_far,
    training_events,
)
from mtnets.outer.phases import Phases
from mtnets.outer.plan import Plan, make_plan, with_tasks_at_once
from mtnets.outer.program import meta_step_keys
from mtnets.outer.progress import Display, announce, announced
from mtnets.outer.run import RunResult, peak_memory, state
from mtnets.outer.settings import TrainingOptions
from mtnets.processes import check_equal, check_same, count, in_first, is_first, of_first
from mtnets.stopping import Stopping, stopping, stopping_at_once
from mtnets.tasks import Family

Callback = Callable[[int, list[Learner]], None]


class Watch(NamedTuple):
    """Who sees a training while it runs.

    Attributes:
      progress: whether a person does, on standard error.
      callback, on_log: as for `meta_train`.
    """

    progress: bool
    callback: Callback | None
    on_log: OnLog | None


class NotFinite(RunError):
    """Every run side by side has failed.

    Args:
      message: what happened, and what to do.
      failed: the meta-step at which each run did.
    """

    def __init__(self, message: str, failed: tuple[int, ...]) -> None:
        super().__init__(message)
        self.failed = failed


@overload
def meta_train(
    model: Model | None,
    method: Method,
    tasks: Family | Distribution,
    *,
    seed: int = 0,
    loss: LossLike | None = None,
    inner_loss: LossLike | None = None,
    metrics: Mapping[str, MetricLike] | None = None,
    best: str | None = None,
    optimiser: optax.GradientTransformation | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    report: bool = True,
    callback: Callback | None = None,
    on_log: OnLog | None = None,
    **options: Unpack[TrainingOptions],
) -> Learner: ...
@overload
def meta_train(
    model: Model | None,
    method: Method,
    tasks: Family | Distribution,
    *,
    seed: Sequence[int],
    inner_lr: Sequence[float] | None = None,
    loss: LossLike | None = None,
    inner_loss: LossLike | None = None,
    metrics: Mapping[str, MetricLike] | None = None,
    best: str | None = None,
    optimiser: optax.GradientTransformation | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    report: bool = True,
    callback: Callback | None = None,
    on_log: OnLog | None = None,
    **options: Unpack[TrainingOptions],
) -> list[Learner]: ...
@checked_arguments
def meta_train(
    model: Model | None,
    method: Method,
    tasks: Family | Distribution,
    *,
    seed: int | Sequence[int] = 0,
    inner_lr: Sequence[float] | None = None,
    loss: LossLike | None = None,
    inner_loss: LossLike | None = None,
    metrics: Mapping[str, MetricLike] | None = None,
    best: str | None = None,
    optimiser: optax.GradientTransformation | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    report: bool = True,
    callback: Callback | None = None,
    on_log: OnLog | None = None,
    **options: Unpack[TrainingOptions],
) -> Learner | list[Learner]:
    """Meta-trains a network so that a few examples and a few gradient steps teach it a new task.

    Args:
      model: the network; None for the task family's usual one.
      method: how it adapts, for example `mtnets.mt_net()`.
      tasks: a family, or a bare distribution that serves for training, validation and test.
      seed: of the starting weights and of all tasks. Several seeds are trained side by side in one program, and one
        learner each is returned.
      inner_lr: several inner rates in the place of the method's: each seed is trained with each of them, all side by
        side, and learners are returned rate by rate.
      loss: what is small for a good prediction, on the query sets: a name (`mtnets.LOSSES`), a value such as
        `mtnets.losses.Huber(delta=2.0)`, or a function: `loss(prediction, batch) -> [examples]`, one number per
        example, or `loss(predict, batch, key) -> scalar`, where `predict` is the network as a function of its inputs.
        Defaults to that of the family.
      inner_loss: the same for the support sets, which tasks make small. Defaults to the loss.
      metrics: scores beside the loss, by name: names (`mtnets.METRICS`), values of `mtnets.Metric`, or functions
        `metric(prediction, batch)`. Defaults to the accuracy for labels of classes, and to none for numbers.
      best: which of them chooses the best learner on validation tasks, or `"loss"`. Defaults to the first of the
        metrics that says whether higher is better, and to the loss without any.
      optimiser: the meta-optimiser, any Optax transformation. Defaults to Adam as set by `meta_lr`, `schedule` and
        `clip_…`.
      out: folder for config, metrics, checkpoints, the best learner and its result on test tasks. Several seeds have a
        folder each below it, `seed-0` or `inner-lr-0.01-seed-0`, which is that of a single run.
      resume: go on from the last checkpoint in that folder. On the same backend, number of devices and batching of
        tasks the result is bit for bit that of an uninterrupted run.
      overwrite: empty the folder first.
      progress: whether to show progress on standard error.
      report: whether to write `report.html` into the folder of each run at its end (`mtnets.report`). If that fails, a
        warning says so and nothing of the run is lost. `MTNETS_REPORT=0` in the environment switches it off too.
      callback: `callback(meta_step, learners)`, called after each validation with the learners as they are then.
      on_log: `on_log(line)`, called with each line of the log, a mapping: the meta-step (`step`), `seconds` of
        training, and the losses and metrics, or the scores of a `validation`. Of several seeds each line tells its
        `seed` and its `inner_lr`. What it raises ends the training, after a checkpoint. `mtnets.loggers` has some for
        programs that draw curves.
      **options: fields of `mtnets.Training`, for example `meta_steps=60_000`.

    Returns:
      The learner that did best on validation tasks; a list of them for several seeds.

    Raises:
      OptionError: for settings that are not possible.
      RunError: if the folder cannot be used, or a loss or gradient is not finite more often than `skip_nonfinite`
        allows.
    """
    if out is None and (resume or overwrite):
        raise OptionError("resume and overwrite need the folder of a run; name it (out=...), or leave them out.")
    choices = {"seed": seed, "inner_lr": inner_lr, "optimiser": optimiser}
    choices |= {"loss": loss, "inner_loss": inner_loss, "metrics": metrics, "best": best}
    plan = make_plan(model, method, tasks, **choices, options=options)  # type: ignore[arg-type]
    several = isinstance(seed, Sequence)
    if plan.runs > 1 and plan.training.patience:
        raise OptionError(
            f"patience is {plan.training.patience}, and the {plan.runs} runs side by side end together; leave it out, "
            "or train each seed by a call of its own."
        )
    if out is None:
        learners, *_ = _follow(plan, _start(plan, kept=False), None, Watch(progress, callback, on_log))
    else:
        folders = folders_below(Path(out), plan, by_rate=inner_lr is not None) if several else [Path(out)]
        how: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "progress": progress, "report": report}
        results = train_in(folders, plan, **how, callback=callback, on_log=on_log)
        learners = [result.learner for result in results]
        for folder, result in zip(folders, results, strict=True):
            announce(f"{_score(result.test)}; written to {folder}", progress)
    return learners if several else learners[0]


@checked_arguments
def run_training(
    model: Model | None,
    method: Method,
    tasks: Family | Distribution,
    *,
    out: str | Path,
    seed: int = 0,
    loss: LossLike | None = None,
    inner_loss: LossLike | None = None,
    metrics: Mapping[str, MetricLike] | None = None,
    best: str | None = None,
    optimiser: optax.GradientTransformation | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    report: bool = True,
    callback: Callback | None = None,
    on_log: OnLog | None = None,
    **options: Unpack[TrainingOptions],
) -> RunResult:
    """Meta-trains in a folder and returns the whole result: the learner, its scores on test tasks, and times.

    The arguments, and the errors raised, are those of `meta_train`.
    """
    plan = make_plan(
        model,
        method,
        tasks,
        seed=seed,
        loss=loss,
        inner_loss=inner_loss,
        metrics=metrics,
        best=best,
        optimiser=optimiser,
        options=options,
    )
    how: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "progress": progress, "report": report}
    (result,) = train_in([Path(out)], plan, **how, callback=callback, on_log=on_log)
    return result


def train_in(
    folders: Sequence[Path],
    plan: Plan,
    *,
    resume: bool,
    overwrite: bool,
    progress: bool = True,
    report: bool = False,
    callback: Callback | None = None,
    on_log: OnLog | None = None,
) -> list[RunResult]:
    """Trains the runs of a plan side by side, each in a folder of its own, and tests what each has learned.

    Args:
      folders: one for each run.
      plan: of the training.
      resume, overwrite, progress, report, callback, on_log: as for `meta_train`.

    Raises:
      RunError: as `meta_train`; `NotFinite` once every run has failed.
    """
    start = _start(plan, kept=True)
    with RunFolders(folders, plan, resume=resume, overwrite=overwrite) as opened:
        results = _run_in(opened, opened.plan, start, Watch(progress, callback, on_log), resume)
        if not report:
            return results
        with (
            stopping_at_once(f"Stopped while writing the report; the run in {opened} is complete."),
            announced("writing the report", "report written", progress),
        ):
            return in_first(functools.partial(_reported, folders, plan, results), results)


def _score(test: Estimate) -> str:
    """`accuracy 0.9321 ± 0.0042 on 600 test tasks`."""
    half = "" if test.num_tasks < 2 or test.stream else f" ± {test.ci95[-1]:.4f}"
    return f"{test.metric} {test.final:.4f}{half} on {test.num_tasks:,} test tasks"


def _reported(folders: Sequence[Path], plan: Plan, results: Sequence[RunResult]) -> list[RunResult]:
    """The results with their reports, which are written while nobody else may use the folders."""
    tasks = plan.family or plan.test
    return [
        result._replace(report=end(folder, result.learner, tasks))
        for folder, result in zip(folders, results, strict=True)
    ]


def _start(plan: Plan, kept: bool) -> Position:
    """The position before the first meta-step, checked before a folder is made for the run, if it is `kept` in one."""
    if count() > 1:
        check_same(plan.common() | {"folder": kept})
    begun = begin(plan)
    position = Position(begun.step, **of_first(state(begun)))  # a network may have drawn weights of its own
    params, of_network = jax.tree.map(lambda leaf: leaf[0], (position.outer.meta.params, position.outer.state))
    check_outputs(plan.model, plan.criterion, params, of_network, drawn(plan.train, "The training tasks").support.x)
    return position


def _run_in(folders: RunFolders, plan: Plan, start: Position, watch: Watch, resume: bool) -> list[RunResult]:
    """Trains in folders, and tests what was learned."""
    learners, phases, step = _follow(plan, start, folders, watch, resume)
    in_first(functools.partial(folders.save, learners), None)  # before the test, which may take long or be stopped
    plan = phases.plan
    training = plan.training
    kept = (
        f"Stopped while testing. The training in {folders} is done and its learner is kept; resume=True only tests it"
    )
    with (
        stopping_at_once(f"{kept} and writes the report."),
        announced(f"testing on {training.test_tasks:,} tasks", "tested", watch.progress),
    ):
        tests = [
            evaluate_together(
                learner,
                plan.family or plan.test,
                training.test_tasks,
                devices=training.devices,
                tasks_at_once=plan.tasks_at_once,
            )
            for learner in learners
        ]
    seconds = phases.train_seconds / phases.meta_steps if phases.meta_steps else None
    results = [
        RunResult(
            learner,
            test,
            step,
            step < training.meta_steps,
            seconds,
            phases.compile_seconds,
            peak_memory(),
            plan.machine(),
            plan.alone(run).config,
        )
        for run, (learner, test) in enumerate(zip(learners, tests, strict=True))
    ]
    return in_first(functools.partial(folders.finish, results), results)


def _follow(
    plan: Plan, start: Position, folders: RunFolders | None, watch: Watch, resume: bool = False
) -> tuple[list[Learner], Phases, int]:
    """Trains, and does what each event asks for: the learners, the programs, and the meta-steps that were taken."""
    position = start
    if folders is not None:
        position = folders.restored(start)
    begun = time.perf_counter() - (0.0 if folders is None else folders.seconds)
    listener = Listener(watch.on_log)
    show = watch.progress and is_first()
    with Display(plan, position, show, tested=folders is not None) as display, contextlib.ExitStack() as stack:
        if plan.model.own_weights and plan.runs > 1:
            display.note("The network keeps its own starting weights: seeds differ in their tasks alone.")
        if resume and position is start:
            display.note("There is no checkpoint to resume from; the training begins anew.")
        phases = _programs(plan, start, display)
        plan = phases.plan
        if folders is not None:
            in_first(functools.partial(folders.keep, plan), None)
        # without a folder nothing could be kept, and Ctrl-C stops at once
        stop = Stopping() if folders is None else stack.enter_context(stopping())
        for event in training_events(plan, position, phases, lambda: max(stop.signal, listener.signal)):
            position = event.position
            seconds = time.perf_counter() - begun
            _check(plan, position, folders)
            display.show(event)
            if isinstance(event, Compiled):
                warn_of_memory(plan, phases)
            if isinstance(event, CheckpointDue):
                check_equal(state(position))
            if folders is not None:
                in_first(functools.partial(folders.record, event, seconds), None)
                if isinstance(event, CheckpointDue):  # so that a training can be used before it has ended
                    so_far = learners_so_far(plan, position)
                    in_first(functools.partial(folders.save_so_far, so_far, position.step), None)
            listener.tell(lines_of(plan, event, seconds))
            if watch.callback is not None and isinstance(event, Validated):
                watch.callback(position.step, learners_now(plan, position))
            if isinstance(event, CheckpointDue) and event.signal:
                in_first(listener.check, None)
                stop.signal = event.signal  # which another process may have had
                kept = f"{folders} has a checkpoint of it; go on with resume=True."
                stop.stop(f"Stopped at meta-step {position.step}; {kept}")
        _note_skips(display, plan, position)
    return learners(plan, position.best, position.outer.failed), phases, position.step


def _programs(plan: Plan, start: Position, display: Display) -> Phases:
    """The programs of a plan, whose number of tasks at once is measured if it asks for that."""
    if plan.training.tasks_at_once != "measured":
        return Phases(plan)
    if not plan.training.meta_steps:
        return Phases(with_tasks_at_once(plan, plan.program.at_once))
    return fastest(plan, start, display.note)


def _check(plan: Plan, position: Position, folders: RunFolders | None) -> None:
    """Raises NotFinite once every run has failed."""
    failed = np.asarray(position.outer.failed)
    if (failed < 0).any():
        return
    kept = None if folders is None else folders.last
    run = int(failed.argmax())
    # those of a run that failed beside others are no good: they say that it has
    good = kept is not None and kept <= failed[run]
    where = f" The last good checkpoint is that of meta-step {kept} in {folders}." if kept and good else ""
    how = "begin anew with overwrite=True" if kept and not good else "go on with resume=True"
    raise NotFinite(
        f"The loss or meta-gradient of meta-step {failed[run]} is not finite. {_cause(plan, position, run)}{where} "
        f"To leave out such meta-steps, {how} and skip_nonfinite=100.",
        tuple(failed.tolist()),
    )


def _cause(plan: Plan, position: Position, run: int) -> str:
    """Why the meta-step at which a run failed gave numbers that are not finite; its state is that before the step."""
    meta, state = jax.tree.map(lambda leaf: leaf[run], (position.outer.meta, position.outer.state))
    learned = Learned(meta, state, plan.inner_lr[run])
    for key in meta_step_keys(plan.keys[run], position.outer.failed[run], plan.training.meta_batch):
        task, keys = jax.jit(drawn_and_keys)(plan.train, key)
        # through the host: arrays that come from there are bound to a device in a way that programs do not take
        if cause := cause_in_training(plan.program.inner, learned, jax.device_get(task), keys):
            return cause
    return "Use a smaller inner rate, fewer inner steps or clip_norm=10 in a new run."


def _note_skips(display: Display, plan: Plan, position: Position) -> None:
    skipped = int(position.outer.skipped.sum())
    if skipped:
        display.note(f"{skipped} meta-steps were skipped: a loss or gradient was not finite.")
    for seed, step in zip(plan.seeds, np.asarray(position.outer.failed), strict=True):
        if step >= 0:
            display.note(
                f"Seed {seed} ended at meta-step {step}: it skipped more meta-steps than skip_nonfinite allows. Its "
                "best learner is kept."
            )
