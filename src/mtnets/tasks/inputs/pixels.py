"""Arrays of pixels, of any type and size, as the 8-bit images of a network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError, warn
from mtnets.tasks.inputs.image_files import MOST, Resize, bits_of, fitted

ROUNDING = 1e-5  # how far beyond 0 … 1 numbers may lie that come from a computation


def pixels_of(x: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Pixels 0 … 255 as uint8, from an array of truth values, whole numbers or fractions, which are rounded.

    Returns:
      The pixels; None for fractions 0 … 1, and for what is no finite number.

    Raises:
      DataError: for numbers that are neither 0 … 255 nor 0 … 1.
    """
    if x.dtype == bool:
        return x.astype(np.uint8) * np.uint8(255)
    fractions = x.dtype.kind == "f"
    if x.dtype.kind not in "iuf" or (fractions and not np.isfinite(x).all()):
        return None
    low, high = x.min(), x.max()
    if fractions and low >= -ROUNDING and high <= 1 + ROUNDING:
        return None
    if low < 0 or high > 255 or (fractions and high < 2):
        if low < 0 or high > MOST:
            remedy = "pass the pixels as they were before they were centred or scaled"
        elif high > 255:
            bits = bits_of(high)
            remedy = f"for {bits}-bit grey levels, (x.astype(int) >> {bits - 8}).astype(numpy.uint8)"
        else:
            remedy = "fractions may have come out a little too large, x.clip(0, 1)"
        raise DataError(
            f"x ({x.dtype}) goes from {low:g} to {high:g}; images are pixels 0 … 255 of any type, or fractions 0 … 1: "
            f"{remedy}."
        )
    if not fractions and high == 1:
        warn(
            f"x ({x.dtype}) has no pixel above 1 of 255 and is nearly black; where 1 is white, pass x.astype(bool).",
        )
    return (np.rint(x) if fractions else x).astype(np.uint8)


def resized(pixels: NDArray[np.uint8], size: int, channels: int, resize: Resize = "lanczos") -> NDArray[np.uint8]:
    """Images of any size as `[examples, size, size, channels]`, in the way that files are read.

    Args:
      pixels: `[examples, height, width, channels]`, 1 to 4 channels: grey or RGB, with or without transparency.
      size, channels: of the images wanted.
      resize: as for `load`.
    """
    from PIL import Image

    if pixels.shape[1:] == (size, size, channels):
        return pixels
    layout = pixels[..., 0] if pixels.shape[3] == 1 else pixels  # as Pillow has grey
    return np.stack([fitted(Image.fromarray(np.ascontiguousarray(each)), size, channels, resize) for each in layout])
