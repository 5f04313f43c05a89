"""Pooling and resizing of images of 1 to 3 axes, channels first."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.networks.greatest import greatest

Sizes = int | Sequence[int]


def _sizes(values: Any, count: int) -> list[int]:
    values = [values] if isinstance(values, int) else list(values)
    return values * count if len(values) == 1 else values


class _Windows:
    """Windows of a pool: their size, stride and dilation, and how many fit into an image."""

    def __init__(
        self, image: Sequence[int], size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
    ) -> None:
        count = len(image)
        self.size, self.dilation, self.padding = (_sizes(v, count) for v in (size, dilation, padding))
        self.stride = _sizes(stride, count) if stride or stride == 0 else self.size
        self.image = list(image)
        self.grid = []
        for n, k, s, p, d in zip(self.image, self.size, self.stride, self.padding, self.dilation, strict=True):
            room = n + 2 * p - d * (k - 1) - 1
            windows = (-(-room // s) if ceil_mode else room // s) + 1
            # a window must begin within the image or the padding before it
            self.grid.append(windows - 1 if ceil_mode and (windows - 1) * s >= n + p else windows)

    @property
    def disjoint(self) -> bool:
        """Whether windows lie side by side, without padding."""
        plain = self.size == self.stride and not any(self.padding) and set(self.dilation) == {1}
        fit = all(g * k <= n for g, k, n in zip(self.grid, self.size, self.image, strict=True))
        return plain and fit

    def widths(self) -> list[tuple[int, int]]:
        """What is padded, or cut if negative, before and after each axis."""
        sides = zip(self.image, self.size, self.stride, self.padding, self.dilation, self.grid, strict=True)
        return [(p, (g - 1) * s + d * (k - 1) + 1 - n - p) for n, k, s, p, d, g in sides]

    def reduce(self, x: Array, start: Any, operation: Any) -> Array:
        """One number for each window."""
        front = x.ndim - len(self.image)
        return jax.lax.reduce_window(
            x,
            np.asarray(start, x.dtype),
            operation,
            (1,) * front + tuple(self.size),
            (1,) * front + tuple(self.stride),
            ((0, 0),) * front + tuple(self.widths()),
            window_dilation=(1,) * front + tuple(self.dilation),
        )

    def stacked(self, x: Array, start: float) -> Array:
        """All windows, their elements in the first axis."""
        front = x.ndim - len(self.image)
        padded = jnp.pad(x, [(0, 0)] * front + [(b, max(a, 0)) for b, a in self.widths()], constant_values=start)
        cuts = []
        for place in itertools.product(*(range(k) for k in self.size)):
            offsets = [i * d for i, d in zip(place, self.dilation, strict=True)]
            sides = zip(offsets, self.grid, self.stride, strict=True)
            cuts.append(padded[(..., *(slice(o, o + (g - 1) * s + 1, s) for o, g, s in sides))])
        return jnp.stack(cuts)

    def split(self, x: Array) -> Array:
        """Disjoint windows, their elements in the last axis."""
        front = x.shape[: x.ndim - len(self.image)]
        x = x[(..., *(slice(0, g * k) for g, k in zip(self.grid, self.size, strict=True)))]
        x = x.reshape(*front, *(n for pair in zip(self.grid, self.size, strict=True) for n in pair))
        count = len(self.grid)
        order = [*range(len(front)), *(len(front) + 2 * i for i in range(count))]
        x = x.transpose(*order, *(len(front) + 2 * i + 1 for i in range(count)))
        return x.reshape(*front, *self.grid, -1)


def _max_pool(count: int) -> Callable[..., Array]:
    def operation(
        x: Array, size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Array:
        windows = _Windows(x.shape[-count:], size, stride, padding, dilation, ceil_mode)
        if windows.disjoint:
            return greatest(windows.split(x), -1)
        if set(windows.dilation) != {1}:  # JAX has no derivative of these
            return greatest(windows.stacked(x, -np.inf), 0)
        return windows.reduce(x, -np.inf, jax.lax.max)

    return operation


def _max_pool_with_indices(count: int) -> Callable[..., tuple[Array, Array]]:
    pool = _max_pool(count)

    def operation(
        x: Array, size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> tuple[Array, Array]:
        windows = _Windows(x.shape[-count:], size, stride, padding, dilation, ceil_mode)
        image = x.shape[-count:]
        place = jnp.arange(math.prod(image)).reshape(image)
        axes = []  # for each axis the places of the elements of each window, [windows, elements]
        for n, k, s, p, d in zip(
            windows.grid, windows.size, windows.stride, windows.padding, windows.dilation, strict=True
        ):
            axes.append(np.arange(n)[:, None] * s + np.arange(k) * d - p)
        index = np.ix_(*(a.reshape(-1) for a in axes))
        inside = np.ones((), bool)
        for i, (part, n) in enumerate(zip(index, image, strict=True)):
            inside = inside & (part >= 0) & (part < n)
            index = (*index[:i], np.clip(part, 0, n - 1), *index[i + 1 :])
        shape = [n for a in axes for n in a.shape]
        order = [*range(0, 2 * count, 2), *range(1, 2 * count, 2)]

        def gathered(a: Any) -> Any:
            a = a.reshape(*a.shape[: a.ndim - count], *shape)
            front = a.ndim - 2 * count
            a = a.transpose(*range(front), *(front + i for i in order))
            return a.reshape(*a.shape[: front + count], -1)

        values = gathered(jnp.where(inside, jax.lax.stop_gradient(x)[(..., *index)], -jnp.inf))
        best = jnp.argmax(values, -1)
        places = jnp.broadcast_to(gathered(place[index]), values.shape)
        return pool(x, size, stride, padding, dilation, ceil_mode), jnp.take_along_axis(places, best[..., None], -1)[
            ..., 0
        ]

    return operation


def _avg_pool(count: int) -> Callable[..., Array]:
    def operation(
        x: Array,
        size: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Array:
        windows = _Windows(x.shape[-count:], size, stride, padding, 1, ceil_mode)
        if windows.disjoint and divisor_override is None:
            return windows.split(x).mean(-1)
        total = windows.reduce(x, 0.0, jax.lax.add)
        if divisor_override is not None:
            return total / divisor_override
        # how many elements are divided by: those of the image, or of the padding that was asked for as well
        ones = np.ones(windows.image, np.float32)
        if count_include_pad:
            ones = np.pad(ones, [(p, p) for p in windows.padding], constant_values=1)
            windows = _Windows(x.shape[-count:], size, stride, padding, 1, ceil_mode)
            windows.image, windows.padding = list(ones.shape), [0] * count
        with jax.ensure_compile_time_eval():
            counts = windows.reduce(jnp.asarray(ones), 0.0, jax.lax.add)
        return total / counts.astype(x.dtype)

    return operation


def _bins(inputs: int, outputs: int) -> list[slice]:
    """The windows of an adaptive pool along one axis."""
    return [slice(i * inputs // outputs, -(-(i + 1) * inputs // outputs)) for i in range(outputs)]


def _adaptive_avg_pool(count: int) -> Callable[..., Array]:
    def operation(x: Array, outputs: Any) -> Array:
        for axis, n in zip(range(x.ndim - count, x.ndim), _sizes(outputs, count), strict=True):
            matrix = np.zeros((x.shape[axis], n))
            for i, window in enumerate(_bins(x.shape[axis], n)):
                matrix[window, i] = 1 / (window.stop - window.start)
            x = x.mean(axis, keepdims=True) if n == 1 else _resampled(x, matrix, axis)
        return x

    return operation


def _adaptive_max_pool(count: int) -> Callable[..., tuple[Array, None]]:
    def operation(x: Array, outputs: Any) -> tuple[Array, None]:
        for axis, n in zip(range(x.ndim - count, x.ndim), _sizes(outputs, count), strict=True):
            cut = [(slice(None),) * axis + (window,) for window in _bins(x.shape[axis], n)]
            x = jnp.concatenate([jnp.expand_dims(greatest(x[window], axis), axis) for window in cut], axis)
        return x, None

    return operation


def _resampled(x: Array, matrix: np.ndarray, axis: int) -> Array:
    """The array with `matrix` `[inputs, outputs]` applied along one axis."""
    return jnp.moveaxis(jnp.moveaxis(x, axis, -1) @ jnp.asarray(matrix, x.dtype), -1, axis)


def _scales(x: Array, count: int, size: Any, scales: Any) -> list[tuple[int, int, int, float]]:
    """Axis, inputs, outputs, and inputs per output, of each axis that is resized."""
    image = x.shape[-count:]
    scales = [None] * count if scales is None else list(scales)
    size = [math.floor(n * s) for n, s in zip(image, scales, strict=True)] if size is None else list(size)
    ratios = [1 / s if s else n / m for n, m, s in zip(image, size, scales, strict=True)]
    return list(zip(range(x.ndim - count, x.ndim), image, size, ratios, strict=True))


def _options(count: int, rest: Sequence[Any]) -> Any:
    """The scales: one sequence, or one number per axis."""
    if len(rest) == 1 and (rest[0] is None or isinstance(rest[0], list | tuple)):
        return rest[0]
    return [*rest, *[None] * count][:count]


def _nearest(count: int, centred: bool) -> Callable[..., Array]:
    def operation(x: Array, size: Any = None, *rest: Any, **named: Any) -> Array:
        scales = _options(count, rest or [*named.values()])
        for axis, n, m, ratio in _scales(x, count, size, scales):
            source = np.floor((np.arange(m) + (0.5 if centred else 0)) * np.float32(ratio)).astype(int)
            x = jnp.take(x, np.minimum(source, n - 1), axis=axis)
        return x

    return operation


def _linear_weights(distance: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(distance))


def _cubic_weights(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _interpolation(count: int, weights: Callable[[np.ndarray], np.ndarray], reach: int) -> Callable[..., Array]:
    """Separable: one matrix per axis. Places beyond the border take its value."""

    def operation(x: Array, size: Any, align_corners: bool, *rest: Any, **named: Any) -> Array:
        scales = _options(count, rest or [*named.values()])
        for axis, n, m, ratio in _scales(x, count, size, scales):
            if align_corners:
                place = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
            else:
                place = (np.arange(m) + 0.5) * ratio - 0.5
                place = np.maximum(place, 0) if reach == 1 else place
            matrix = np.zeros((n, m))
            for offset in range(1 - reach, reach + 1):
                source = np.floor(place) + offset
                np.add.at(matrix, (np.clip(source, 0, n - 1).astype(int), np.arange(m)), weights(place - source))
            x = _resampled(x, matrix, axis)
        return x

    return operation


def _sample(x: Array, grid: Array, mode: int, padding: int, align_corners: bool) -> Array:
    """Images at the places of a grid `[examples, height, width, 2]` from −1 to 1: bilinear (0) or nearest (1), with
    zeros (0) or the border (1) outside."""
    if mode > 1 or padding > 1:
        raise NotImplementedError("grid_sample is bilinear or nearest, and pads with zeros or the border")
    corners: list[list[tuple[Array, Array]]] = []  # for each axis places and their weights
    for axis, n in ((1, x.shape[2]), (0, x.shape[3])):
        g = grid[..., axis]
        place = (g + 1) / 2 * (n - 1) if align_corners else ((g + 1) * n - 1) / 2
        place = jnp.clip(place, 0, n - 1) if padding == 1 else place
        low = jnp.floor(place)
        near = [(jnp.round(place), jnp.ones_like(place))]
        both = near if mode == 1 else [(low, 1 - (place - low)), (low + 1, place - low)]
        inside = [(i, jnp.where((i >= 0) & (i < n), w, 0)) for i, w in both]
        corners.append([(jnp.clip(i, 0, n - 1).astype(int), w) for i, w in inside])
    examples = jnp.arange(x.shape[0])[:, None, None]
    rows = jnp.moveaxis(x, 1, -1)
    parts = [rows[examples, i, j] * (a * b)[..., None] for (i, a), (j, b) in itertools.product(*corners)]
    return jnp.moveaxis(sum(parts[1:], parts[0]), -1, 1)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "adaptive_avg_pool1d": _adaptive_avg_pool(1),
    "adaptive_max_pool1d": _adaptive_max_pool(1),
    "adaptive_max_pool2d": _adaptive_max_pool(2),
    "adaptive_max_pool3d": _adaptive_max_pool(3),
    "avg_pool1d": _avg_pool(1),
    "avg_pool2d": _avg_pool(2),
    "avg_pool3d": _avg_pool(3),
    "grid_sampler_2d": _sample,
    "max_pool1d": _max_pool(1),
    "max_pool1d_with_indices": _max_pool_with_indices(1),
    "max_pool2d": _max_pool(2),
    "max_pool2d_with_indices": _max_pool_with_indices(2),
    "max_pool3d": _max_pool(3),
    "max_pool3d_with_indices": _max_pool_with_indices(3),
    "upsample_bicubic2d": _interpolation(2, _cubic_weights, 2),
    "upsample_bilinear2d": _interpolation(2, _linear_weights, 1),
    "upsample_linear1d": _interpolation(1, _linear_weights, 1),
    "upsample_nearest1d": _nearest(1, centred=False),
    "upsample_nearest2d": _nearest(2, centred=False),
    "upsample_nearest3d": _nearest(3, centred=False),
    "upsample_trilinear3d": _interpolation(3, _linear_weights, 1),
    "_adaptive_avg_pool2d": _adaptive_avg_pool(2),
    "_adaptive_avg_pool3d": _adaptive_avg_pool(3),
    "_upsample_nearest_exact1d": _nearest(1, centred=True),
    "_upsample_nearest_exact2d": _nearest(2, centred=True),
    "_upsample_nearest_exact3d": _nearest(3, centred=True),
    "adaptive_avg_pool2d": _adaptive_avg_pool(2),
    "adaptive_avg_pool3d": _adaptive_avg_pool(3),
}
