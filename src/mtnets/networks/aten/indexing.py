"""Look-ups: tables, gathers, scatters, fancy indexing."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def _embedding(table: Array, index: Array, padding_idx: int = -1, *_: Any) -> Array:
    rows = jnp.take(table, index, axis=0)
    if padding_idx < 0:
        return rows
    return jnp.where((index == padding_idx)[..., None], jax.lax.stop_gradient(rows), rows)  # it has no gradient


def _embedding_bag(
    table: Array,
    index: Array,
    offsets: Array,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Array | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Array, None, None, None]:
    """Sum (0), mean (1) or maximum (2) of the rows of each bag."""
    bags = len(offsets) - include_last_offset
    bag = jnp.searchsorted(offsets[:bags], jnp.arange(len(index)), side="right") - 1
    counted = index != padding_idx if padding_idx >= 0 else jnp.ones(index.shape, bool)
    rows = _embedding(table, index)
    count = jax.ops.segment_sum(counted.astype(table.dtype), bag, bags)[:, None]
    if mode == 2:
        rows = jnp.where(counted[:, None], rows, -jnp.inf)
        pooled = jnp.where(count > 0, jax.ops.segment_max(rows, bag, bags), 0)
    else:
        weights = counted.astype(table.dtype) if per_sample_weights is None else counted * per_sample_weights
        pooled = jax.ops.segment_sum(rows * weights[:, None], bag, bags)
        pooled = pooled / jnp.maximum(count, 1) if mode == 1 else pooled
    return pooled, None, None, None


def _places(index: Sequence[Array | None]) -> tuple[Any, ...]:
    return tuple(slice(None) if each is None else each for each in index)


def _index(x: Array, index: Sequence[Array | None]) -> Array:
    return x[_places(index)]


def _index_put(x: Array, index: Sequence[Array | None], values: Array, accumulate: bool = False) -> Array:
    if len(index) == 1 and index[0] is not None and index[0].dtype == bool and values.size == 1:
        mask = index[0].reshape(index[0].shape + (1,) * (x.ndim - index[0].ndim))
        return jnp.where(mask, x + values if accumulate else values.reshape(()), x)
    place = x.at[_places(index)]
    return place.add(values) if accumulate else place.set(values)


def _along(x: Array, dim: int, index: Array) -> tuple[Array, ...]:
    """Full indices for an index that runs along one axis."""
    grid = jnp.meshgrid(*(jnp.arange(n) for n in index.shape), indexing="ij") if index.ndim else []
    return tuple(index if axis == dim % index.ndim else place for axis, place in enumerate(grid))


def _gather(x: Array, dim: int, index: Array, sparse_grad: bool = False) -> Array:
    if x.ndim == 0:
        return x
    for axis, n in enumerate(index.shape):  # it may be smaller than x in other axes
        if axis != dim % x.ndim and n != x.shape[axis]:
            x = jax.lax.slice_in_dim(x, 0, n, axis=axis)
    return jnp.take_along_axis(x, index, dim)


def _source(source: Any, index: Array) -> Any:
    """The part of a source that the index uses."""
    return source[tuple(slice(0, n) for n in index.shape)] if getattr(source, "ndim", 0) else source


def _scatter(x: Array, dim: int, index: Array, source: Any, reduce: str | None = None) -> Array:
    place, source = x.at[_along(x, dim, index)], _source(source, index)
    if reduce is None:
        return place.set(source)
    return place.add(source) if reduce == "add" else place.multiply(source)


def _scatter_add(x: Array, dim: int, index: Array, source: Array) -> Array:
    return x.at[_along(x, dim, index)].add(_source(source, index))


def _scatter_reduce(
    x: Array, dim: int, index: Array, source: Array, reduce: str, *, include_self: bool = True
) -> Array:
    place, source = _along(x, dim, index), _source(source, index)
    neutral = {"sum": 0, "mean": 0, "prod": 1, "amax": -jnp.inf, "amin": jnp.inf}[reduce]
    start = x if include_self else x.at[place].set(jnp.asarray(neutral, x.dtype))
    name = {"sum": "add", "mean": "add", "prod": "multiply", "amax": "max", "amin": "min"}[reduce]
    result = getattr(start.at[place], name)(source)
    if reduce == "mean":
        count = jnp.full(x.shape, int(include_self), x.dtype).at[place].add(1)
        result = result / jnp.maximum(count, 1)
    return result


def _at(x: Array, dim: int, index: Array) -> Any:
    return x.at[(slice(None),) * (dim % x.ndim) + (index,)]


OPERATIONS: dict[str, Callable[..., Any]] = {
    "embedding": _embedding,
    "gather": _gather,
    "index": _index,
    "index_add": lambda x, dim, index, source, alpha=1: _at(x, dim, index).add(alpha * source),
    "index_copy": lambda x, dim, index, source: _at(x, dim, index).set(source),
    "index_fill": lambda x, dim, index, value: _at(x, dim, index).set(value),
    "index_put": _index_put,
    "index_select": lambda x, dim, index: jnp.take(x, index, axis=dim),
    "scatter": _scatter,
    "scatter_add": _scatter_add,
    "scatter_reduce": _scatter_reduce,
    "take": lambda x, index: jnp.take(x.reshape(-1), index),
    "take_along_dim": lambda x, index, dim=None: jnp.take_along_axis(x, index, dim),
    "_embedding_bag": _embedding_bag,
    "_embedding_bag_forward_only": _embedding_bag,
    "_unsafe_index": _index,
    "_unsafe_index_put": _index_put,
}
