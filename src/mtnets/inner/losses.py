"""Losses, each with the score by which people compare learners."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from mtnets.inner.task import Batch

LossName = Literal["mse", "cross-entropy"]
PerExample = Callable[[Array, Batch], Array]
MASKED = -1e9  # logit of an output that is no class of the task: finite, since the gradient at −∞ is NaN


class Loss(NamedTuple):
    """What predictions are judged by.

    Attributes:
      name: as in `meta_train(loss="mse")`.
      per_example: `per_example(prediction, batch) -> [examples]`, whose weighted mean is the loss.
      score_name: `"loss"` or `"accuracy"`.
      score_per_example: the same for the score.
      more_is_better: whether a larger score is better.
      labels: whether targets are labels of classes; otherwise they are numbers.
    """

    name: LossName
    per_example: PerExample
    score_name: str
    score_per_example: PerExample
    more_is_better: bool
    labels: bool

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """Mean loss over the examples of a batch."""
        return batch.mean(self.per_example(prediction, batch))

    def score(self, prediction: Array, batch: Batch) -> Array:
        """Mean score over the examples of a batch."""
        return batch.mean(self.score_per_example(prediction, batch))


def squared_error(prediction: Array, batch: Batch) -> Array:
    """Squared error of predictions `[examples, outputs]` against targets of the same shape, mean over outputs."""
    return jnp.mean(jnp.square(prediction - batch.y), axis=tuple(range(1, prediction.ndim)))


def negative_log_likelihood(logits: Array, batch: Batch) -> Array:
    """Cross-entropy of logits `[examples, ways]` against integer labels `[examples]`.

    # Differs from Lee & Choi (2018): their code sums over N·K examples and divides by K, N times the mean over
    # examples; their inner rates are multiplied by N here.
    """
    return optax.softmax_cross_entropy_with_integer_labels(_masked(logits, batch), batch.y)


def correct(logits: Array, batch: Batch) -> Array:
    """Whether the largest of the logits `[examples, ways]` is that of the label."""
    return jnp.argmax(_masked(logits, batch), axis=-1) == batch.y


def _masked(logits: Array, batch: Batch) -> Array:
    return logits if batch.outputs is None else jnp.where(batch.outputs, logits, MASKED)


mse = Loss("mse", squared_error, "loss", squared_error, more_is_better=False, labels=False)
cross_entropy = Loss("cross-entropy", negative_log_likelihood, "accuracy", correct, more_is_better=True, labels=True)
LOSSES: Mapping[str, Loss] = {loss.name: loss for loss in (mse, cross_entropy)}
