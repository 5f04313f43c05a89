"""Sums, extremes, orders: operations along axes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Dims = int | Sequence[int] | None


def axes(dim: Dims) -> Any:
    """Axes for NumPy's functions: an empty list means all, as does None."""
    if dim is None or isinstance(dim, int):
        return dim
    return tuple(dim) or None


def _reduction(reduce: Callable[..., Array]) -> Callable[..., Array]:
    def operation(x: Array, dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Array:
        x = x if dtype is None else x.astype(dtype)
        return reduce(x, axis=axes(dim), keepdims=keepdim)

    return operation


def _spread(root: bool) -> Callable[..., Array]:
    """Variance, or its root."""

    def operation(
        x: Array, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None
    ) -> Array:
        if isinstance(dim, bool):  # the overload without axes
            dim, unbiased = None, dim
        ddof = int(unbiased) if correction is None else correction
        centred = x - x.mean(axes(dim), keepdims=True)
        count = x.size // jax.eval_shape(lambda x: x.sum(axes(dim)), x).size
        variance = jnp.square(centred).sum(axes(dim), keepdims=keepdim) / max(count - ddof, 0)
        return jnp.sqrt(variance) if root else variance

    return operation


def _with_mean(spread: Callable[..., Array]) -> Callable[..., tuple[Array, Array]]:
    def operation(
        x: Array, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None
    ) -> tuple[Array, Array]:
        along = None if isinstance(dim, bool) else dim
        return spread(x, dim, unbiased, keepdim, correction=correction), x.mean(axes(along), keepdims=keepdim)

    return operation


def _chosen(x: Array, index: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
    """Values at one index along an axis, and the index; the gradient goes to that element alone."""
    index = jnp.expand_dims(index, dim)
    values = jnp.take_along_axis(x, index, dim)
    return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))


