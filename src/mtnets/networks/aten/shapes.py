"""Operations that rearrange an array: views, padding, cuts and joins."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

ENDLESS = 2**31  # PyTorch writes "to the end" as a huge number


def _reshape(x: Array, shape: Sequence[Any]) -> Array:
    return jnp.reshape(x, tuple(shape))


def _squeeze(x: Array, dim: Any = None) -> Array:
    if dim is None:
        return jnp.squeeze(x)
    dims = [dim] if isinstance(dim, int) else dim
    return jnp.squeeze(x, tuple(d for d in dims if x.ndim and x.shape[d] == 1))


def _expand(x: Array, shape: Sequence[Any], implicit: bool = False) -> Array:
    given = (None,) * (len(shape) - x.ndim) + x.shape
    return jnp.broadcast_to(x, tuple(old if new == -1 else new for old, new in zip(given, shape, strict=True)))


def _slice(x: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Array:
    start = 0 if start is None else start
    whole = end is None or (isinstance(end, int) and end >= ENDLESS)
    if whole and isinstance(start, int) and start == 0 and step == 1:
        return x
    return x[(slice(None),) * (dim % x.ndim) + (slice(start, None if whole else end, step),)]


def _select(x: Array, dim: int, index: Any) -> Array:
    return jax.lax.index_in_dim(x, index, dim, keepdims=False) if isinstance(index, int) else jnp.take(x, index, dim)


def _split(x: Array, size: Any, dim: int = 0) -> list[Array]:
    if isinstance(size, list | tuple):
        sizes = list(size)
    else:
        full, rest = divmod(x.shape[dim], size)
        sizes = [size] * full + ([rest] if rest else [])
    return list(jax.lax.split(x, sizes, dim % x.ndim))


def _chunk(x: Array, chunks: int, dim: int = 0) -> list[Array]:
    return _split(x, -(-x.shape[dim] // chunks), dim)


def _tensor_split(x: Array, where: Any, dim: int = 0) -> list[Array]:
    return jnp.array_split(x, where if isinstance(where, int) else list(where), dim)


def _cat(arrays: Sequence[Array], dim: int = 0) -> Array:
    kept = [a for a in arrays if a.shape != (0,)]  # PyTorch leaves out empty vectors
    return jnp.concatenate(kept or arrays, dim)


def _unbind(x: Array, dim: int = 0) -> list[Array]:
    return [part.squeeze(dim) for part in jax.lax.split(x, [1] * x.shape[dim], dim % x.ndim)]


def _flip(x: Array, dims: Sequence[int]) -> Array:
    return jnp.flip(x, tuple(dims))


def _roll(x: Array, shifts: Any, dims: Any = ()) -> Array:
    if not dims and dims != 0:
        return jnp.roll(x, shifts[0] if isinstance(shifts, list | tuple) else shifts)
    return jnp.roll(x, tuple(shifts), tuple(dims)) if isinstance(dims, list | tuple) else jnp.roll(x, shifts, dims)


def _repeat(x: Array, repeats: Sequence[int]) -> Array:
    return jnp.tile(x, tuple(repeats))


def _repeat_interleave(x: Array, repeats: Any, dim: int | None = None, output_size: int | None = None) -> Array:
    return jnp.repeat(x, repeats, axis=dim, total_repeat_length=output_size)


def _unfold(x: Array, dim: int, size: int, step: int) -> Array:
    """All windows along one axis; their elements are a new last axis."""
    dim %= x.ndim
    starts = jnp.arange(0, x.shape[dim] - size + 1, step)
    windows = jnp.take(x, starts[:, None] + jnp.arange(size), axis=dim)
    return jnp.moveaxis(windows, dim + 1, -1)


def pad(x: Array, widths: Sequence[int], mode: str = "constant", value: Any = None) -> Array:
    """Pads the last axes; widths are (before, after) from the last axis on. Negative ones cut."""
    pairs = [(0, 0)] * (x.ndim - len(widths) // 2) + list(zip(widths[::2], widths[1::2], strict=True))[::-1]
    for axis, (before, after) in enumerate(pairs):
        if before < 0 or after < 0:
            x = jax.lax.slice_in_dim(x, max(-before, 0), x.shape[axis] - max(-after, 0), axis=axis)
    pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if mode == "constant":
        return jnp.pad(x, pairs, constant_values=0 if value is None else value)
    return jnp.pad(x, pairs, {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode])


def _padding(mode: str) -> Callable[..., Array]:
    return lambda x, widths, value=None: pad(x, widths, mode, value)


def _triangle(cut: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, diagonal=0: cut(x, diagonal)


def _diagonal(x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    return jnp.diagonal(x, offset, dim1, dim2)


def _diagonal_matrix(x: Array, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Array:
    side = x.shape[-1] + abs(offset)
    rows = jnp.arange(x.shape[-1]) + max(-offset, 0)
    matrix = jnp.zeros((*x.shape[:-1], side, side), x.dtype).at[..., rows, rows + offset].set(x)
    return jnp.moveaxis(matrix, (-2, -1), (dim1, dim2))


def _pixel_shuffle(x: Array, factor: int) -> Array:
    *front, channels, height, width = x.shape
    blocks = x.reshape(-1, channels // factor**2, factor, factor, height, width)
    return blocks.transpose(0, 1, 4, 2, 5, 3).reshape(*front, channels // factor**2, height * factor, width * factor)


def _pixel_unshuffle(x: Array, factor: int) -> Array:
    *front, channels, height, width = x.shape
    h, w = height // factor, width // factor
    blocks = x.reshape(-1, channels, h, factor, w, factor)
    return blocks.transpose(0, 1, 3, 5, 2, 4).reshape(*front, channels * factor**2, h, w)


def _patches(size: Sequence[int], dilation: Sequence[int], stride: Sequence[int], grid: Sequence[int]) -> list[Array]:
    """For each axis, the place of each element of each window, `[elements, windows]`."""
    return [
        jnp.arange(k)[:, None] * d + jnp.arange(n) * s for k, d, s, n in zip(size, dilation, stride, grid, strict=True)
    ]


def _grid(image: Sequence[int], size: Sequence[int], dilation: Any, padding: Any, stride: Any) -> list[int]:
    """How many windows fit, for each axis."""
    sides = zip(image, size, dilation, padding, stride, strict=True)
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in sides]


def _im2col(x: Array, size: Sequence[int], dilation: Any, padding: Any, stride: Any) -> Array:
    """`[examples, channels · elements, windows]` of images."""
    rows, columns = _patches(size, dilation, stride, _grid(x.shape[-2:], size, dilation, padding, stride))
    x = pad(x, (padding[1], padding[1], padding[0], padding[0]))
    windows = x[..., rows[:, None, :, None], columns[None, :, None, :]]  # [..., channels, kh, kw, h, w]
    return windows.reshape(*x.shape[:-3], x.shape[-3] * math.prod(size), -1)


def _col2im(x: Array, image: Sequence[int], size: Sequence[int], dilation: Any, padding: Any, stride: Any) -> Array:
    """The transpose of `_im2col`: what overlaps is added."""
    grid = _grid(image, size, dilation, padding, stride)
    rows, columns = _patches(size, dilation, stride, grid)
    windows = x.reshape(*x.shape[:-2], -1, *size, *grid)
    (ph, pw), (h, w) = padding, image
    empty = jnp.zeros((*windows.shape[:-4], h + 2 * ph, w + 2 * pw), x.dtype)
    whole = empty.at[..., rows[:, None, :, None], columns[None, :, None, :]].add(windows)
    return whole[..., ph : ph + h, pw : pw + w]


def _slice_scatter(x: Array, source: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Array:
    end = None if isinstance(end, int) and end >= ENDLESS else end
    return x.at[(slice(None),) * (dim % x.ndim) + (slice(start, end, step),)].set(source)


def _channel_shuffle(x: Array, groups: int) -> Array:
    n, channels, *image = x.shape
    return x.reshape(n, groups, channels // groups, *image).swapaxes(1, 2).reshape(x.shape)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "cat": _cat,
    "channel_shuffle": _channel_shuffle,
    "chunk": _chunk,
    "col2im": _col2im,
    "constant_pad_nd": _padding("constant"),
    "diag_embed": _diagonal_matrix,
    "diagonal": _diagonal,
    "expand": _expand,
    "flip": _flip,
    "im2col": _im2col,
    "pad": pad,
    "permute": lambda x, dims: jnp.transpose(x, tuple(dims)),
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "reflection_pad1d": _padding("reflect"),
    "reflection_pad2d": _padding("reflect"),
    "reflection_pad3d": _padding("reflect"),
    "repeat": _repeat,
    "repeat_interleave.self_int": _repeat_interleave,
    "replication_pad1d": _padding("replicate"),
    "replication_pad2d": _padding("replicate"),
    "replication_pad3d": _padding("replicate"),
    "reshape": _reshape,
    "roll": _roll,
    "rot90": lambda x, k=1, dims=(0, 1): jnp.rot90(x, k, tuple(dims)),
    "select": _select,
    "select_scatter": lambda x, source, dim, index: x.at[(slice(None),) * (dim % x.ndim) + (index,)].set(source),
    "slice": _slice,
    "slice_scatter": _slice_scatter,
    "split": _split,
    "split_with_sizes": _split,
    "squeeze": _squeeze,
    "stack": lambda arrays, dim=0: jnp.stack(arrays, dim),
    "sym_numel": lambda x: x.size,
    "sym_size": lambda x, dim=None: x.shape if dim is None else x.shape[dim],
    "t": lambda x: x.T,
    "tensor_split": _tensor_split,
    "transpose": lambda x, a, b: jnp.swapaxes(x, a, b) if x.ndim else x,
    "tril": _triangle(jnp.tril),
    "triu": _triangle(jnp.triu),
    "unbind": _unbind,
    "unfold": _unfold,
    "unsqueeze": jnp.expand_dims,
    "view": _reshape,
    "_unsafe_view": _reshape,
}
