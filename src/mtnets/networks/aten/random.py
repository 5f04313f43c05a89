"""Operations that draw random numbers. `rng` is None while a network predicts: then dropout is off."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def dropout(x: Array, p: float, train: bool = True, *, rng: Array | None) -> Array:
    """Zeros with probability p; the rest is scaled by 1 / (1 − p)."""
    if not train or p == 0 or rng is None:
        return x
    if p == 1:
        return jnp.zeros_like(x)
    return jnp.where(jax.random.bernoulli(rng, 1 - p, x.shape), x / (1 - p), 0)


def _channels(x: Array, p: float, train: bool, *, rng: Array | None) -> Array:
    """Dropout of whole channels."""
    kept = dropout(jnp.ones((*x.shape[:2], *(1,) * (x.ndim - 2)), x.dtype), p, train, rng=rng)
    return x * kept


def _alpha(whole: bool) -> Callable[..., Array]:
    """Dropout to the lower end of SELU, which keeps mean and variance."""
    low = -1.7580993408473766

    def operation(x: Array, p: float, train: bool, *, rng: Array | None) -> Array:
        if not train or p == 0 or rng is None:
            return x
        shape = (*x.shape[:2], *(1,) * (x.ndim - 2)) if whole else x.shape
        kept = jax.random.bernoulli(rng, 1 - p, shape)
        scale = ((1 - p) * (1 + p * low**2)) ** -0.5
        return scale * jnp.where(kept, x, low) - scale * low * p

    return operation


def _rrelu(x: Array, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *, rng: Array | None) -> Array:
    if not training or rng is None:
        return jnp.where(x > 0, x, (lower + upper) / 2 * x)
    return jnp.where(x > 0, x, jax.random.uniform(rng, x.shape, x.dtype, lower, upper) * x)


def _bernoulli(x: Array, p: Any = None, *, rng: Array) -> Array:
    return jax.random.bernoulli(rng, x if p is None else p, x.shape).astype(x.dtype)


def _of(draw: Callable[..., Array]) -> Callable[..., Array]:
    return lambda shape, dtype=None, *, rng: draw(rng, tuple(shape), dtype)


def _like(draw: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, dtype=None, *, rng: draw(rng, x.shape, dtype or x.dtype)


def _normal(mean: Any, std: Any = 1.0, size: Sequence[int] | None = None, *, dtype: Any = None, rng: Array) -> Array:
    shape = jnp.broadcast_shapes(jnp.shape(mean), jnp.shape(std)) if size is None else tuple(size)
    return mean + std * jax.random.normal(rng, shape, dtype or jnp.result_type(mean, std, float))


def _normal_like(x: Array, mean: float = 0.0, std: float = 1.0, *, rng: Array) -> Array:
    return mean + std * jax.random.normal(rng, x.shape, x.dtype)


def _uniform_like(x: Array, low: float = 0.0, high: float = 1.0, *, rng: Array) -> Array:
    return jax.random.uniform(rng, x.shape, x.dtype, low, high)


def _randint(*bounds: Any, dtype: Any = None, rng: Array) -> Array:
    low, high, shape = bounds if len(bounds) == 3 else (0, *bounds)
    return jax.random.randint(rng, tuple(shape), low, high, dtype or int)


def _exponential(x: Array, rate: float = 1.0, *, rng: Array) -> Array:
    return jax.random.exponential(rng, x.shape, x.dtype) / rate


# Without effect while a network predicts.
DROPOUT: dict[str, Callable[..., Any]] = {
    "alpha_dropout": _alpha(whole=False),
    "dropout": dropout,
    "feature_alpha_dropout": _alpha(whole=True),
    "feature_dropout": _channels,
    "native_dropout": lambda x, p, train, *, rng: (dropout(x, p, train is not False, rng=rng), None),
    "rrelu": _rrelu,
}

DRAWS: dict[str, Callable[..., Any]] = {
    "bernoulli": _bernoulli,
    "exponential": _exponential,
    "normal": _normal,
    "normal_functional": _normal_like,
    "rand": _of(jax.random.uniform),
    "rand_like": _like(jax.random.uniform),
    "randint": _randint,
    "randn": _of(jax.random.normal),
    "randn_like": _like(jax.random.normal),
    "randperm": lambda n, dtype=None, *, rng: jax.random.permutation(rng, n),
    "uniform": _uniform_like,
}
