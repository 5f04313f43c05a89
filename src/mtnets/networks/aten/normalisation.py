"""Normalisation by batches, layers, groups; of weights."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.networks.weighing import count_of_examples, mean_over_examples


def _moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and variance along axes, which are kept; 16 bits are summed in 32, as in PyTorch."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    average = mean_over_examples if 0 in axes else jnp.mean
    mean = average(wide, axes, keepdims=True)
    return mean, average(jnp.square(wide - mean), axes, keepdims=True)


def _scaled(x: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float) -> Array:
    """`(x − mean) / √(var + ε) · weight + bias`."""
    factor = jax.lax.rsqrt(var + eps)
    y = (x - mean) * (factor if weight is None else factor * weight)
    return (y if bias is None else y + bias).astype(x.dtype)


def _channels(array: Array | None, x: Array) -> Any:
    return None if array is None else array.reshape(1, -1, *(1,) * (x.ndim - 2))


def batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: Any,
    eps: float,
) -> tuple[Array, Any, Any, Any, Any]:
    """Normalised `[examples, channels, ...]`, two that are not used, and the new running mean and variance.

    Gradients flow through running statistics, since those of a support set depend on the adapted weights.
    """
    weight, bias = _channels(weight, x), _channels(bias, x)
    if not training:
        mean, var = _channels(running_mean, x), _channels(running_var, x)
        return _scaled(x, mean, var, weight, bias, eps), None, None, running_mean, running_var
    mean, var = _moments(x, (0, *range(2, x.ndim)))
    y = _scaled(x, mean, var, weight, bias, eps)
    if running_mean is None or running_var is None:
        return y, None, None, None, None
    count = count_of_examples(x) * (x.size // (x.shape[0] * x.shape[1]))
    unbiased = var.reshape(-1) * (count / jnp.maximum(count - 1, 1))
    new_mean = (1 - momentum) * running_mean + momentum * mean.reshape(-1)
    new_var = (1 - momentum) * running_var + momentum * unbiased
    return y, None, None, new_mean.astype(running_mean.dtype), new_var.astype(running_var.dtype)


def _without_training(
    x: Array, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> tuple[Any, ...]:
    return batch_norm(x, weight, bias, mean, var, False, momentum, eps)[:3]


def _without_statistics(
    x: Array, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> tuple[Any, ...]:
    return batch_norm(x, weight, bias, None, None, True, momentum, eps)[:3]


def _layer_norm(
    x: Array, shape: Sequence[int], weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, None, None]:
    mean, var = _moments(x, tuple(range(x.ndim - len(shape), x.ndim)))
    return _scaled(x, mean, var, weight, bias, eps), None, None


def _group_norm(
    x: Array, weight: Array | None, bias: Array | None, n: Any, channels: Any, size: Any, groups: int, eps: float
) -> tuple[Array, None, None]:
    split = x.reshape(x.shape[0], groups, -1)
    mean, var = _moments(split, (2,))
    per_channel = lambda a: jnp.repeat(a, x.shape[1] // groups, axis=1).reshape(  # noqa: E731
        x.shape[0], x.shape[1], *(1,) * (x.ndim - 2)
    )
    return _scaled(x, per_channel(mean), per_channel(var), _channels(weight, x), _channels(bias, x), eps), None, None


def _rms_norm(x: Array, shape: Sequence[int], weight: Array | None = None, eps: float | None = None) -> Array:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    eps = float(jnp.finfo(x.dtype).eps) if eps is None else eps
    y = wide * jax.lax.rsqrt(jnp.square(wide).mean(axes, keepdims=True) + eps)
    return (y if weight is None else y * weight).astype(x.dtype)


def _weight_norm(direction: Array, size: Array, dim: int = 0) -> Array:
    """`size · direction / ‖direction‖`, with a norm for each slice along `dim`; one norm for −1."""
    axes = None if dim == -1 else tuple(axis for axis in range(direction.ndim) if axis != dim % direction.ndim)
    return direction * (size / jnp.sqrt(jnp.square(direction).sum(axes, keepdims=dim != -1)))


OPERATIONS: dict[str, Callable[..., Any]] = {
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "_fused_rms_norm": lambda x, shape, weight=None, eps=None: (_rms_norm(x, shape, weight, eps), None),
    "_native_batch_norm_legit.no_stats": _without_statistics,
    "_native_batch_norm_legit_functional": batch_norm,
    "_native_batch_norm_legit_no_training": _without_training,
    "_weight_norm": _weight_norm,
    "_weight_norm_interface": lambda v, g, dim=0: (_weight_norm(v, g, dim), None),
}
