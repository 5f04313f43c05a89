"""The greatest of an axis, with a derivative that survives compilation."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def greatest(x: Array, axis: int) -> Array:
    """`x.max(axis)`, whose derivative is that of the first of the greatest elements.

    JAX differentiates a maximum through `x == x.max(axis)`. A compiler that fuses operations computes x twice, and may
    round it differently in each place (a product and a sum in one step, say); then nothing equals the maximum, and the
    derivative is zero or NaN without a word. XLA does so on CPUs for max-pooling after batch norm, in double precision.
    Here one place is chosen, whatever the rounding.

    Args:
      x: any array.
      axis: which is reduced.
    """
    return x.max(axis)


@greatest.defjvp
def _(axis: int, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    chosen = lax.broadcasted_iota(jnp.int32, x.shape, axis % x.ndim) == jnp.argmax(x, axis, keepdims=True)
    return greatest(x, axis), jnp.where(chosen, tangent, 0).sum(axis)
