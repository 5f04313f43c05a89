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
from mtnets.tasks.inputs.base import Inputs
from mtnets.tasks.inputs.file_tasks import FileTask, FileTasks
from mtnets.tasks.inputs.image_files import MODES, ImageFile, class_folders, decode, images_to_classify

Pixels = TypeVar("Pixels", Array, NDArray[Any])


@dataclasses.dataclass(frozen=True)
class Images(Inputs):
    """Square images.

    Attributes:
      size: side in pixels.
      channels: 1 (grey) or 3 (RGB).
      invert: whether light and dark change places: then dark ink on light paper is 1 on 0.
    """

    kind: ClassVar[str | None] = "images"
    rows_dtype: ClassVar[Any] = "numeric"  # uint8 says that numbers are pixels

    size: int
    channels: int
    invert: bool = False

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
        return decode(file, name or str(file), self.size, self.channels)

    def read_all(self, paths: Sequence[Path]) -> NDArray[np.uint8]:
        """Reads images as one array `[images, size, size, channels]`. Raises DataError as `decode` does."""
        return np.stack([self.read(path) for path in paths]) if paths else np.empty((0, *self.shape), np.uint8)

    def check(self, pixels: Any, name: str) -> None:
        """Raises DataError for an array that is not uint8 `[examples, size, size, channels]`; `name` says which."""
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self.shape:
            shape = ", ".join(map(str, self.shape))
            raise DataError(f"{name} is {pixels.dtype} {list(pixels.shape)}; expected uint8 [examples, {shape}].")

    def to_inputs(self, pixels: Pixels) -> Pixels:
        """Pixels 0 … 255 of any shape as float32 in [0, 1] (NumPy or JAX)."""
        inputs: Any = pixels.astype(np.float32) / np.float32(255)
        return 1 - inputs if self.invert else inputs

    def scale(self, x: Any) -> Any:
        """Inputs of the network: uint8 pixels converted to [0, 1], other numbers as they are."""
        return self.to_inputs(x) if x.dtype == np.uint8 else x

    def read_tasks(self, support: str | Path, query: str | Path) -> FileTasks:
        """Reads one task: a folder of class folders to learn from; one image, or a folder of them, to classify.

        Raises:
          DataError: for folders without images or classes, or an image that is damaged.
        """
        classes, queries = class_folders(support), images_to_classify(query)
        x = self.read_all([file for files in classes.values() for file in files])
        y = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
        pixels = self.read_all([file for file, _ in queries])
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
        colours = {1: "grey", 3: "RGB"}[self.channels]
        return f"{colours} images, {self.size} × {self.size}{', inverted' * self.invert}"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"kind": self.kind, **dataclasses.asdict(self)}
