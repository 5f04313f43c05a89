"""Compiling at the start what requests will need."""

from collections.abc import Sequence

import jax
import numpy as np

from mtnets.learner import Learner
from mtnets.serving.work import Adapting, Predicting, padded, power_of_two
from mtnets.tasks import AS_THEY_ARE


def warm_up(learner: Learner, together: int, examples: int, queries: Sequence[int] = (1,)) -> None:
    """Compiles the programs of tasks of one size, for each number of tasks that one call may have.

    Sizes are padded to powers of two, and each number stands for those that are padded to the same. Other sizes are
    compiled when they first come.

    Args:
      learner: that is served.
      together: how many tasks one call may have.
      examples: of a support set; for a head of any number of classes, as many classes.
      queries: inputs that are predicted at a time.
    """
    work = made_up(learner, examples)
    for tasks in (1 << i for i in range(power_of_two(together).bit_length())):
        models = Adapting.run([work] * tasks)
        for size in queries:
            x = _inputs(learner, size)
            Predicting.run([Predicting.of(model, x) for model in models if not isinstance(model, Exception)])


def made_up(learner: Learner, count: int) -> Adapting:
    """A task of so many examples that mean nothing, of every class that there is."""
    x, shape = _inputs(learner, count), learner.criterion.inner_loss.shape_of_targets(learner.output_shape)
    y = np.zeros((count, *(learner.record.get("target_shape") or shape or ())), np.float32)
    if learner.loss.labels:
        y = np.arange(count) % (count if learner.any_ways else learner.outputs)
    return Adapting(learner, padded(learner, learner.batch(x, y, AS_THEY_ARE)), AS_THEY_ARE)


def _inputs(learner: Learner, count: int) -> np.ndarray:
    """Inputs of the network, `[count, ...]`, of which no two are alike."""
    draw = np.random.default_rng(0).uniform
    return jax.tree.map(lambda like: draw(size=(count, *like.shape)).astype(like.dtype), learner.model.inputs)
