"""Warp layers: layers of a network that no task moves, and that warp the gradients of the layers before them."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from mtnets.networks.adapters import Warp

WarpKind = Literal["none", "linear", "residual"]


class _Linear(nnx.Module):
    """`x T`; starts as the identity."""

    def __init__(self, units: int) -> None:
        self.kernel = nnx.Param(jnp.eye(units))

    def __call__(self, x: Array) -> Array:
        return x @ self.kernel[...]


class _Residual(nnx.Module):
    """`x + relu(x U + u) V`; starts as the identity."""

    def __init__(self, units: int, rngs: nnx.Rngs) -> None:
        self.inside = nnx.Linear(units, units, rngs=rngs)
        self.outside = nnx.Linear(units, units, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return x + self.outside(jax.nn.relu(self.inside(x)))


def warp_layer(kind: WarpKind, units: int, rngs: nnx.Rngs) -> Any:
    """A warp layer for inputs `[..., units]`: `linear` (which makes a T-net) or `residual`; None for `none`."""
    if kind == "none":
        return None
    return Warp(_Linear(units) if kind == "linear" else _Residual(units, rngs))
