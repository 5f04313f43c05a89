"""A few test tasks, adapted again step by step, with what the network predicts on the way."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from mtnets.compilation import compiled
from mtnets.inner import Batch, Distribution, Inner, Learned, Loss, Task, adapt
from mtnets.learner.evaluate import TEST_SEED, Estimate, as_taken, draw_each, masked_by_support
from mtnets.learner.learner import Learner
from mtnets.tasks import Family
from mtnets.tasks.sampling import surfacing

CURVE_STEPS = 10  # inner steps after which curves end, where training took fewer
GRID = 121  # points of a curve


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
    """

    what: str
    place: int
    scores: np.ndarray
    support: Batch
    query: Batch
    predictions: np.ndarray
    grid: np.ndarray | None
    curves: np.ndarray | None


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
        keys = jax.random.split(jax.random.key(TEST_SEED), test.num_tasks)[np.array(list(wanted.values()))]
        part = tasks.test if isinstance(tasks, Family) else tasks
        distribution, drawn = as_taken(learner, learner.criterion, tasks, part, keys)
        every = jax.tree.map(np.asarray, draw_each(distribution, keys) if drawn is None else drawn)
        return [
            _example(learner, what, place, test, jax.tree.map(lambda leaf, i=i: leaf[i], every), keys[i])
            for i, (what, place) in enumerate(wanted.items())
        ]


def _example(learner: Learner, what: str, place: int, test: Estimate, task: Task, key: Array) -> Example:
    inner, loss = learner.inner, learner.loss
    if inner.criterion.labels and not learner.inputs.shared_classes:
        used = task.support.outputs
        ways = (
            learner.outputs if not learner.any_ways else int(np.max(task.support.y)) + 1 if used is None else len(used)
        )
        inner = dataclasses.replace(inner, ways=ways if learner.any_ways else None)
        task = jax.tree.map(np.asarray, masked_by_support(task, ways))
    grid = None
    if learner.model.input_shape == (1,) and loss.targets == "numbers":
        inner = dataclasses.replace(inner, steps=max(inner.steps, CURVE_STEPS))
        x = np.concatenate([task.support.x, task.query.x])
        grid = np.linspace(x.min(), x.max(), GRID, dtype=x.dtype)[:, None]
    seen = {"query": task.query.x} | ({} if grid is None else {"grid": grid})
    key = jax.random.fold_in(key, 1)  # as in the evaluation, so that masks are those of the test
    predicted = jax.tree.map(np.asarray, _followed(inner, loss, learner.learned, task.support, seen, key))
    if loss.labels and task.query.outputs is not None:
        predicted["query"] = np.where(task.query.outputs, predicted["query"], 0.0)
        predicted["query"] /= np.maximum(predicted["query"].sum(-1, keepdims=True), np.finfo(np.float32).tiny)
    return Example(
        what, place, test.scores[place], task.support, task.query, predicted["query"], grid, predicted.get("grid")
    )


@compiled(static=2)
def _followed(
    inner: Inner, loss: Loss, learned: Learned, support: Batch, seen: Mapping[str, Any], key: Array
) -> dict[str, Array]:
    """What the network predicts before the first inner step and after each, `[steps + 1, examples, ...]`.

    Args:
      inner: the inner problem.
      loss: whose outputs are numbers, or logits.
      learned: what a training gave.
      support: the examples of the task.
      seen: inputs by name.
      key: for masks and everything else that is random.
    """

    def probe(params: Any, state: Any, _: Batch | None) -> dict[str, Array]:
        outputs = {name: inner.model.apply(params, state, x, None)[0] for name, x in seen.items()}
        return {name: jax.nn.softmax(each) if loss.labels else loss.point(each) for name, each in outputs.items()}

    return adapt(inner, learned, support, key, probe=probe).probed
