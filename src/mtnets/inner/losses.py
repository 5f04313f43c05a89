"""Mean losses over the examples of a task, and the scores that people read."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import optax
from jax import Array

Loss = Callable[[Array, Array], Array]


def mse(prediction: Array, y: Array) -> Array:
    """Mean squared error of predictions `[examples, outputs]` against targets of the same shape."""
    return jnp.mean(jnp.square(prediction - y))


def cross_entropy(logits: Array, y: Array) -> Array:
    """Mean cross-entropy of logits `[examples, ways]` against integer labels `[examples]`.

    # Differs from Lee & Choi (2018): their code sums over N·K examples and divides by K, N times this mean; their inner
    # rates are multiplied by N here.
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def accuracy(logits: Array, y: Array) -> Array:
    """Share of labels `[examples]` that the largest of the logits `[examples, ways]` predicts."""
    return jnp.mean(jnp.argmax(logits, axis=-1) == y)


LOSSES: Mapping[str, Loss] = {"mse": mse, "cross-entropy": cross_entropy}
# The metric by which learners of a loss are judged: its name, its function, and whether more is better.
METRICS: Mapping[str, tuple[str, Loss, bool]] = {
    "mse": ("loss", mse, False),
    "cross-entropy": ("accuracy", accuracy, True),
}
