"""A task is a few examples to learn from and a few more to be judged by."""

from typing import NamedTuple, Protocol

from jax import Array


class Batch(NamedTuple):
    """Examples side by side.

    Attributes:
      x: inputs, `[examples, ...]`.
      y: targets, `[examples, outputs]` (float) in regression, `[examples]` (integer labels) in classification.
    """

    x: Array
    y: Array


class Task(NamedTuple):
    """One task. A batch of tasks is the same type with a leading task axis on every array.

    Attributes:
      support: what the task is learned from, `[ways * shots, ...]` or `[shots, ...]`.
      query: what it is judged by, `[ways * queries, ...]` or `[queries, ...]`.
    """

    support: Batch
    query: Batch


class Distribution(Protocol):
    """Where tasks come from: a pytree (its arrays are leaves, so that tasks are drawn on the device inside a
    compiled program) with one pure method."""

    def sample(self, key: Array) -> Task:
        """Draws one task."""
        ...
