"""Convolution as patches × matrix, which XLA runs many times faster on a CPU when every task has weights of its own."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


def conv(lhs: Array, rhs: Array, window_strides: Any, padding: Any, **options: Any) -> Array:
    """Drop-in for `lax.conv_general_dilated` as Flax calls it (NHWC × HWIO): the fast form of each backend.

    Args:
      lhs: images `[batch, height, width, channels]`.
      rhs: kernel `[kernel height, kernel width, channels, filters]`.
      window_strides: one stride per image axis.
      padding: "SAME", "VALID", or (before, after) per image axis.
      options: passed on where XLA's own convolution is used; dilated and grouped convolutions always use it.
    """
    plain = (
        rhs.ndim == 4
        and options.get("feature_group_count", 1) == 1
        and all(d == 1 for d in (*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ())))
    )
    if plain and jax.default_backend() == "cpu":
        return conv_by_patches(lhs, rhs, window_strides, padding, precision=options.get("precision"))
    options.pop("out_sharding", None)
    return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **options)


def conv_by_patches(images: Array, kernel: Array, strides: Any, padding: Any, *, precision: Any = None) -> Array:
    """The same convolution as one matrix product: `[batch · height · width, kh · kw · c] × [kh · kw · c, filters]`."""
    kh, kw, channels, filters = kernel.shape
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(images.shape[1:3], (kh, kw), strides, padding)
    padded = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    height = (padded.shape[1] - kh) // strides[0] + 1
    width = (padded.shape[2] - kw) // strides[1] + 1

    def shifted(i: int, j: int) -> Array:
        stop = (len(images), i + (height - 1) * strides[0] + 1, j + (width - 1) * strides[1] + 1, channels)
        return lax.slice(padded, (0, i, j, 0), stop, (1, *strides, 1))

    patches = jnp.concatenate([shifted(i, j) for i in range(kh) for j in range(kw)], axis=-1)
    product = jnp.matmul(patches.reshape(-1, kh * kw * channels), kernel.reshape(-1, filters), precision=precision)
    return product.reshape(len(images), height, width, filters)


def max_pool(images: Array, size: int = 2) -> Array:
    """Non-overlapping max-pooling as a reshape and a maximum; rows and columns left over are dropped.

    Args:
      images: `[batch, height, width, channels]`.
      size: side of the window.
    """
    n, height, width, channels = images.shape
    h, w = height // size, width // size
    windows = images[:, : h * size, : w * size].reshape(n, h, size, w, size, channels)
    return windows.max(axis=(2, 4))
