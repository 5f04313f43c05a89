"""Convolution as one matrix product of patches: many times faster where each task has its own weights.

With weights of its own for each task a convolution becomes a grouped one, whose groups a GPU runs one after another; a
product of matrices becomes one batched product.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from mtnets.networks.greatest import greatest


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


def conv_by_patches(
    images: Array, kernel: Array, strides: Any, padding: Any, dilation: Any = None, *, precision: Any = None
) -> Array:
    """A convolution as one matrix product: `[batch · places, elements · channels] × [elements · channels, filters]`.

    Args:
      images: `[batch, *image, channels]`, of any number of image axes.
      kernel: `[*elements, channels, filters]`.
      strides, padding: as in `conv`.
      dilation: one distance between elements per image axis. Defaults to ones.
      precision: of the product.
    """
    *sizes, _, filters = kernel.shape
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(images.shape[1:-1], sizes, strides, padding)
    patches = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    # One axis after the other: 3 + 3 slices for a 3×3 kernel instead of 9. The last first, so that the elements stand
    # side by side in the channels as they do in the kernel, which is then a matrix as it is in memory.
    for axis in reversed(range(len(sizes))):
        size, stride, apart = sizes[axis], strides[axis], 1 if dilation is None else dilation[axis]
        reach = patches.shape[1 + axis] - apart * (size - 1)
        windows = [lax.slice_in_dim(patches, i * apart, i * apart + reach, stride, 1 + axis) for i in range(size)]
        patches = jnp.concatenate(windows, axis=-1)
    matrix = kernel.reshape(-1, filters)
    product = jnp.matmul(patches.reshape(-1, len(matrix)), matrix, precision=precision)
    return product.reshape(*patches.shape[:-1], filters)


def max_pool(images: Array, size: int = 2) -> Array:
    """Non-overlapping max-pooling as a reshape and two maxima; rows and columns that are left over are dropped.

    Args:
      images: `[batch, height, width, channels]`.
      size: side of the window.
    """
    n, height, width, channels = images.shape
    h, w = height // size, width // size
    windows = images[:, : h * size, : w * size].reshape(n, h, size, w, size, channels)
    return greatest(greatest(windows, 4), 2)
