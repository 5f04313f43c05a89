"""The meta-gradient: mean over a batch of tasks, batched within a device and sharded over devices."""

from typing import Any, NamedTuple

import jax
from jax import Array
from jax.sharding import Mesh

from mtnets.devices import mean_of_devices, mean_over
from mtnets.inner import Distribution, Inner, Learned, Meta, Start, Task, TaskEpisode, starting_point


class MetaStep(NamedTuple):
    """Means over a batch of tasks.

    Attributes:
      gradient: of the query loss after adaptation with respect to everything meta-learned.
      state: state of the network.
      metrics: `pre_loss` (on the support set, before adaptation), `post_loss` (on the query set, after it) and, in
        classification, `accuracy` (on the query set, after it).
    """

    gradient: Meta
    state: Any
    metrics: dict[str, Array]


class TaskStep(NamedTuple):
    """The same for a single task; the gradient is with respect to its start."""

    gradient: Start
    state: Any
    metrics: dict[str, Array]


def drawn_and_keys(tasks: Distribution, key: Array) -> tuple[Task, tuple[Array, Array]]:
    """A task, the key of its inner loop, and that for dropout on its query set, all from one key."""
    draw, learn = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    return tasks.sample(draw), (jax.random.fold_in(learn, 0), jax.random.fold_in(learn, 1))


def task_gradient(
    inner: Inner,
    start: Start,
    state: Any,
    inner_lr: Any,
    task: Task,
    keys: tuple[Array, Array],
    step_weights: Array | None = None,
) -> TaskStep:
    """The gradient of the meta-loss of a task with respect to where it started, as the method estimates it."""
    episode = TaskEpisode(inner, state, inner_lr, task, *keys, step_weights)
    (_, (new_state, metrics)), gradient = inner.method.estimator.gradient(episode, start)
    return TaskStep(gradient, new_state, metrics)


def meta_gradient(
    inner: Inner,
    learned: Learned,
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
      learned: meta-parameters, network state, inner rate.
      tasks: where tasks come from.
      keys: one per task, `[tasks]`; a task is drawn and learned with nothing else, so that the result does not depend
        on how tasks are batched.
      step_weights: of the query losses before the first inner step and after each, `[steps + 1]`, for a multi-step
        loss. Defaults to the last loss alone.
      at_once: tasks that a device runs at the same time; the rest wait their turn.
      mesh: devices to share the tasks; their number must divide that of the tasks.
    """

    def one(context: Any, key: Array) -> TaskStep:
        start, state, inner_lr, tasks, step_weights = context
        return task_gradient(inner, start, state, inner_lr, *drawn_and_keys(tasks, key), step_weights)

    def of_device(context: Any, keys: Array) -> MetaStep:
        learned, *others = context
        # all tasks start from the same folded weights: folded once, and the mean gradient goes back through that once,
        # before devices exchange it: what they start from is about twice as large
        start, pull_back = jax.vjp(lambda meta: starting_point(inner, meta), learned.meta)
        mean = mean_over(one, (start, learned.state, learned.inner_lr, *others), keys, at_once=at_once)
        return MetaStep(pull_back(mean.gradient)[0], mean.state, mean.metrics)

    return mean_of_devices(of_device, (learned, tasks, step_weights), keys, mesh)
