"""The meta-gradient: mean over a batch of tasks, batched within a device and sharded over devices."""

from typing import Any, NamedTuple

import jax
from jax import Array
from jax.sharding import Mesh

from mtnets.devices import mean_over
from mtnets.inner.loop import Episode, Inner, Start, starting_point
from mtnets.inner.methods import Meta
from mtnets.inner.task import Distribution, Task


class MetaStep(NamedTuple):
    """What a batch of tasks says.

    Attributes:
      gradient: mean gradient of the query loss after adaptation with respect to everything meta-learned.
      state: state of the network, averaged over tasks.
      metrics: means over tasks: `pre_loss` (on the support set, before adaptation), `post_loss` (on the query set,
        after it) and, in classification, `accuracy` (on the query set, after it).
    """

    gradient: Meta
    state: Any
    metrics: dict[str, Array]


class TaskStep(NamedTuple):
    """The same for a single task; the gradient is with respect to its start."""

    gradient: Start
    state: Any
    metrics: dict[str, Array]


def task_gradient(
    inner: Inner, start: Start, state: Any, inner_lr: Any, task: Task, key: Array, step_weights: Array | None = None
) -> TaskStep:
    """The gradient of the meta-loss of a task with respect to where it started, as the method estimates it."""
    inner_key, query_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    episode = Episode(inner, state, inner_lr, task, inner_key, query_key, step_weights)
    (_, (new_state, metrics)), gradient = inner.method.estimator.gradient(episode, start)
    return TaskStep(gradient, new_state, metrics)


def meta_gradient(
    inner: Inner,
    meta: Meta,
    state: Any,
    inner_lr: Any,
    tasks: Distribution,
    keys: Array,
    step_weights: Array | None = None,
    *,
    at_once: int = 1,
    mesh: Mesh | None = None,
) -> MetaStep:
    """The mean meta-gradient over tasks drawn with the given keys.

    Args:
      inner: the inner problem.
      meta: what is meta-learned.
      state: state of the network.
      inner_lr: α.
      tasks: where tasks come from.
      keys: one per task, `[tasks]`; a task is drawn and learned with nothing else, so that the result does not depend
        on how tasks are batched.
      step_weights: of the query losses before the first inner step and after each, `[steps + 1]`, for a multi-step
        loss; the last alone counts unless given.
      at_once: tasks that a device runs at the same time; the rest wait their turn.
      mesh: devices to share the tasks; their number must divide that of the tasks.
    """

    def one(everything: Any, key: Array) -> TaskStep:
        begin, state, inner_lr, tasks, step_weights = everything
        draw, learn = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        return task_gradient(inner, begin, state, inner_lr, tasks.sample(draw), learn, step_weights)

    # all tasks start from the same folded weights: folded once, and the mean gradient goes back through that once
    begin, pull_back = jax.vjp(lambda meta: starting_point(inner, meta), meta)
    mean = mean_over(one, (begin, state, inner_lr, tasks, step_weights), keys, at_once=at_once, mesh=mesh)
    return MetaStep(pull_back(mean.gradient)[0], mean.state, mean.metrics)
