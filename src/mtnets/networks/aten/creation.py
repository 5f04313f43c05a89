"""Arrays of constants."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array


def _arange(*bounds: Any, dtype: Any = None) -> Array:
    return jnp.arange(*bounds, dtype=dtype)


def _full(shape: Sequence[int], value: Any, dtype: Any = None) -> Array:
    return jnp.full(tuple(shape), value, dtype)


def _of(value: int) -> Callable[..., Array]:
    return lambda shape, dtype=None: jnp.full(tuple(shape), value, dtype)


def _like(value: int) -> Callable[..., Array]:
    return lambda x, dtype=None: jnp.full_like(x, value, dtype=dtype)


def _new(value: int) -> Callable[..., Array]:
    return lambda x, shape, dtype=None: jnp.full(tuple(shape), value, dtype or x.dtype)


def _eye(n: int, m: int | None = None, dtype: Any = None) -> Array:
    return jnp.eye(n, m, dtype=dtype)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "arange": _arange,
    "empty": _of(0),
    "empty_like": _like(0),
    "empty_permuted": lambda shape, order, dtype=None: jnp.zeros(tuple(shape), dtype),
    "empty_strided": lambda shape, strides, dtype=None: jnp.zeros(tuple(shape), dtype),
    "eye": _eye,
    "full": _full,
    "full_like": lambda x, value, dtype=None: jnp.full_like(x, value, dtype=dtype),
    "linspace": lambda start, end, steps, dtype=None: jnp.linspace(start, end, steps, dtype=dtype),
    "new_empty": _new(0),
    "new_full": lambda x, shape, value, dtype=None: jnp.full(tuple(shape), value, dtype or x.dtype),
    "new_ones": _new(1),
    "new_zeros": _new(0),
    "ones": _of(1),
    "ones_like": _like(1),
    "scalar_tensor": lambda value, dtype=None: jnp.asarray(value, dtype),
    "tril_indices": lambda row, col, offset=0, dtype=None: jnp.stack(jnp.tril_indices(row, offset, col)),
    "triu_indices": lambda row, col, offset=0, dtype=None: jnp.stack(jnp.triu_indices(row, offset, col)),
    "zeros": _of(0),
    "zeros_like": _like(0),
}
