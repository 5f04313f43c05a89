"""Random draws that task distributions share, and the checks of how many examples they draw."""

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError


def between(u: Array, bounds: tuple[float, float]) -> Array:
    """Numbers between two bounds, from numbers between 0 and 1."""
    return bounds[0] + (bounds[1] - bounds[0]) * u


def distinct(key: Array, shape: tuple[int, ...], count: int, allowed: Array | None = None) -> Array:
    """Distinct places along the last axis, in random order.

    Args:
      key: of the draw.
      shape: `[..., places]`.
      count: how many places to draw.
      allowed: which places may be drawn, `[..., places]`. Defaults to all.

    Returns:
      Places, `[..., count]`.
    """
    # The places of the largest of n random numbers are a sample without replacement, in random order, at a tenth of
    # the cost of a whole permutation.
    scores = jax.random.uniform(key, shape)
    return jax.lax.top_k(scores if allowed is None else jnp.where(allowed, scores, -1.0), count)[1]


def check_counts(**counts: int) -> None:
    """Raises OptionError for a count below 1."""
    for name, count in counts.items():
        if count < 1:
            raise OptionError(f"{name} is {count}; it must be at least 1.")


def check_episode(ways: int, shots: int, queries: int) -> None:
    """Raises OptionError for tasks of fewer than two classes, or without support or query examples."""
    if ways < 2:
        raise OptionError(f"ways is {ways}; it must be at least 2.")
    check_counts(shots=shots, queries=queries)