def _extreme(reduce: Callable[..., Array], choose: Callable[..., Array], of_two: Callable[..., Array]) -> Any:
    """`max` and `min`: of all elements; of two arrays; along an axis, with the indices."""

    def operation(x: Array, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            return reduce(x)
        if not isinstance(dim, int):
            return of_two(x, dim)
        if x.ndim == 0:
            return x, jnp.zeros((), int)
        return _chosen(x, choose(x, dim), dim, keepdim)

    return operation


def _argument(choose: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, dim=None, keepdim=False: choose(x, dim, keepdims=keepdim)


def _norm(x: Array, order: Any = 2, dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Array:
    """Norm of vectors. Its derivative at zero is zero, as in PyTorch."""
    x = x if dtype is None else x.astype(dtype)
    order = 2 if order is None else order
    along, size = axes(dim), jnp.abs(x)
    if order in (float("inf"), float("-inf")):
        return (jnp.max if order > 0 else jnp.min)(size, axis=along, keepdims=keepdim)
    if order == 0:
        return (x != 0).astype(x.dtype).sum(along, keepdims=keepdim)
    if order == 1:
        return size.sum(along, keepdims=keepdim)
    if order == 2:
        total = jnp.square(size).sum(along, keepdims=keepdim)
    else:
        total = jnp.where(size == 0, 0, jnp.where(size == 0, 1, size) ** order).sum(along, keepdims=keepdim)
    return jnp.where(total == 0, 0, jnp.where(total == 0, 1, total) ** (1 / order))


def _softmax(log: bool) -> Callable[..., Array]:
    function = jax.nn.log_softmax if log else jax.nn.softmax

    def operation(x: Array, dim: int, dtype: Any = None) -> Array:
        wide = jnp.promote_types(x.dtype, jnp.float32)  # 16 bits are summed in 32, as in PyTorch
        y = function(x.astype(wide), axis=dim)
        return y.astype(x.dtype if dtype is None or isinstance(dtype, bool) else dtype)

    return operation


def _safe_softmax(x: Array, dim: int, dtype: Any = None) -> Array:
    """Zeros where everything is masked."""
    masked = jnp.all(x == -jnp.inf, axis=dim, keepdims=True)
    return jnp.where(masked, 0, _softmax(log=False)(jnp.where(masked, 0, x), dim, dtype))


def _sort(x: Array, dim: int = -1, descending: bool = False, *, stable: bool | None = True) -> tuple[Array, Array]:
    index = _argsort(x, dim, descending)
    return jnp.take_along_axis(x, index, dim), index


def _argsort(x: Array, dim: int = -1, descending: bool = False, *, stable: bool | None = True) -> Array:
    return jnp.argsort(x, axis=dim, stable=True, descending=descending)


def _topk(x: Array, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Array, Array]:
    index = jax.lax.slice_in_dim(_argsort(x, dim, descending=largest), 0, k, axis=dim % x.ndim)
    return jnp.take_along_axis(x, index, dim), index


def _kth_value(x: Array, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    return _chosen(x, jnp.take(_argsort(x, dim), k - 1, axis=dim), dim, keepdim)


def _median(x: Array, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower of the two in the middle, as in PyTorch."""
    if dim is None:
        return _median(x.reshape(-1), 0)[0]
    return _kth_value(x, (x.shape[dim] + 1) // 2, dim, keepdim)


def _cumulative_extreme(accumulate: Callable[..., Array]) -> Callable[..., tuple[Array, Array]]:
    def operation(x: Array, dim: int) -> tuple[Array, Array]:
        dim %= x.ndim
        best = accumulate(x, axis=dim)
        place = jnp.arange(x.shape[dim]).reshape(-1, *(1,) * (x.ndim - 1 - dim))
        index = jax.lax.cummax(jnp.where(x == best, place, 0), axis=dim)
        return jnp.take_along_axis(x, index, dim), index

    return operation


OPERATIONS: dict[str, Callable[..., Any]] = {
    "all": _reduction(jnp.all),
    "amax": _reduction(jnp.max),
    "amin": _reduction(jnp.min),
    "aminmax": lambda x, dim=None, keepdim=False: (
        jnp.min(x, axis=dim, keepdims=keepdim),
        jnp.max(x, axis=dim, keepdims=keepdim),
    ),
    "any": _reduction(jnp.any),
    "argmax": _argument(jnp.argmax),
    "argmin": _argument(jnp.argmin),
    "argsort": _argsort,
    "count_nonzero": lambda x, dim=None: jnp.count_nonzero(x, axis=axes(dim)),
    "cummax": _cumulative_extreme(jax.lax.cummax),
    "cummin": _cumulative_extreme(jax.lax.cummin),
    "cumprod": lambda x, dim, dtype=None: jnp.cumprod(x, axis=dim, dtype=dtype),
    "cumsum": lambda x, dim, dtype=None: jnp.cumsum(x, axis=dim, dtype=dtype),
    "kthvalue": _kth_value,
    "linalg_vector_norm": _norm,
    "log_softmax": _softmax(log=True),
    "logcumsumexp": lambda x, dim: jax.lax.cumlogsumexp(x, axis=dim % x.ndim),
    "logsumexp": lambda x, dim, keepdim=False: jax.nn.logsumexp(x, axis=axes(dim), keepdims=keepdim),
    "max": _extreme(jnp.max, jnp.argmax, jnp.maximum),
    "mean": _reduction(jnp.mean),
    "median": _median,
    "min": _extreme(jnp.min, jnp.argmin, jnp.minimum),
    "nanmean": _reduction(jnp.nanmean),
    "nansum": _reduction(jnp.nansum),
    "norm": _norm,
    "prod": _reduction(jnp.prod),
    "softmax": _softmax(log=False),
    "sort": _sort,
    "std": _spread(root=True),
    "std_mean": _with_mean(_spread(root=True)),
    "sum": _reduction(jnp.sum),
    "topk": _topk,
    "var": _spread(root=False),
    "var_mean": _with_mean(_spread(root=False)),
    "_log_softmax": _softmax(log=True),
    "_safe_softmax": _safe_softmax,
    "_softmax": _softmax(log=False),
}
