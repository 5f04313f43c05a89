"""A task is a few examples to learn from and a few more to be judged by."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array


class Batch(NamedTuple):
    """Examples side by side.

    Attributes:
      x: inputs, `[examples, ...]`, or several arrays of them: a tuple, a dictionary, any pytree.
      y: targets, `[examples, outputs]` (float) in regression, `[examples]` (integer labels) in classification; any
        pytree of arrays `[examples, ...]` for a loss that reads it.
      weights: of the examples, `[examples]`; an example of weight 0 is padding. None gives all the same weight.
      outputs: which outputs of the network are classes of this task, `[outputs]`; None for all.
    """

    x: Any
    y: Any
    weights: Array | None = None
    outputs: Array | None = None

    @property
    def size(self) -> int:
        """Number of examples, padding included."""
        return len(jax.tree.leaves(self.y)[0])

    def take(self, places: Any) -> "Batch":
        """The examples at these places, `[places, ...]`."""
        x, y, weights = jax.tree.map(lambda leaf: leaf[places], (self.x, self.y, self.weights))
        return Batch(x, y, weights, self.outputs)

    def mean(self, values: Array) -> Array:
        """Weighted mean of one value per example, `[examples]`."""
        if self.weights is None:
            return jnp.mean(values)
        return jnp.sum(values * self.weights) / jnp.sum(self.weights)


class Task(NamedTuple):
    """One task. A batch of tasks is the same type with a leading task axis on every array.

    Attributes:
      support: what the task is learned from, `[ways * shots, ...]` or `[shots, ...]`.
      query: what it is judged by, `[ways * queries, ...]` or `[queries, ...]`.
    """

    support: Batch
    query: Batch


class Distribution(Protocol):
    """Where tasks come from: a pytree with one pure method. Its arrays are leaves, so that tasks are drawn on the
    device inside a compiled program."""

    def sample(self, key: Array) -> Task:
        """Draws one task."""
        ...
