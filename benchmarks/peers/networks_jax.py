"""The networks in JAX: `forward(network, params, x)`, with T as a layer of its own where the parameters have one."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from benchmarks.peers.networks import POOL, Convolutions, Mlp, Network, ResNet12, Transformer

BATCH_NORM_EPSILON, LAYER_NORM_EPSILON, LEAK = 1e-3, 1e-5, 0.1
Params = Mapping[str, Array]


class Parts(NamedTuple):
    """Two operations that are written in several ways.

    Attributes:
      conv: `conv(images, kernel, strides, padding)`.
      pool: max-pooling 2×2 of images.
    """

    conv: Callable[..., Array]
    pool: Callable[[Array], Array]


def usual() -> Parts:
    """As people write them in JAX."""
    window = (1, POOL, POOL, 1)

    def conv(images: Array, kernel: Array, strides: Any, padding: Any) -> Array:
        return lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    return Parts(conv, lambda images: lax.reduce_window(images, -jnp.inf, lax.max, window, window, "VALID"))


def forward(network: Network, params: Params, x: Array, parts: Parts) -> Array:
    """Outputs `[examples, outputs]` for inputs `[examples, ...]`."""
    match network:
        case Mlp():
            return _mlp(network, params, x)
        case Convolutions():
            return _convolutions(network, params, x, parts)
        case ResNet12():
            return _resnet(network, params, x, parts)
        case Transformer():
            return _transformer(network, params, x)


def positions(length: int, width: int) -> np.ndarray:
    """Sinusoids `[length, width]`, as in Vaswani et al. (2017)."""
    angles = np.arange(length)[:, None] / 10_000 ** (np.arange(width) // 2 * 2 / width)
    return np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles)).astype(np.float32)


def _mlp(network: Mlp, params: Params, x: Array) -> Array:
    last = len(network.sizes) - 2
    for i in range(last):
        x = jax.nn.relu(_dense(params, f"dense{i}", x))
    return _dense(params, f"dense{last}", x)


def _convolutions(network: Convolutions, params: Params, x: Array, parts: Parts) -> Array:
    stride = 1 if network.pool else 2
    for i in range(network.blocks):
        x = jax.nn.relu(_batch_norm(params, f"norm{i}", _conv(params, f"conv{i}", x, stride, parts)))
        x = parts.pool(x) if network.pool else x
    return _dense(params, "head", x.reshape(len(x), -1) if network.pool else x.mean((1, 2)))


def _resnet(network: ResNet12, params: Params, x: Array, parts: Parts) -> Array:
    def convolved(name: str, x: Array) -> Array:
        return _batch_norm(params, name, _conv(params, name, x, 1, parts))

    for i in range(len(network.widths)):
        short = convolved(f"block{i}short", x)
        for j in range(2):
            x = jax.nn.leaky_relu(convolved(f"block{i}conv{j}", x), LEAK)
        x = parts.pool(jax.nn.leaky_relu(convolved(f"block{i}conv2", x) + short, LEAK))
    return _dense(params, "head", x.mean((1, 2)))


def _transformer(network: Transformer, params: Params, x: Array) -> Array:
    x = _dense(params, "embed", x) + positions(network.length, network.width)
    for i in range(network.blocks):
        y = _layer_norm(x)
        shape = (*y.shape[:-1], network.heads, network.width // network.heads)
        query, key, value = (_dense(params, f"block{i}{name}", y).reshape(shape) for name in ("query", "key", "value"))
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / math.sqrt(shape[-1])
        y = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), value).reshape(x.shape)
        x = x + _dense(params, f"block{i}out", y)
        x = x + _dense(params, f"block{i}down", jax.nn.gelu(_dense(params, f"block{i}up", _layer_norm(x))))
    return _dense(params, "head", _layer_norm(x).mean(1))


def _dense(params: Params, name: str, x: Array) -> Array:
    return _after(params, name, x @ params[f"{name}.weight"])


def _conv(params: Params, name: str, x: Array, stride: int, parts: Parts) -> Array:
    return _after(params, name, parts.conv(x, params[f"{name}.weight"], (stride, stride), "SAME"))


def _after(params: Params, name: str, y: Array) -> Array:
    """Bias and T, where a layer has them: `y = (x W + b) T`."""
    bias, metric = params.get(f"{name}.bias"), params.get(f"{name}.metric")
    y = y if bias is None else y + bias
    return y if metric is None else y @ metric


def _batch_norm(params: Params, name: str, x: Array) -> Array:
    """With statistics of the batch."""
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) * lax.rsqrt(var + BATCH_NORM_EPSILON) + params[f"{name}.offset"]


def _layer_norm(x: Array) -> Array:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + LAYER_NORM_EPSILON)
