"""Convolution as one matrix product of patches: many times faster where each task has its own weights.

With weights of its own for each task a convolution becomes a grouped one, whose groups a GPU runs one after another; a
product of matrices becomes one batched product.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


def conv(lhs: Array, rhs: Array, window_strides: Any, padding: Any, **options: Any) -> Array:
    """Replaces `lax.conv_general_dilated` as Flax calls it (NHWC × HWIO), in the form that is fast on the backend.

    Args:
      lhs: images `[batch, height, width, channels]`.
      rhs: kernel `[kernel height, kernel width, channels, filters]`.
      window_strides: one stride per image axis.
      padding: "SAME", "VALID", or (before, after) per image axis.
      **options: of `lax.conv_general_dilated`. Dilated and grouped convolutions always call that.
    """
    plain = (
        rhs.ndim == 4
        and options.get("feature_group_count", 1) == 1
        and all(d == 1 for d in (*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ())))
    )
    if plain and jax.default_backend() != "tpu":  # whose units convolve
        return conv_by_patches(lhs, rhs, window_strides, padding, precision=options.get("precision"))
    options.pop("out_sharding", None)
    return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **options)


def conv_by_patches(images: Array, kernel: Array, strides: Any, padding: Any, *, precision: Any = None) -> Array:
    """The same convolution as one matrix product: `[batch · height · width, kh · kw · c] × [kh · kw · c, filters]`."""
    kh, kw, channels, filters = kernel.shape
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(images.shape[1:3], (kh, kw), strides, padding)
    padded = jnp.pad(images, ((0, 0), *padding, (0, 0)))

    def unfold(x: Array, axis: int, size: int, stride: int) -> Array:
        """Every `stride`-th window of `size` along one axis, its elements side by side in the channels."""
        count = (x.shape[axis] - size) // stride + 1
        stop = (count - 1) * stride + 1
        return jnp.concatenate([lax.slice_in_dim(x, i, i + stop, stride, axis) for i in range(size)], axis=-1)

    # One axis after the other: 3 + 3 slices for a 3×3 kernel instead of 9. Columns first, so that the elements stand as
    # they do in the kernel, which is then a matrix as it is in memory.
    patches = unfold(unfold(padded, 2, kw, strides[1]), 1, kh, strides[0])
    matrix = kernel.reshape(-1, filters)
    product = jnp.matmul(patches.reshape(-1, kh * kw * channels), matrix, precision=precision)
    return product.reshape(*patches.shape[:3], filters)


def max_pool(images: Array, size: int = 2) -> Array:
    """Non-overlapping max-pooling as a reshape and a maximum; rows and columns that are left over are dropped.

    Args:
      images: `[batch, height, width, channels]`.
      size: side of the window.
    """
    n, height, width, channels = images.shape
    h, w = height // size, width // size
    windows = images[:, : h * size, : w * size].reshape(n, h, size, w, size, channels)
    return windows.max(axis=(2, 4))
