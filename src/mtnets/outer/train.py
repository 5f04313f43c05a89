"""Meta-training: the outer loop with progress, validation, checkpoints and a record of everything."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Unpack, overload

import jax
import numpy as np
import optax

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError, RunError
from mtnets.inner import Distribution, Learned, LossLike, Method, MetricLike, cause_in_training
from mtnets.learner.evaluate import evaluate_together
from mtnets.learner.learner import Learner
from mtnets.learner.meeting import check_outputs, drawn
from mtnets.networks.model import Model
from mtnets.outer.batching import fastest
from mtnets.outer.forecast import warn_of_memory
from mtnets.outer.gradient import drawn_and_keys
from mtnets.outer.loop import (
    CheckpointDue,
    Compiled,
    Position,
    Validated,
    begin,
    learners,
    learners_now,
    training_events,
)
from mtnets.outer.phases import Phases
from mtnets.outer.plan import Plan, make_plan, with_tasks_at_once
from mtnets.outer.program import meta_step_keys
from mtnets.outer.progress import Display
from mtnets.outer.run import RunFolder, RunResult, peak_memory, state
from mtnets.outer.settings import TrainingOptions
from mtnets.processes import check_equal, check_same, count, in_first, is_first, of_first
from mtnets.stopping import Stopping, stopping
from mtnets.tasks import Family

Callback = Callable[[int, list[Learner]], None]


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
    callback: Callback | None = None,
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
    progress: bool = True,
    callback: Callback | None = None,
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
    callback: Callback | None = None,
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
      out: folder for config, metrics, checkpoints, the best learner and its result on test tasks.
      resume: go on from the last checkpoint in that folder. On the same backend, number of devices and batching of
        tasks the result is bit for bit that of an uninterrupted run.
      overwrite: empty the folder first.
      progress: whether to show progress on standard error.
      callback: `callback(meta_step, learners)`, called after each validation with the learners as they are then.
      **options: fields of `mtnets.Training`, for example `meta_steps=60_000`.

    Returns:
      The learner that did best on validation tasks; a list of them for several seeds.

    Raises:
      OptionError: for settings that are not possible.
      RunError: if the folder cannot be used, or a loss or gradient is not finite more often than `skip_nonfinite`
        allows.
    """
    if out is not None:
        _check_one(seed)
    elif resume or overwrite:
        raise OptionError("resume and overwrite need the folder of a run; name it (out=...), or leave them out.")
    choices = {"seed": seed, "inner_lr": inner_lr, "optimiser": optimiser}
    choices |= {"loss": loss, "inner_loss": inner_loss, "metrics": metrics, "best": best}
    plan = make_plan(model, method, tasks, **choices, options=options)  # type: ignore[arg-type]
    start = _start(plan, out is not None)
    if out is not None:
        with RunFolder(Path(out), plan, resume=resume, overwrite=overwrite) as folder:
            return _run_in(folder, folder.plan, start, progress, callback, resume).learner
    result, _ = _follow(plan, start, None, progress, callback)
    return result if isinstance(seed, Sequence) else result[0]


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
    callback: Callback | None = None,
    **options: Unpack[TrainingOptions],
) -> RunResult:
    """Meta-trains in a folder and returns the whole result: the learner, its scores on test tasks, and times.

    The arguments, and the errors raised, are those of `meta_train`.
    """
    _check_one(seed)
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
    start = _start(plan, True)
    with RunFolder(Path(out), plan, resume=resume, overwrite=overwrite) as folder:
        return _run_in(folder, folder.plan, start, progress, callback, resume)


def _check_one(seed: int | Sequence[int]) -> None:
    if isinstance(seed, Sequence):
        raise OptionError(
            f"seed is {seed}; it must be one seed for a run with a folder, or several without (out=None)."
        )


def _start(plan: Plan, kept: bool) -> Position:
    """The position before the first meta-step, checked before a folder is made for the run, if it is `kept` in one."""
    if count() > 1:
        check_same(plan.common() | {"folder": kept})
    begun = begin(plan)
    position = Position(begun.step, **of_first(state(begun)))  # a network may have drawn weights of its own
    params, of_network = jax.tree.map(lambda leaf: leaf[0], (position.outer.meta.params, position.outer.state))
    check_outputs(plan.model, plan.criterion, params, of_network, drawn(plan.train, "The training tasks").support.x)
    return position


