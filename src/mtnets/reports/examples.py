"""A few test tasks, adapted again step by step, with what the network predicts on the way."""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.compilation import compiled
from mtnets.inner import Batch, Distribution, Inner, Learned, Loss, Task, adapt
from mtnets.learner.evaluate import TEST_SEED, Estimate, as_taken, masked_by_support
from mtnets.learner.learner import Learner
from mtnets.learner.meeting import drawn
from mtnets.tasks import Family
from mtnets.tasks.sampling import surfacing

CURVE_STEPS = 10  # inner steps after which curves end, where training took fewer
GRID = 121  # points of a curve


@runtime_checkable
class Named(Protocol):
    """Tasks that tell which classes they have."""

    def classes_of(self, key: Array, /) -> Array:
        """The places of the classes of the task of a key, in order of its labels, `[ways]`."""
        ...


class Example(NamedTuple):
    """A test task.

    Attributes:
      what: which of them it is, in words.
      place: its number among the test tasks.
      scores: that the test has found, before the first inner step and after each, `[steps + 1]`.
      support, query: its examples, as the network takes them.
      predictions: for the query set before the first step and after each, `[steps + 1, examples, ...]`: numbers, or
        probabilities of classes.
      grid: inputs of a curve, `[points, 1]`; None where inputs are no single number.
      curves: predictions for these, `[steps + 1, points, outputs]`.
      classes: names of its classes in order of their labels; none where they have no names.
    """

    what: str
    place: int
    scores: np.ndarray
    support: Batch
    query: Batch
    predictions: np.ndarray
    grid: np.ndarray | None
    curves: np.ndarray | None
    classes: tuple[str, ...] = ()


def chosen(test: Estimate, higher_is_better: bool) -> dict[str, int]:
    """Three test tasks by their final score: the worst, the median one, and the best."""
    scores = np.ma.filled(np.ma.asarray(test.final_scores), np.nan)
    order = np.argsort(scores if higher_is_better else -scores, kind="stable")
    order = order[~np.isnan(scores[order])]
    if not len(order):
        return {}
    places = {"the worst": order[0], "the median": order[(len(order) - 1) // 2], "the best": order[-1]}
    return {what: int(place) for what, place in places.items()} if len(order) > 2 else {"a test task": int(order[0])}


def examples(learner: Learner, tasks: Family | Distribution, test: Estimate, higher_is_better: bool) -> list[Example]:
    """Test tasks of a run, with predictions.

    They are drawn as `evaluate` draws them, with the same masks, so that they end with the scores of the run.

    Args:
      learner: of the run.
      tasks: that it was tested on.
      test: its scores on them.
      higher_is_better: whether a larger score is better.
    """
    wanted = chosen(test, higher_is_better)
    if not wanted or learner.view.stream or learner.model.takes_several or learner.loss.targets == "any":
        return []
    with surfacing():
        keys = jax.random.key_data(jax.random.split(jax.random.key(TEST_SEED), test.num_tasks))
        chosen_keys = jnp.asarray(np.asarray(keys)[list(wanted.values())])  # by NumPy: nothing is compiled for it
        keys = jax.random.wrap_key_data(chosen_keys)
        part = tasks.test if isinstance(tasks, Family) else tasks
        distribution, raw = as_taken(learner, learner.criterion, tasks, part, keys)
        taken = [None if raw is None else jax.tree.map(lambda leaf, i=i: leaf[i], raw) for i in range(len(keys))]
        inner, outputs = _inner_of(learner, distribution, taken[0])
        points = GRID if learner.model.input_shape == (1,) and learner.loss.targets == "numbers" else 0
        if points:
            inner = dataclasses.replace(inner, steps=max(inner.steps, CURVE_STEPS))
        result = []
        for (what, place), key, task in zip(wanted.items(), keys, taken, strict=True):
            found = _followed(inner, learner.loss, outputs, points, learner.learned, distribution, key, task)
            (support, query), grid, predicted = jax.tree.map(np.asarray, found)
            curves = predicted[1] if points else None
            names = _names(tasks, part, key)
            result.append(Example(what, place, test.scores[place], support, query, predicted[0], grid, curves, names))
        return result


def _names(tasks: Family | Distribution, part: Distribution, key: Array) -> tuple[str, ...]:
    """The names of the classes of a task in order of its labels; none where the family or its tasks do not tell."""
    names = tasks.classes.get("test", ()) if isinstance(tasks, Family) else ()
    if not names or not isinstance(part, Named):
        return ()
    return tuple(str(names[place]) for place in np.asarray(part.classes_of(jax.random.fold_in(key, 0))))


def _inner_of(learner: Learner, tasks: Distribution, taken: Task | None) -> tuple[Inner, int | None]:
    """The inner problem of these tasks, and the number of outputs of which those without a class are masked."""
    inner = learner.inner
    if not inner.criterion.labels or learner.inputs.shared_classes:
        return inner, None
    if not learner.any_ways:
        return inner, learner.outputs
    support = (drawn(tasks, "The tasks") if taken is None else taken).support
    ways = 1 + int(np.max(support.y)) if support.outputs is None else len(support.outputs)
    return dataclasses.replace(inner, ways=ways), ways


@compiled(static=4)
def _followed(
    inner: Inner,
    loss: Loss,
    outputs: int | None,
    points: int,
    learned: Learned,
    tasks: Distribution,
    key: Array,
    taken: Task | None = None,
) -> tuple[Task, Array | None, tuple[Array, ...]]:
    """A task, inputs of a curve, and what the network predicts for both before the first inner step and after each.

    Args:
      inner: the inner problem.
      loss: whose outputs are numbers, or logits.
      outputs: number of outputs, of which those without a class in the support set are masked; None masks none.
      points: of the curve; 0 for none.
      learned: what a training gave.
      tasks: where the task comes from.
      key: of the task, which `evaluate` draws with it.
      taken: the task itself. Defaults to that of the key.

    Returns:
      The task; inputs `[points, 1]`, or None; and predictions `[steps + 1, examples, ...]` for the query set and the
      curve: numbers, or probabilities.
    """
    task = tasks.sample(jax.random.fold_in(key, 0)) if taken is None else taken
    task = task if outputs is None else masked_by_support(task, outputs)
    grid = None
    if points:
        x = jnp.concatenate([task.support.x, task.query.x])
        grid = jnp.linspace(x.min(), x.max(), points)[:, None]

    def predicted(params: Any, state: Any, x: Any) -> Array:
        outputs = inner.model.apply(params, state, x, None)[0]
        if not loss.labels:
            return loss.point(outputs)
        used = task.query.outputs
        return jax.nn.softmax(outputs if used is None else jnp.where(used, outputs, -jnp.inf))

    def probe(params: Any, state: Any, _: Batch | None) -> tuple[Array, ...]:
        return tuple(predicted(params, state, x) for x in (task.query.x, grid) if x is not None)

    return task, grid, adapt(inner, learned, task.support, jax.random.fold_in(key, 1), probe=probe).probed
