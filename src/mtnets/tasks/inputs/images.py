"""From image files to what a network sees, the same way in training and in use."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from jax import Array
from numpy.typing import NDArray

from mtnets.arguments import check_fields
from mtnets.errors import DataError, OptionError
from mtnets.networks.exports.program import Field
from mtnets.tasks.inputs.base import Inputs
from mtnets.tasks.inputs.file_tasks import FileTask, FileTasks
from mtnets.tasks.inputs.image_files import (
    MODES,
    ImageFile,
    Resize,
    class_folders,
    decode,
    eight_bits,
    images_to_classify,
    load,
)
from mtnets.tasks.inputs.pixels import pixels_of, resized
from mtnets.tasks.inputs.raw_form import RawForm

Pixels = TypeVar("Pixels", Array, NDArray[Any])
LIGHT = 0.7  # mean of fractions above which they are light paper, not ink of 1 on 0


@dataclasses.dataclass(frozen=True)
class Images(Inputs):
    """Square images.

    Raw images are files, or arrays of pixels 0 … 255 of any type (bool: 0 and 255) and any size, which are resized.
    Fractions 0 … 1 of the right size are inputs of the network already.

    Attributes:
      size: side in pixels.
      channels: 1 (grey) or 3 (RGB).
      invert: whether light and dark change places: then dark ink on light paper is 1 on 0.
      resize: how images of another size are made of this one: `lanczos` filters, `nearest` takes the nearest pixel.
    """

    kind: ClassVar[str | None] = "images"
    rows_dtype: ClassVar[Any] = "numeric"  # bool says that 1 is white

    size: int
    channels: int
    invert: bool = False
    resize: Resize = "lanczos"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.size < 1:
            raise OptionError(f"The image size is {self.size}; it must be at least 1 pixel.")
        if self.channels not in MODES:
            raise OptionError(f"Images have {self.channels} channels; it must be 1 (grey) or 3 (RGB).")

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(size, size, channels)`."""
        return (self.size, self.size, self.channels)

    def read(self, file: ImageFile, name: str = "") -> NDArray[np.uint8]:
        """Reads one image of any kind as `[size, size, channels]`. Raises DataError as `decode` does."""
        return decode(file, name or str(file), self.size, self.channels, self.resize)

    def read_all(self, paths: Sequence[Path]) -> NDArray[np.uint8]:
        """Reads images as one array `[images, size, size, channels]`. Raises DataError as `decode` does."""
        if not paths:
            return np.empty((0, *self.shape), np.uint8)
        images = [load(path, str(path), self.size, self.channels, self.resize) for path in paths]
        for path, image in zip(paths, images, strict=True):
            if image.dtype != images[0].dtype:
                raise DataError(
                    f"{paths[0]} has {images[0].itemsize * 8} bits a pixel and {path} {image.itemsize * 8}; save all "
                    "with 8 bits."
                )
        return eight_bits(np.stack(images))

    def check(self, pixels: Any, name: str) -> None:
        """Raises DataError for an array that is not uint8 `[examples, size, size, channels]`; `name` says which."""
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self.shape:
            shape = ", ".join(map(str, self.shape))
            raise DataError(
                f"{name} is {pixels.dtype} {list(pixels.shape)}; expected uint8 [examples, {shape}]. Pixels 0 … 255 of "
                "another type: x.astype(numpy.uint8)."
            )

    def check_network(self, input_shape: tuple[int, ...], outputs: int) -> None:
        """Raises DataError for a network that takes no such images, channels last or first."""
        if input_shape not in (self.shape, (self.channels, self.size, self.size)):
            raise DataError(f"Images are {list(self.shape)} and the network takes {list(input_shape)}.")

    def check_tasks(self, tasks: Inputs) -> None:
        """Raises DataError for tasks of images that are read otherwise."""
        if isinstance(tasks, Images) and tasks != self:
            raise DataError(
                f"The tasks have {tasks.describe()}, and the learner takes {self.describe()}; read them as in its "
                f"training: image_size={self.size}, channels={self.channels}, invert={self.invert}, "
                f"resize={self.resize!r}, or inputs=mtnets.tasks.{self!r}."
            )
        super().check_tasks(tasks)

    def prepare(self, x: Any) -> np.ndarray:
        """Pixels, uint8 `[examples, size, size, channels]`, from raw images or the paths of image files; fractions
        0 … 1 as they are. The channels of x may be its second axis, or absent.

        Raises:
          DataError: for numbers in another range, images of another form, or a file that is no image.
        """
        if isinstance(x, list | tuple) and x and all(isinstance(each, str | Path) for each in x):
            return self.read_all([Path(each) for each in x])
        if isinstance(x, list | tuple) and len({np.shape(each) for each in x}) > 1:
            images = [np.asarray(each) for each in x]
            return np.concatenate(
                [self.prepare(each[None, ..., None] if each.ndim == 2 else each[None]) for each in images]
            )
        array = np.asarray(x)
        if array.ndim == 3 and array.shape[1:] == self.shape[:2]:
            array = array[..., None]
        if array.ndim == 4 and array.shape[1] in MODES and array.shape[3] > 4:  # channels first
            array = array.transpose(0, 2, 3, 1)
        if array.ndim != 4 or not array.size:
            return array  # for which there is a sentence already
        pixels = pixels_of(array)
        if pixels is None:
            return self._fractions(array)
        if pixels.shape[3] > 4:
            raise DataError(
                f"x has shape {pixels.shape}; expected (examples, height, width, channels) with 1 to 4 channels."
            )
        return resized(pixels, self.size, self.channels, self.resize)

    def _fractions(self, x: np.ndarray) -> np.ndarray:
        """Inputs of the network. Raises DataError for those that look like raw images, or have another size."""
        if x.dtype.kind != "f":
            return x
        if x.shape[1:] != self.shape:
            raise DataError(
                f"x has shape {x.shape} and fractions 0 … 1, which are inputs of the network and must be (examples, "
                f"{', '.join(map(str, self.shape))}); pixels 0 … 255 are resized: x * 255."
            )
        if self.invert and x.mean() > LIGHT:
            raise DataError(
                f"x ({x.dtype}) is {x.mean():.2f} on average; fractions 0 … 1 are inputs of the network, and this one "
                "sees dark ink on light paper as 1 on 0. Pass the pixels: x * 255."
            )
        return x

    def to_inputs(self, pixels: Pixels) -> Pixels:
        """Pixels 0 … 255 of any shape as float32 in [0, 1] (NumPy or JAX)."""
        inputs: Any = pixels.astype(np.float32) / np.float32(255)
        return 1 - inputs if self.invert else inputs

    def scale(self, x: Any) -> Any:
        """Inputs of the network: uint8 pixels converted to [0, 1], fractions as they are."""
        return self.to_inputs(x) if x.dtype == np.uint8 else x

    def raw_form(self, like: Any) -> RawForm:
        """Pixels of images of this size."""
        paper = ", dark on light" * self.invert
        colours = "made grey" if self.channels == 1 else "made RGB"
        others = f"others are {colours}, then resized by Pillow's {self.resize.upper()}"
        about = f"pixels 0 … 255 of {self._colours} images{paper}, channels last; {others}"
        return RawForm(
            fields={"pixels": Field(self.shape, np.uint8, about)},
            prepared=lambda arrays: arrays["pixels"],
            raw=lambda arrays: arrays["pixels"],
            made_up=lambda count, random: {"pixels": random.integers(0, 256, (count, *self.shape), np.uint8)},
        )

    def read_tasks(self, support: str | Path, query: str | Path) -> FileTasks:
        """Reads one task: a folder of class folders to learn from; one image, or a folder of them, to classify.

        Raises:
          DataError: for folders without images or classes, or an image that is damaged.
        """
        classes, queries = class_folders(support), images_to_classify(query)
        y = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
        files = [file for members in classes.values() for file in members] + [file for file, _ in queries]
        x, pixels = np.split(self.read_all(files), [len(y)])  # read together, since they have one scale
        return FileTasks(
            tasks=[FileTask(x, y, pixels, np.arange(len(queries)))],
            titles=("path",),
            queries=[(file,) for file, _ in queries],
            truth=[name if name in classes else None for _, name in queries],
            classes=tuple(classes),
            known="images of known class",
        )

    def describe(self) -> str:
        """The raw data that a learner with these inputs takes."""
        words = f"{self._colours} images, {self.size} × {self.size}{', inverted' * self.invert}"
        return words + ", by their nearest pixels" * (self.resize == "nearest")

    @property
    def _colours(self) -> str:
        return {1: "grey", 3: "RGB"}[self.channels]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"kind": self.kind, **dataclasses.asdict(self)}