def _run_in(
    folder: RunFolder, plan: Plan, start: Position, progress: bool, callback: Callback | None, resume: bool
) -> RunResult:
    """Trains in a folder, and tests what was learned."""
    (learner,), phases = _follow(plan, start, folder, progress, callback, resume)
    in_first(folder.check_present, None)
    in_first(lambda: learner.save(folder.path), None)  # before the test, which may take long or be stopped
    plan = phases.plan
    training = plan.training
    test = evaluate_together(
        learner,
        plan.family or plan.test,
        training.test_tasks,
        devices=training.devices,
        tasks_at_once=plan.tasks_at_once,
    )
    seconds = phases.train_seconds / phases.meta_steps if phases.meta_steps else None
    result = RunResult(
        learner,
        test,
        training.meta_steps,
        seconds,
        phases.compile_seconds,
        peak_memory(),
        plan.machine(),
        plan.config,
    )
    return in_first(lambda: folder.finish(result), result)


def _follow(
    plan: Plan,
    start: Position,
    folder: RunFolder | None,
    progress: bool,
    callback: Callback | None,
    resume: bool = False,
) -> tuple[list[Learner], Phases]:
    """Trains, and does what each event asks for."""
    position = start
    if folder is not None:
        position = folder.restored(start)
        in_first(functools.partial(folder.begin_log, position.step), None)
    show = progress and is_first()
    with Display(position.step, plan.training.meta_steps, show) as display, contextlib.ExitStack() as stack:
        if plan.model.own_weights and plan.runs > 1:
            display.note("The network keeps its own starting weights: seeds differ in their tasks alone.")
        if resume and position is start:
            display.note("There is no checkpoint to resume from; the training begins anew.")
        phases = _programs(plan, start, display)
        plan = phases.plan
        if folder is not None:
            in_first(functools.partial(folder.keep, plan), None)
        # without a folder nothing could be kept, and Ctrl-C stops at once
        stop = Stopping() if folder is None else stack.enter_context(stopping())
        for event in training_events(plan, position, phases, lambda: stop.signal):
            position = event.position
            _check(plan, position, folder)
            display.show(event)
            if isinstance(event, Compiled):
                warn_of_memory(plan, phases)
            if isinstance(event, CheckpointDue):
                check_equal(state(position))
            if folder is not None:
                in_first(functools.partial(folder.record, event), None)
            if callback is not None and isinstance(event, Validated):
                callback(position.step, learners_now(plan, position))
            if folder is not None and isinstance(event, CheckpointDue) and event.signal:
                stop.signal = event.signal  # which another process may have had
                kept = f"{folder.path} has a checkpoint of it; go on with resume=True."
                stop.stop(f"Stopped at meta-step {position.step}; {kept}")
        _note_skips(display, plan, position)
    return learners(plan, position.best, position.outer.failed), phases


def _programs(plan: Plan, start: Position, display: Display) -> Phases:
    """The programs of a plan, whose number of tasks at once is measured if it asks for that."""
    if plan.training.tasks_at_once != "measured":
        return Phases(plan)
    if not plan.training.meta_steps:
        return Phases(with_tasks_at_once(plan, plan.program.at_once))
    return fastest(plan, start, display.note)


def _check(plan: Plan, position: Position, folder: RunFolder | None) -> None:
    """Raises RunError once every run has failed."""
    failed = np.asarray(position.outer.failed)
    if (failed < 0).any():
        return
    kept = None if folder is None else folder.latest()
    where = f" The last good checkpoint is that of meta-step {kept} in {folder.path}." if folder and kept else ""
    run = int(failed.argmax())
    raise RunError(
        f"The loss or meta-gradient of meta-step {failed[run]} is not finite. {_cause(plan, position, run)}{where} "
        "To leave out such meta-steps, go on with resume=True and skip_nonfinite=100."
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
