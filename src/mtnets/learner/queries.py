"""Predictions for the query sets of many drawn tasks, by one learner or several."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mtnets.inner import Distribution, Task
from mtnets.learner import compiled
from mtnets.learner.data import check_predictions
from mtnets.learner.evaluate import as_taken, draw_each, masked_by_support
from mtnets.learner.learner import Learner, keys_of_masks
from mtnets.tasks import AS_THEY_ARE, Family
from mtnets.tasks.sampling import surfacing


def drawn_tasks(learner: Learner, tasks: Family | Distribution, part: Distribution, keys: Array) -> Task:
    """Tasks as the network takes them, `[tasks, ...]`, with the outputs masked that it does not use for them. Arguments
    and errors are those of `as_taken`."""
    part, drawn = as_taken(learner, learner.criterion, tasks, part, keys)
    if drawn is None:
        with surfacing():
            drawn = jax.device_get(draw_each(part, keys))
    if learner.criterion.labels and not learner.inputs.shared_classes:
        outputs = 1 + int(np.max(drawn.support.y)) if learner.any_ways else learner.outputs
        drawn = jax.device_get(jax.vmap(lambda task: masked_by_support(task, outputs))(drawn))
    return drawn


def predict_queries(
    learners: Sequence[Learner],
    tasks: Task,
    *,
    inner_steps: int | None = None,
    masks: int | None = None,
    key: Array | None = None,
) -> NDArray[Any]:
    """Outputs of each network for the query set of each task, `[networks, tasks, queries, outputs]`, in units of the
    tasks' targets.

    Args:
      learners: that learn each task.
      tasks: as `drawn_tasks` returns them.
      inner_steps, masks, key: as for `Learner.adapt`, the same for every task.

    Raises:
      DataError: for a prediction that is not finite.
      RunError: if adaptation diverges, naming the tasks.
    """
    count = tasks.support.size  # of tasks, the first axis
    single = jax.random.key(0) if key is None else key
    outputs = []
    for learner in learners:
        for each in single[None] if masks is None else keys_of_masks(key, masks):
            keys = jnp.broadcast_to(each, (count, *each.shape))  # in use, too, the key is the same for every task
            models = learner.adapt_batches(tasks.support, keys, (AS_THEY_ARE,) * count, inner_steps=inner_steps)
            raw = compiled.predict_each(learner.model, models.params, models.state, tasks.query.x)
            prediction = np.asarray(learner.loss.unscaled(np.asarray(raw), lambda targets: targets))
            check_predictions(prediction, tasks.query.x, logits=learner.loss.labels)
            outputs.append(_masked(prediction, tasks))
    return np.stack(outputs)


def _masked(prediction: NDArray[Any], tasks: Task) -> NDArray[Any]:
    """Predictions `[tasks, queries, ..., outputs]`, with −∞ for outputs that are no classes of their task."""
    used = tasks.support.outputs
    if used is None:
        return prediction
    used = np.pad(np.asarray(used), ((0, 0), (0, prediction.shape[-1] - used.shape[-1])))
    used = used.reshape(len(used), *(1,) * (prediction.ndim - 2), -1)
    return np.where(used, prediction, np.asarray(-np.inf, prediction.dtype))
