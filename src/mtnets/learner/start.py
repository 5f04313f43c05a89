"""The weights that an adaptation begins with, where they are not those that were meta-learned."""

from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array

from mtnets.errors import RunError, listed
from mtnets.learner.adapted import AdaptedModel
from mtnets.raw_arrays import narrowed, read_array


def start_of(
    start: AdaptedModel | Mapping[str, Any] | None, params: Mapping[str, Array], moving: Collection[str]
) -> dict[str, Array] | None:
    """Weights by path, compared with those of a learner.

    Args:
      start: an adapted model, or weights that moved; None for those of the learner.
      params: the learner's own, by path.
      moving: the paths of those that a task moves.

    Raises:
      RunError: for a model that does not say what has moved, and for weights that are not among those that move, or of
        another shape.
      DataError: for weights that are not finite real numbers.
    """
    if start is None:
        return None
    moved = start.moved if isinstance(start, AdaptedModel) else start
    if moved is None:
        raise RunError(
            "start was read from a file of its own and does not say which weights moved; begin with a task file: "
            "start=learner.with_task(path)."
        )
    unknown = [str(name) for name in moved if name not in moving]
    if unknown:
        raise RunError(
            f"start has {listed(unknown)}, which no task of this learner moves; it must have {listed(list(moving))}: "
            "begin with a model that this learner adapted, or with its .moved."
        )
    weights = {name: read_array(value, f"start[{name!r}]") for name, value in moved.items()}
    for name, array in weights.items():
        if array.shape != params[name].shape:
            raise RunError(
                f"start has {list(array.shape)} for {name} and this learner {list(params[name].shape)}; begin with a "
                "model that this learner adapted."
            )
    return {n: jnp.asarray(narrowed(w, params[n].dtype, f"start[{n!r}]")) for n, w in weights.items()}
