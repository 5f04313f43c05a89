"""The augmentations that ship. Each is a frozen dataclass: its fields are its strengths, and it maps a key and an image
`[height, width, channels]` to an image of the same shape.

Images are inputs of the network, from 0 to 1: where light and dark change places, 0 is paper and 1 is ink. What lies
outside of an image is 0.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.ndimage import map_coordinates

from mtnets.arguments import Such, check_fields
from mtnets.errors import OptionError
from mtnets.named import Kind, from_text
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.draws import between

AUGMENTATIONS: dict[str, type["Augmentation"]] = {}
Share = Annotated[float, Such(lambda share: 0 <= share <= 1, "a number from 0 to 1")]
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # light of red, green and blue (ITU-R BT.601), as Pillow's "L"


class Augmentation:
    """A random change of an image that keeps its class. Listed in `AUGMENTATIONS` by its name."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        AUGMENTATIONS[cls.name] = cls

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, images: Images) -> None:
        """Raises OptionError for images on which it means nothing."""

    def __call__(self, key: Array, image: Array) -> Array:
        """The image, changed as this key says, `[height, width, channels]`."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Flip(Augmentation):
    """Left and right change places.

    Attributes:
      probability: how often.
    """

    name: ClassVar[str] = "flip"
    probability: Share = 0.5

    def __call__(self, key: Array, image: Array) -> Array:
        """See `Augmentation`."""
        return jnp.where(jax.random.bernoulli(key, self.probability), image[:, ::-1], image)


@dataclasses.dataclass(frozen=True)
class Crop(Augmentation):
    """A window of the size of the image, anywhere on the image with a margin of 0 around it: a shift by whole pixels.

    Attributes:
      padding: width of the margin, pixels.

    References:
      He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv 1512.03385, section 4.2.
    """

    name: ClassVar[str] = "crop"
    padding: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.padding < 0:
            raise OptionError(f"padding is {self.padding}; it must be at least 0 pixels.")

    def check(self, images: Images) -> None:
        """Raises OptionError for a margin that could hold the whole window."""
        if self.padding >= images.size:
            raise OptionError(
                f"padding is {self.padding}, and a window could miss images of {images.size} pixels; write "
                f"crop(padding={images.size // 8})."
            )

    def __call__(self, key: Array, image: Array) -> Array:
        """See `Augmentation`."""
        margin = (self.padding, self.padding)
        # compiles in a fraction of the time of jax.random.randint
        top, left = ((2 * self.padding + 1) * jax.random.uniform(key, (2,))).astype(jnp.int32)
        return jax.lax.dynamic_slice(jnp.pad(image, (margin, margin, (0, 0))), (top, left, 0), image.shape)


@dataclasses.dataclass(frozen=True)
class Rotate(Augmentation):
    """A turn about the centre, by any angle up to some bound, to either side.

    Attributes:
      degrees: the bound.
    """

    name: ClassVar[str] = "rotate"
    degrees: float = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.degrees <= 180:
            raise OptionError(f"degrees is {self.degrees}; it must be from 0 to 180.")

    def __call__(self, key: Array, image: Array) -> Array:
        """See `Augmentation`."""
        bound = np.deg2rad(self.degrees)
        return rotated(image, jax.random.uniform(key, minval=-bound, maxval=bound))


def rotated(image: Array, angle: Array) -> Array:
    """An image `[height, width, channels]` turned counter-clockwise by an angle (radians), between pixels bilinear."""
    height, width = image.shape[:2]
    middle = ((height - 1) / 2, (width - 1) / 2)
    down, right = np.arange(height)[:, None] - middle[0], np.arange(width) - middle[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # each pixel looks up where it comes from, which is the turn backwards
    places = [cos * down + sin * right + middle[0], cos * right - sin * down + middle[1]]
    return jax.vmap(lambda channel: map_coordinates(channel, places, order=1), -1, -1)(image)


@dataclasses.dataclass(frozen=True)
class Colour(Augmentation):
    """Brightness `x ← b x`, contrast `x ← m + c (x − m)` with the mean light m of the image, saturation
    `x ← g + s (x − g)` with the light g of each pixel, in this order, each held within 0 to 1. The factors b, c, s are
    drawn evenly from 1 − strength to 1 + strength.

    Attributes:
      brightness, contrast, saturation: the strengths; 0 leaves that out.
    """

    # Differs from torchvision's ColorJitter, which shuffles the order and may change the hue too.

    name: ClassVar[str] = "colour"
    brightness: Share = 0.4
    contrast: Share = 0.4
    saturation: Share = 0.4

    def check(self, images: Images) -> None:
        """Raises OptionError for a saturation of grey images."""
        if self.saturation and images.channels == 1:
            raise OptionError(
                f"saturation is {self.saturation:g}, and images of one channel have none; write colour(saturation=0)."
            )

    def __call__(self, key: Array, image: Array) -> Array:
        """See `Augmentation`."""
        strengths = np.array([self.brightness, self.contrast, self.saturation], np.float32)
        b, c, s = 1 + strengths * jax.random.uniform(key, (3,), image.dtype, minval=-1.0)
        if self.brightness:
            image = _within(b * image)
        if self.contrast:
            mean = light(image).mean()
            image = _within(mean + c * (image - mean))
        if self.saturation:
            grey = light(image)
            image = _within(grey + s * (image - grey))
        return image


def light(image: Array) -> Array:
    """The light of each pixel, `[height, width, 1]`."""
    return jnp.sum(image * GREY, axis=-1, keepdims=True) if image.shape[-1] == len(GREY) else image


def _within(image: Array) -> Array:
    return jnp.clip(image, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Erase(Augmentation):
    """A rectangle of the image becomes 0. `erase(probability=1.0, area=(0.25, 0.25), aspect=(1.0, 1.0))` is cutout with
    a square of half the image's side, all of it within the image.

    Attributes:
      probability: how often.
      area: bounds of its share of the image.
      aspect: bounds of its height over its width, drawn evenly on a logarithmic scale. A side ends with the image's.

    References:
      Zhong et al., Random Erasing Data Augmentation, AAAI 2020, arXiv 1708.04896.
      DeVries & Taylor, Improved Regularization of CNNs with Cutout, 2017, arXiv 1708.04552.
    """

    # Differs from Zhong et al. (2020): there the rectangle is filled with noise, and one that does not fit drawn anew.

    name: ClassVar[str] = "erase"
    probability: Share = 0.5
    area: tuple[float, float] = (0.02, 0.33)
    aspect: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, most in (("area", 1.0), ("aspect", np.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= most or high == np.inf:
                bound = " and at most 1" if most == 1 else ""
                raise OptionError(f"{name} is {(low, high)}; it must be two rising numbers above 0{bound}.")

    def __call__(self, key: Array, image: Array) -> Array:
        """See `Augmentation`."""
        erased, area, aspect, top, left = jax.random.uniform(key, (5,))
        area = between(area, self.area)
        root = jnp.exp(between(aspect, (np.log(self.aspect[0]) / 2, np.log(self.aspect[1]) / 2)))
        rows = _span(image.shape[0], jnp.sqrt(area) * root, top)
        columns = _span(image.shape[1], jnp.sqrt(area) / root, left)
        return jnp.where((erased < self.probability) & rows[:, None, None] & columns[:, None], 0.0, image)


def _span(pixels: int, share: Array, place: Array) -> Array:
    """Which pixels of a side lie in a span of it, `[pixels]`.

    Args:
      pixels: of the side.
      share: length of the span; at least a pixel and at most the side are taken.
      place: from 0 to 1, from the first place that it may have to the last.
    """
    length = jnp.clip(jnp.rint(share * pixels), 1, pixels)
    first = jnp.floor(place * (pixels - length + 1))
    at = jnp.arange(pixels)
    return (at >= first) & (at < first + length)


def augmentations_of(texts: Sequence[str]) -> tuple[Augmentation, ...]:
    """Augmentations by their names, with options or without: `("flip", "crop(padding=2)")`.

    Raises:
      OptionError: for a name or an option that does not exist, or a strength that is not possible.
    """
    return tuple(from_text(text, AUGMENTATIONS, Kind("augmentation", "crop(padding=4)")) for text in texts)


def augment_images(augmentations: Sequence[Augmentation], keys: Array, images: Array) -> Array:
    """Images, each changed by all of these augmentations in turn, as its key says.

    Args:
      augmentations: applied one after the other; each draws from a key of its own.
      keys: one per image, `[images]`.
      images: `[images, height, width, channels]`, from 0 to 1.
    """

    def one(key: Array, image: Array) -> Array:
        for number, augmentation in enumerate(augmentations):
            image = augmentation(jax.random.fold_in(key, number), image)
        return image

    return jax.vmap(one)(keys, images)
