"""The outer loop as a generator of events; what is done about each is decided by the caller."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.arrays import from_numpy, to_numpy
from mtnets.inner import Learned, Meta
from mtnets.learner.evaluate import evaluate_together
from mtnets.learner.learner import REACHED, Learner
from mtnets.learner.meeting import drawn
from mtnets.outer.phases import Phases
from mtnets.outer.plan import Plan
from mtnets.outer.program import Outer
from mtnets.processes import agreed, largest

VALIDATION_SEED = 20180606
DISPLAY_SECONDS = 1.0  # a chunk of meta-steps takes about this long


class Best(NamedTuple):
    """The best learner of each run on validation tasks so far.

    Attributes:
      score: on validation tasks, larger is better; −∞ before the first validation, `[runs]`.
      step: its meta-step, `[runs]`.
      meta: what was learned by then.
      state: state of the network then.
    """

    score: Array
    step: Array
    meta: Meta
    state: Any


class Mark(NamedTuple):
    """The last validation that counted as better, from which patience counts.

    Attributes:
      score: as that of `Best`, `[runs]`.
      step: its meta-step, 0 before any, `[runs]`.
    """

    score: Array
    step: Array


class Position(NamedTuple):
    """Where a training is.

    Attributes:
      step: meta-steps done.
      outer: state of the training.
      best: the best learner so far.
      sums: of the metrics since the last line of the log, of each run, `[runs]`.
      mark: from which patience counts; None without any.
    """

    step: int
    outer: Outer
    best: Best
    sums: Mapping[str, Array]
    mark: Mark | None = None


@dataclasses.dataclass(frozen=True)
class Event:
    """Something happened at this position."""

    position: Position


@dataclasses.dataclass(frozen=True)
class Compiled(Event):
    """The first program is compiled; training begins.

    Attributes:
      seconds: that it took.
      bytes: of memory that a meta-step needs, see `mtnets.memory.needed`.
    """

    seconds: float
    bytes: int


@dataclasses.dataclass(frozen=True)
class Advanced(Event):
    """A chunk of meta-steps was taken.

    Attributes:
      metrics: means since the last line of the log, over runs.
      moving: share of units that move, by layer, where the method has masks.
    """

    metrics: Mapping[str, float]
    moving: Mapping[str, float]


class Logged(Advanced):
    """A line of the log is due."""


@dataclasses.dataclass(frozen=True)
class Validating(Event):
    """The learners are about to be scored on validation tasks."""


@dataclasses.dataclass(frozen=True)
class Validated(Event):
    """Learners were scored on validation tasks.

    Attributes:
      scores: of each run.
    """

    scores: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class CheckpointDue(Event):
    """A checkpoint should be written.

    Attributes:
      signal: the number of the one that asks the training to stop thereafter; 0 for none.
    """

    signal: int = 0


@dataclasses.dataclass(frozen=True)
class Ended(Event):
    """The training is over.

    Attributes:
      early: whether its patience was, before the last meta-step.
    """

    early: bool = False


def of_run(position: Position, run: int) -> Position:
    """The position of one of the runs side by side, as if it were alone."""
    return Position(position.step, *jax.tree.map(lambda leaf: leaf[run : run + 1], position[1:]))


def as_alone(plan: Plan, event: Event, run: int) -> Event:
    """What is told of one of the runs side by side, as if it were alone."""
    if plan.runs == 1:
        return event
    position = of_run(event.position, run)
    match event:
        case Advanced():
            means, moving = _means(position.sums), _moving(plan, position.outer)
            return dataclasses.replace(event, position=position, metrics=means, moving=moving)
        case Validated(scores=scores):
            return dataclasses.replace(event, position=position, scores=(scores[run],))
    return dataclasses.replace(event, position=position)


def begin(plan: Plan) -> Position:
    """The start of a training."""
    outer = jax.jit(plan.program.init)(plan.keys, plan.inner_lr)
    score, step = jnp.full(plan.runs, -jnp.inf), jnp.zeros(plan.runs, jnp.int32)
    best = Best(score, step, outer.meta, outer.state)
    return Position(0, outer, best, plan.program.no_metrics(), Mark(score, step) if plan.training.patience else None)


def training_events(
    plan: Plan, position: Position, phases: Phases, stop: Callable[[], int] = lambda: 0
) -> Iterator[Event]:
    """Trains from a position to the end of the plan, and tells what happens.

    Args:
      plan: of the training.
      position: where it is.
      phases: the programs that take the meta-steps.
      stop: the number of a signal that asks the training to stop, 0 for none: then a checkpoint is due after the
        present chunk of meta-steps. Of several processes any may be asked.
    """
    training = plan.training
    total, every = training.meta_steps, training.validate_every
    if not (over := _is_over(plan, position)):
        phases.compile(position.step, position.outer, position.sums)
        yield Compiled(position, phases.compile_seconds, phases.bytes)
    length, saved = 1, time.perf_counter()
    while not over:
        step = position.step
        marks = (training.log_every, every, training.checkpoint_every)
        end = min(step + length, phases.end(step), *(_next(step, mark) for mark in marks))
        outer, sums, seconds = phases.run(step, end, position.outer, position.sums)
        length = max(1, min(4 * length, int((end - step) * DISPLAY_SECONDS / max(agreed(seconds), 1e-9))))
        position = position._replace(step=end, outer=outer, sums=sums)
        means, moving = _means(sums), _moving(plan, outer)
        yield Advanced(position, means, moving)
        if _is_at(end, training.log_every, total):
            yield Logged(position, means, moving)
            position = position._replace(sums=plan.program.no_metrics())
        if _is_at(end, every, total):
            yield Validating(position)
            scores = _validate(plan, position)
            position = position._replace(best=_better(plan, position, scores), mark=_marked(plan, position, scores))
            yield Validated(position, scores)
        over = _is_over(plan, position)
        late = agreed(time.perf_counter() - saved) >= training.checkpoint_seconds
        signal = largest(stop())
        if late or signal or _is_at(end, training.checkpoint_every, total) or over:
            yield CheckpointDue(position, signal)
            saved = time.perf_counter()
    if not every or total == 0:  # nothing was chosen: the last learner counts
        last = jnp.full(plan.runs, position.step, jnp.int32)
        position = position._replace(best=Best(position.best.score, last, *_now(position)))
    yield Ended(position, early=position.step < total)


def learners(plan: Plan, best: Best, failed: Array | None = None) -> list[Learner]:
    """A learner for each run.

    Args:
      plan: of the training.
      best: what each run has learned.
      failed: the meta-step at which each run ended early, −1 if it did not.
    """
    family, result = plan.family, []
    sign = _sign(plan)
    for i, (seed, inner_lr) in enumerate(zip(plan.seeds, plan.inner_lrs, strict=True)):
        # through the host: what a mesh of devices computed could not be used with another number of devices
        meta, state = jax.tree.map(lambda leaf, i=i: from_numpy(to_numpy(leaf[i]), leaf[i]), (best.meta, best.state))
        score = float(best.score[i])
        record = plan.config | {
            "method": plan.config["method"] | {"inner_lr": inner_lr},
            "seed": seed,
            "meta_step": int(best.step[i]),
            "failed": None if failed is None or failed[i] < 0 else int(failed[i]),
            "validation": sign * score if np.isfinite(score) else None,
            **_targets(plan),
            "classes": {} if family is None else {name: list(names) for name, names in family.classes.items()},
        }
        result.append(
            Learner(
                plan.model,
                dataclasses.replace(plan.method, inner_lr=inner_lr),
                Learned(meta, state, inner_lr),
                plan.training.inner_steps,
                plan.criterion,
                plan.inputs,
                record,
                plan.view,
            )
        )
    return result


def _targets(plan: Plan) -> dict[str, Any]:
    """The shape of the targets of one example, for a loss that does not say it."""
    if plan.criterion.inner_loss.targets != "any":
        return {}
    y = drawn(plan.train, "The training tasks").support.y
    return {"target_shape": list(y.shape[1:])} if hasattr(y, "shape") else {}


def learners_now(plan: Plan, position: Position) -> list[Learner]:
    """The learners as they are at a position, not the best ones so far."""
    return learners(plan, Best(position.best.score, position.best.step, *_now(position)))


def learners_so_far(plan: Plan, position: Position) -> list[Learner]:
    """The best learners so far, before a validation those of now; they say that their training has not ended."""
    best = position.best
    if not np.asarray(best.step).any():
        best = Best(best.score, np.full(plan.runs, position.step), *_now(position))  # type: ignore[arg-type]
    return [
        dataclasses.replace(learner, record={**learner.record, REACHED: position.step})
        for learner in learners(plan, best, position.outer.failed)
    ]


def _now(position: Position) -> tuple[Meta, Any]:
    return position.outer.meta, position.outer.state


def _sign(plan: Plan) -> float:
    return 1.0 if plan.criterion.higher_is_better else -1.0


def _means(sums: Mapping[str, Array]) -> dict[str, float]:
    """Means over the meta-steps that counted, then over runs; NaN where none did."""
    values = {name: np.asarray(value) for name, value in sums.items()}
    counts = values.pop("count")
    return {
        name: float(np.mean(value[counts > 0] / counts[counts > 0])) if counts.any() else float("nan")
        for name, value in values.items()
    }


def _moving(plan: Plan, outer: Outer) -> dict[str, float]:
    """Share of units that move per layer, averaged over runs."""
    inner = plan.program.inner
    return {name: float(share) for name, share in inner.method.rule.moving(inner.layers, outer.meta.rule).items()}


def _validate(plan: Plan, position: Position) -> tuple[float, ...]:
    training = plan.training
    return tuple(
        evaluate_together(
            learner,
            plan.validation,
            training.validation_tasks,
            seed=VALIDATION_SEED,
            devices=training.devices,
            tasks_at_once=plan.tasks_at_once,
        ).final
        for learner in learners_now(plan, position)
    )


def _better(plan: Plan, position: Position, scores: tuple[float, ...]) -> Best:
    """The better of the best learner so far and the one of now, run by run."""
    best, outer = position.best, position.outer
    score = _sign(plan) * jnp.asarray(scores)
    # where no score was finite yet, the latest learner is as good as any before it
    better = (~jnp.isfinite(best.score) | (jnp.isfinite(score) & (score > best.score))) & (outer.failed < 0)

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    now = Best(score, jnp.full(len(scores), position.step, jnp.int32), *_now(position))
    return jax.tree.map(choose, now, best)


def _marked(plan: Plan, position: Position, scores: tuple[float, ...]) -> Mark | None:
    """The mark, moved to these scores where they are better by more than `min_delta`."""
    mark = position.mark
    if mark is None:
        return None
    score = _sign(plan) * jnp.asarray(scores)
    better = jnp.isfinite(score) & (score > mark.score + plan.training.min_delta)
    return Mark(jnp.where(better, score, mark.score), jnp.where(better, position.step, mark.step))


def _is_over(plan: Plan, position: Position) -> bool:
    """Whether the training is at its end, or its patience is."""
    training, mark = plan.training, position.mark
    if position.step >= training.meta_steps or mark is None:
        return position.step >= training.meta_steps
    return bool((position.step - mark.step >= training.patience * training.validate_every).all())


def _is_at(step: int, every: int, total: int) -> bool:
    """Whether something that is done every so many meta-steps, and at the end, is due; 0 for never."""
    return every > 0 and (step % every == 0 or step == total)


def _next(step: int, every: int) -> int:
    """The first multiple of `every` after `step`."""
    return (step // every + 1) * every if every else sys.maxsize
