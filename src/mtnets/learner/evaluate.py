"""Evaluation on tasks never trained on: per inner step a mean with its interval, the median, and how many diverged."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from mtnets.arguments import Rate, Seed, Steps, checked_arguments
from mtnets.compilation import compiled
from mtnets.devices import AtOnce, Devices, chosen_at_once, map_over, present, task_mesh
from mtnets.errors import DataError, OptionError
from mtnets.files import replacing
from mtnets.inner import (
    LOSS,
    Batch,
    Criterion,
    Distribution,
    Inner,
    Learned,
    Method,
    MetricLike,
    Task,
    adapt,
    criterion,
    judged,
    uses_rate,
)
from mtnets.inner.causes import EMPTY_SLICE
from mtnets.inner.rules import MaskUse
from mtnets.learner.data import of_task, to_counts
from mtnets.learner.learner import MOST_AT_ONCE, Learner
from mtnets.learner.meeting import check_seen, fitted
from mtnets.learner.meeting import drawn as example
from mtnets.processes import count, gathered
from mtnets.tasks import AS_THEY_ARE, Family, inputs_of
from mtnets.tasks.sampling import surfacing

TEST_SEED = 20180605  # one fixed stream of test tasks, the same for all methods
MOST_TASKS = 10_000_000  # whose mean is known better than single precision tells scores apart
DIVERGED = 10.0  # a task diverged if its query loss is not finite or this many times its value before adaptation


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
    """How well a learner does, with the number of tasks that say so.

    Attributes:
      metric: which score this is: `"accuracy"` (a fraction), `"loss"`, or another metric.
      scores: of each task before the first inner step and after each, `[tasks, steps + 1]`.
      losses: query losses, of the same shape.
      each: the same for every metric, by name.
      stream: whether these are scores along a stream: of each slice before it is learned, and of the query set after
        the last.
    """

    metric: str
    scores: np.ndarray
    losses: np.ndarray
    each: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    stream: bool = False

    def of(self, metric: str) -> "Estimate":
        """The estimate of another metric, on the same tasks.

        Raises:
          OptionError: if that was not measured.
        """
        if metric not in self.each:
            raise OptionError(f"There is no score {metric!r}; there are {', '.join(self.each)}.")
        return dataclasses.replace(self, metric=metric, scores=self.each[metric])

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.scores)

    @property
    def mean(self) -> np.ndarray:
        """Mean score per inner step, `[steps + 1]`; infinite or NaN where tasks diverged that far. Tasks for which a
        metric is not defined (NaN) do not count."""
        with np.errstate(all="ignore"):
            return self._defined.mean(0) if self.metric == LOSS else np.ma.filled(self._defined.mean(0), np.nan)

    @property
    def final(self) -> float:
        """The mean score that counts: after the last inner step; of a stream, the mean along the way."""
        return float(self.mean.mean() if self.stream else self.mean[-1])

    @property
    def final_scores(self) -> np.ndarray:
        """The score of each task that counts, see `final`, `[tasks]`; masked where the metric is not defined."""
        return self._defined.mean(1) if self.stream else self._defined[:, -1]

    @property
    def ci95(self) -> np.ndarray:
        """Half-width of the 95 % interval of the mean over tasks, `1.96 s / √n`, `[steps + 1]`."""
        if self.num_tasks < 2:
            return np.full(self.scores.shape[1], np.nan)
        with np.errstate(all="ignore"):
            half = 1.96 * self._defined.std(0, ddof=1) / np.sqrt(np.ma.count(self._defined, 0))
            return np.asarray(np.ma.filled(half, np.nan))

    @property
    def median(self) -> np.ndarray:
        """Median score per inner step, `[steps + 1]`."""
        with np.errstate(all="ignore"):
            if self.metric != LOSS:
                return np.ma.filled(np.ma.median(self._defined, axis=0), np.nan)
            return np.median(np.where(np.isnan(self.scores), np.inf, self.scores).astype(np.float64), axis=0)

    @property
    def _defined(self) -> np.ndarray:
        """Scores in double precision, without those of tasks for which the metric is not defined."""
        scores = self.scores.astype(np.float64)
        # where the loss is not finite either, the task diverged
        return (
            scores if self.metric == LOSS else np.ma.masked_where(np.isnan(scores) & np.isfinite(self.losses), scores)
        )

    @property
    def diverged(self) -> np.ndarray:
        """Share of tasks whose query loss is not finite or above 10 × its value at step 0, `[steps + 1]`."""
        with np.errstate(all="ignore"):
            return (~(self.losses <= DIVERGED * self.losses[:, :1]) | ~np.isfinite(self.losses)).mean(0)

    def to_json(self) -> dict[str, Any]:
        """The summary as plain numbers; what is not finite is None."""
        with np.errstate(all="ignore"):
            loss = self.losses.astype(np.float64).mean(0)
        columns = {"mean": self.mean, "ci95": self.ci95, "median": self.median, "diverged": self.diverged, "loss": loss}
        columns = {name: _plain(values) for name, values in columns.items()}
        steps = [
            {"step": step} | {name: values[step] for name, values in columns.items()}
            for step in range(self.scores.shape[1])
        ]
        others = {name: self.of(name) for name in self.each if name not in (self.metric, LOSS)}
        more = {name: {"mean": _plain(other.mean), "ci95": _plain(other.ci95)} for name, other in others.items()}
        record = {"metric": self.metric, "num_tasks": self.num_tasks, "inner_steps": steps}
        return record | ({"metrics": more} if more else {})

    def save(self, path: str | Path) -> None:
        """Writes the scores and losses of every task into an `.npz` file."""
        with replacing(path) as file:
            others = {name: scores for name, scores in self.each.items() if name not in (self.metric, LOSS)}
            np.savez_compressed(file, scores=self.scores, losses=self.losses, **others)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        """`<Estimate accuracy 0.9870 ± 0.0020 on 600 tasks after 3 inner steps>`."""
        steps, half = len(self.mean) - 1, "" if self.num_tasks < 2 or self.stream else f" ± {self.ci95[-1]:.4f}"
        where = "along a stream" if self.stream else f"after {steps} inner step{'s' * (steps != 1)}"
        return f"<Estimate {self.metric} {self.final:.4f}{half} on {self.num_tasks} tasks {where}>"

    def __str__(self) -> str:
        lines = [f"{self.metric} on {self.num_tasks} tasks", "inner steps         mean ± 95 %    median  diverged"]
        for step, (mean, ci, median, diverged) in enumerate(
            zip(self.mean, self.ci95, self.median, self.diverged, strict=True)
        ):
            lines.append(f"{step:11d}  {mean:11.4f} ± {ci:<8.4f}  {median:7.4f}  {diverged:7.1%}")
        for name in self.each:
            if name not in (self.metric, LOSS):
                other = self.of(name)
                lines.append(f"{name} after {len(self.mean) - 1}: {other.mean[-1]:.4f} ± {other.ci95[-1]:.4f}")
        return "\n".join(lines)


@checked_arguments
def evaluate(
    learner: Learner,
    tasks: Family | Distribution,
    num_tasks: int = 600,
    *,
    inner_steps: Steps | None = None,
    inner_lr: Rate | None = None,
    mask: MaskUse | None = None,
    metrics: Mapping[str, MetricLike] | None = None,
    seed: Seed = TEST_SEED,
    devices: Devices = "all",
    tasks_at_once: AtOnce = "auto",
) -> Estimate:
    """Adapts a learner to test tasks and scores it on their query sets, as `learner.adapt` and a prediction would.

    Outputs whose label does not occur in the support set are masked, where classes are numbered anew in each task.
    Targets that the learner standardises count in units of their spread.

    Args:
      learner: what was meta-trained.
      tasks: a family, whose `.test` is used, or a bare distribution. Tasks whose x come as they are (of `arrays`, say,
        without `inputs`) are raw data, which the learner converts; tasks that are converted already must be converted
        as it does.
      num_tasks: how many tasks are drawn.
      inner_steps: gradient steps. Defaults to those of training.
      inner_lr: α in the place of `learner.inner_lr`, for methods whose rates are not learned.
      metrics: scores beside the loss, by name, as for `meta_train`; the first is that of `scores`. Defaults to those of
        training.
      mask: how masks are used: `sample`, `mean` or `threshold`. Defaults to the method's own choice.
      seed: of the tasks; the default is the same for all methods, so that they are compared on the same tasks.
      devices: how many of this process share the tasks.
      tasks_at_once: tasks that a device runs at the same time; see `mtnets.devices.default_at_once`.

    Raises:
      OptionError: for less than one task or more than ten millions, a mask for a method without one, or an
        inner_lr for a method with learned rates.
      DataError: for tasks whose inputs mean nothing to the learner, or are converted otherwise than it does, and for a
        slice of a stream without an example.
    """
    if not 1 <= num_tasks <= MOST_TASKS:
        raise OptionError(f"num_tasks is {num_tasks}; it must be from 1 to {MOST_TASKS}.")
    inner, learned = learner.inner, learner.learned
    if inner_steps is not None:
        inner = dataclasses.replace(inner, steps=inner_steps)
    if metrics is not None:
        judges = criterion(inner.criterion.loss, inner.criterion.inner_loss, metrics)
        inner = dataclasses.replace(inner, criterion=dataclasses.replace(judges, best=next(iter(metrics), LOSS)))
    if mask is not None:
        inner = dataclasses.replace(inner, method=_with_mask(inner.method, mask))
    if inner_lr is not None:
        learned = _with_rate(inner, learned, inner_lr)
    keys = jax.random.split(jax.random.key(seed), num_tasks)
    return _estimate(learner, inner, learned, tasks, keys, inner_steps, devices, tasks_at_once)


def evaluate_together(
    learner: Learner,
    tasks: Family | Distribution,
    num_tasks: int,
    *,
    seed: Seed = TEST_SEED,
    devices: Devices = "all",
    tasks_at_once: AtOnce = "auto",
) -> Estimate:
    """`evaluate` by all processes (`mtnets.processes`), each of which takes its part of the tasks; all have the result.

    The arguments, and the errors raised, are those of `evaluate`.

    Raises:
      RunError: if a process is lost.
    """
    if count() == 1:
        return evaluate(learner, tasks, num_tasks, seed=seed, devices=devices, tasks_at_once=tasks_at_once)
    keys = jax.random.split(jax.random.key(seed), num_tasks)
    # processes have equally many: the last ones are repeated, and their results dropped
    places = np.minimum(np.arange(num_tasks + -num_tasks % count()), num_tasks - 1)
    own = keys[np.split(places, count())[jax.process_index()]]
    part = _estimate(learner, learner.inner, learner.learned, tasks, own, None, devices, tasks_at_once)
    each = {name: np.concatenate(list(gathered(scores)))[:num_tasks] for name, scores in part.each.items()}
    return dataclasses.replace(part, scores=each[part.metric], losses=each[LOSS], each=each)


def _estimate(
    learner: Learner,
    inner: Inner,
    learned: Learned,
    tasks: Family | Distribution,
    keys: Array,
    inner_steps: int | None,
    devices: Devices,
    tasks_at_once: AtOnce,
) -> Estimate:
    """The scores of what a learner has learned on the tasks of these keys, `[tasks]`."""
    at_once = chosen_at_once(tasks_at_once, learner.meta.params, len(keys), most=MOST_AT_ONCE)
    part = tasks.test if isinstance(tasks, Family) else tasks
    distribution, drawn = as_taken(learner, inner.criterion, tasks, part, keys)
    masked = inner.criterion.labels and not learner.inputs.shared_classes
    if masked or inner.view.stream:
        one = example(distribution, "The tasks") if drawn is None else jax.tree.map(lambda leaf: leaf[0], drawn)
        inner = _of_task(learner, inner, one, inner_steps)
        if masked:
            check_seen(one, "The tasks")
    with surfacing():
        mesh = task_mesh(min(present(devices), len(keys)))
        outputs = (inner.ways or learner.outputs) if masked else None
        scores = score_tasks(inner, outputs, at_once, mesh, learned, distribution, keys, drawn)
        each = {name: np.asarray(values) for name, values in scores.items()}
        if inner.view.stream:
            _check_slices(inner, distribution, keys, drawn, each[LOSS])
        best = inner.criterion.best
        return Estimate(best, each[best], each[LOSS], each, inner.view.stream)


def _check_slices(inner: Inner, tasks: Distribution, keys: Array, drawn: Task | None, losses: np.ndarray) -> None:
    """Raises DataError where a loss along a stream is no number because nothing is in a slice."""
    places = np.flatnonzero(np.isnan(losses).any(1))
    if not len(places):
        return
    supports = jax.tree.map(np.asarray, (draw_each(tasks, keys) if drawn is None else drawn).support)
    for place in places:
        if not inner.view.weighed(jax.tree.map(lambda leaf, place=place: leaf[place], supports)):
            raise DataError(f"Task {place} of these: {EMPTY_SLICE}")


def as_taken(
    learner: Learner, criterion: Criterion, tasks: Family | Distribution, part: Distribution, keys: Array
) -> tuple[Distribution, Task | None]:
    """Where tasks are drawn from, as the network takes them, and the tasks themselves, `[tasks, ...]`, if the learner
    has converted their raw data; None if there was nothing to convert.

    Args:
      learner: that is to learn them.
      criterion: what it is judged by.
      tasks: where they come from.
      part: what they are drawn from: a distribution of the family, or the tasks themselves.
      keys: of the tasks.

    Raises:
      OptionError, DataError: for tasks that do not fit the network or the criterion, whose inputs mean nothing to the
        learner, or are converted otherwise than it does.
    """
    given = inputs_of(tasks)
    if given is not None:
        learner.inputs.check_tasks(given)
    if given == AS_THEY_ARE != learner.inputs:
        return part, converted(learner, part, keys)
    return fitted(learner.model, criterion, part, "The tasks", any_ways=learner.any_ways), None


def _of_task(learner: Learner, inner: Inner, task: Task, inner_steps: int | None) -> Inner:
    """The inner problem of tasks like this one."""
    support, ways = task.support, None
    if learner.any_ways:
        ways = 1 + int(np.max(support.y)) if support.outputs is None else len(support.outputs)
    of_task = learner.inner_of(support.size, inner_steps, ways)
    return dataclasses.replace(inner, steps=of_task.steps, ways=of_task.ways)


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _with_mask(method: Method, mask: str) -> Method:
    if not hasattr(method, "mask"):
        raise OptionError(f"{method.name} has no masks, and mask is {mask!r}; leave it out.")
    return dataclasses.replace(method, mask=mask)  # type: ignore[call-arg]


def _with_rate(inner: Inner, learned: Learned, inner_lr: float) -> Learned:
    if not uses_rate(inner, learned.meta):
        raise OptionError(
            f"inner_lr is {inner_lr}, and the rates of {inner.method.name} are learned, in the place of α; leave it "
            "out."
        )
    return learned._replace(inner_lr=inner_lr)


def _draw(tasks: Distribution, key: Array) -> Task:
    """The task of a key."""
    return tasks.sample(jax.random.fold_in(key, 0))


@compiled()
def draw_each(tasks: Distribution, keys: Array) -> Task:
    """The tasks of these keys, `[tasks, ...]`."""
    return jax.lax.map(functools.partial(_draw, tasks), keys)


def converted(learner: Learner, tasks: Distribution, keys: Array) -> Task:
    """The tasks of these keys, `[tasks, ...]`, whose raw data the learner converts as in `adapt`."""
    with surfacing():
        raw = jax.tree.map(np.asarray, draw_each(tasks, keys))
    converted = []
    for i in range(len(keys)):
        task = jax.tree.map(lambda leaf, i=i: leaf[i], raw)
        with of_task(i):
            x, y, weights, _ = task.support
            counts = None if weights is None else to_counts(weights, y)
            inputs = learner.inputs.for_task(x, y, counts)
            batches = [learner.batch(part.x, part.y, inputs) for part in task]
            kept = [part._replace(x=made.x, y=made.y) for made, part in zip(batches, task, strict=True)]
            converted.append(Task(*kept))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *converted)


@compiled(static=4)
def score_tasks(
    inner: Inner,
    outputs: int | None,
    at_once: int,
    mesh: Mesh | None,
    learned: Learned,
    tasks: Distribution,
    keys: Array,
    drawn: Task | None = None,
) -> dict[str, Array]:
    """Query losses and scores of one learner.

    Args:
      inner: the inner problem.
      outputs: number of outputs, of which those are masked that the support set has no label of; None masks none.
      at_once, mesh: see `map_over`.
      learned: what a training gave.
      tasks: the distribution that tasks are drawn from.
      keys: of the tasks, `[tasks]`.
      drawn: the tasks themselves, `[tasks, ...]`. Defaults to those of the keys.

    Returns:
      `"loss"` and each metric by its name, `[tasks, steps + 1]`: of the query set before the first inner step and
      after each; of a stream, of each slice before it is learned and of the query set after the last.
    """

    def one(context: tuple[Learned, Distribution], each: tuple[Array, Task | None]) -> dict[str, Array]:
        learned, tasks = context
        key, task = each
        task = _draw(tasks, key) if task is None else task
        if outputs is not None:
            task = masked_by_support(task, outputs)

        judges, loss_key = inner.criterion, inner.key_of_loss(key)

        def probe(params: Any, state: Any, seen: Batch | None) -> dict[str, Array]:
            examples = seen if inner.view.stream and seen is not None else task.query
            loss, _, predict = judged(judges.loss, inner.model, params, state, examples, None, loss_key)
            scores = judges.scores(predict, examples, loss_key)
            return {LOSS: loss} | {name: score.astype(jnp.float32) for name, score in scores.items()}

        return adapt(inner, learned, task.support, jax.random.fold_in(key, 1), probe=probe).probed

    return map_over(one, (learned, tasks), (keys, drawn), at_once=at_once, mesh=mesh)


def masked_by_support(task: Task, outputs: int) -> Task:
    """The task with the outputs that its support set has labels of, unless it says itself which are classes."""
    support, query = task
    if support.outputs is not None:
        return task
    occurs = (support.y.reshape(len(support.y), -1, 1) == jnp.arange(outputs)).any(1)
    if support.weights is not None:
        occurs &= support.weights[:, None] > 0
    used = occurs.any(0)
    return Task(support._replace(outputs=used), query._replace(outputs=used))
