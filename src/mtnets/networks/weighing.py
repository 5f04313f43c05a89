"""The weights of the examples of a batch, for what a network computes over examples: statistics of batch norm.

`Model.apply` takes inputs alone, as networks of all libraries do; weights stand beside it for as long as a network is
traced. An example of weight 0 is padding, which must not change what becomes of the others.
"""

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Iterator

import jax.numpy as jnp
from jax import Array


@dataclasses.dataclass
class Weighing:
    """What the present pass over a batch weighs by.

    Attributes:
      weights: of the examples, `[examples]`.
      used: whether the network has asked for them.
    """

    weights: Array
    used: bool = False


_PRESENT: contextvars.ContextVar[Weighing | None] = contextvars.ContextVar("weighing", default=None)


@contextlib.contextmanager
def weighing(weights: Array | None) -> Iterator[Weighing | None]:
    """Within it, networks weigh the examples of their batch by these; None for all the same."""
    present = None if weights is None else Weighing(weights)
    token = _PRESENT.set(present)
    try:
        yield present
    finally:
        _PRESENT.reset(token)


def mean_over_examples(x: Array, axes: tuple[int, ...], *, keepdims: bool = False) -> Array:
    """Mean of `[examples, ...]` over axes, of which the first is that of examples, by their weights."""
    present = _PRESENT.get()
    if present is None:
        return x.mean(axes, keepdims=keepdims)
    present.used = True
    weights = present.weights.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
    places = math.prod(x.shape[axis] for axis in axes[1:])
    return jnp.sum(x * weights, axes, keepdims=keepdims) / (weights.sum() * places)


def count_of_examples(x: Array) -> Array | int:
    """How many examples count."""
    present = _PRESENT.get()
    if present is None:
        return len(x)
    return (present.weights > 0).sum()
