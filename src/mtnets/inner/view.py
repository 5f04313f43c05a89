"""What an inner step sees of the support set: all of it, a random part, or the next slice of a stream."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import DataError
from mtnets.inner.task import Batch


@dataclasses.dataclass(frozen=True)
class View:
    """What an inner step sees of the support set.

    Attributes:
      size: examples of a step; None for all.
      stream: whether steps see one slice after the other, in their order, instead of random parts. The task is then
        judged on each slice before it is learned, and on the query set in the end.
    """

    size: int | None = None
    stream: bool = False

    def of(self, support: Batch, step: Any, key: Array) -> Batch:
        """What a step sees, `[size, ...]`.

        A random part is drawn without replacement, examples of weight 0 last. A stream has as many slices as there are
        steps.
        """
        count = support.size
        if self.size is None or (self.size >= count and not self.stream):
            return support
        if self.stream:
            return support.take(step * self.size + jnp.arange(self.size))
        order = jax.random.uniform(key, (count,))
        if support.weights is not None:
            order = order + (support.weights > 0)
        return support.take(jax.lax.top_k(order, self.size)[1])

    def slices(self, count: int) -> int:
        """How many slices a stream of so many examples has; the last one may be shorter."""
        return -(-count // (self.size or count))

    def filled(self, support: Batch) -> Batch:
        """A support set whose last slice is filled up with examples of weight 0; unchanged if that is not a stream."""
        if not self.stream:
            return support
        count, weights = support.size, support.weights
        size = self.slices(count) * (self.size or count)
        if size == count:
            return support
        places = jnp.arange(size)
        weights = jnp.ones(count) if weights is None else weights
        filled = support.take(places % count)
        return filled._replace(weights=jnp.where(places < count, weights[places % count], 0))

    def weighed(self, support: Batch) -> Array:
        """Whether every slice of a stream has an example of a weight above 0: a mean over others is none."""
        if not self.stream or support.weights is None:
            return jnp.asarray(True)
        weights = self.filled(support).weights
        assert weights is not None
        return jnp.all((weights.reshape(self.slices(support.size), -1) > 0).any(1))

    def to_json(self) -> dict[str, Any]:
        """The record, empty where a step sees everything."""
        return {"view": dataclasses.asdict(self)} if self != WHOLE else {}


WHOLE = View()


def slice_size(count: int, steps: int, what: str) -> int:
    """Examples of each slice of a stream.

    Raises:
      DataError: unless the examples can be divided into as many slices as there are steps.
    """
    if not steps or count % steps:
        raise DataError(
            f"{what} have {count} examples, and a stream is learned in inner_steps = {steps} slices of one size; use "
            "inner_steps that divide the examples, or other tasks."
        )
    return count // steps
