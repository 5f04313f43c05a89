"""Optax transformations for use within a task, with derivatives that are finite wherever they may be needed."""

from collections.abc import Callable
from numbers import Real
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mtnets.errors import OptionError

InnerOptimiser = Literal["sgd", "momentum", "adam"]
# Before α (or learned rates). Adam's ε stands inside the root: outside, its second derivative is infinite at a zero
# gradient. 1e-8 there is 1e-4 outside: below gradients of that size its steps shrink.
INNER_OPTIMISERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "sgd": optax.identity,
    "momentum": lambda: optax.trace(decay=0.9),
    "adam": lambda: optax.scale_by_adam(eps=0.0, eps_root=1e-8),
}


def clip_norm(most: float) -> optax.GradientTransformation:
    """`G ↦ G · min(1, c / √(|G|² + ε²))`, with `|G|` over all weights that move and ε far below it.

    Optax's own `clip_by_global_norm` has a derivative of NaN at a zero gradient, where all relus are off for example.

    Raises:
      OptionError: unless c is above 0.
    """
    if not (isinstance(most, Real) and 0 < most < float("inf")):
        raise OptionError(f"inner_clip is {most!r}; it must be a number above 0, or 'off'.")

    def clip(updates: Any, params: Any) -> Any:
        leaves = jax.tree.leaves(updates)
        # relative to the largest element, held constant: the squares of a task that diverges would overflow
        largest = jax.lax.stop_gradient(jnp.stack([jnp.abs(g).max() for g in leaves]).max()) + TINY
        squares = sum(jnp.sum(jnp.square(g / largest)) for g in leaves)
        factor = jnp.minimum(1.0, most / (largest * jnp.sqrt(squares + EPSILON**2)))
        return jax.tree.map(lambda g: factor * g, updates)

    return optax.stateless(clip)


EPSILON = 1e-8  # of a norm, relative
TINY = 1e-30


class ProximalState(NamedTuple):
    """The weights that a task started from."""

    start: Any


def proximal(strength: float) -> optax.GradientTransformation:
    """`G ↦ G + λ (w − θ)`: the gradient of `L(w) + λ/2 |w − θ|²`, with θ the weights that the task started from."""

    def update(updates: Any, state: ProximalState, params: Any = None) -> tuple[Any, ProximalState]:
        def pull(g: Array, w: Array, theta: Array) -> Array:
            return g + strength * (w - theta)

        return jax.tree.map(pull, updates, params, state.start), state

    return optax.GradientTransformation(ProximalState, update)  # type: ignore[arg-type]
