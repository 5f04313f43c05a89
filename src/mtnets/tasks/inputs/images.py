"""From image files to what a network sees, the same way in training and in use."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import IO, Any, TypeVar

import numpy as np
from jax import Array
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mtnets.errors import DataError, OptionError
from mtnets.tasks.inputs.inputs import Inputs

Pixels = TypeVar("Pixels", Array, NDArray[Any])

# A file with another ending (README, labels.csv) is not an image and is passed over; one of these must be
# readable.
EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"))

_CHANNELS = {"1": 1, "L": 1, "LA": 1, "La": 1}  # every other mode is a colour image
_MODES = {1: "L", 3: "RGB"}


def is_image(name: str | PurePath) -> bool:
    """Whether a file name is that of an image: an image's extension, and not hidden."""
    path = PurePath(name)
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def decode(file: str | Path | bytes | IO[bytes], name: str, size: int = 0, channels: int = 0) -> NDArray[np.uint8]:
    """Reads one image.

    Transparent parts become white, photographs are turned upright, 16-bit grey is reduced to 8 bits.

    Args:
      file: a path, the file's bytes, or an open file.
      name: what to call it in an error.
      size: side in pixels to which it is resized (Lanczos; its aspect ratio is not kept); 0 leaves it as it
        is.
      channels: 1 (grey) or 3 (RGB); 0 leaves it as it is.

    Returns:
      Pixels, `[height, width, channels]`.

    Raises:
      DataError: the file is damaged, missing or not an image.
    """
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
            if image.mode in ("I", "F"):
                raise ValueError(f"its pixels have mode {image.mode}, save it with 8 bits a channel")
            channels = channels or _CHANNELS.get(image.mode, 3)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            # Before resizing: Pillow resizes 1-bit and palette images by nearest neighbour, whatever it is
            # asked.
            image = image.convert(_MODES[channels])
            if size and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.LANCZOS)
            return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything, SyntaxError included
        reason = str(error) or type(error).__name__
        if "cannot identify image file" in reason:  # Pillow goes on to print the address of a buffer
            reason = "its content is not an image"
        raise DataError(f"Image {name} cannot be read: {reason}; repair or remove it.") from error


@dataclasses.dataclass(frozen=True)
class Images(Inputs):
    """How image files become inputs of a network. Kept with a learner, so that new images are read as it
    needs them.

    Attributes:
      size: side in pixels; images are square.
      channels: 1 (grey) or 3 (RGB).
      invert: whether light and dark change places: then dark ink on light paper is 1 on 0.
    """

    size: int
    channels: int
    invert: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise OptionError(f"The image size is {self.size}; it must be at least 1 pixel.")
        if self.channels not in _MODES:
            raise OptionError(f"Images have {self.channels} channels; it must be 1 (grey) or 3 (RGB).")

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(size, size, channels)`."""
        return (self.size, self.size, self.channels)

    def read(self, file: str | Path | bytes | IO[bytes], name: str = "") -> NDArray[np.uint8]:
        """Reads one image of any kind as `[size, size, channels]`. Raises DataError as `decode` does."""
        return decode(file, name or str(file), self.size, self.channels)

    def read_all(self, paths: Sequence[Path]) -> NDArray[np.uint8]:
        """Reads images as one array `[images, size, size, channels]`. Raises DataError as `decode` does."""
        return np.stack([self.read(path) for path in paths]) if paths else np.empty((0, *self.shape), np.uint8)

    def prepare(self, x: Any) -> np.ndarray:
        """Inputs of the network: uint8 pixels converted as in training, anything else as it is."""
        array = np.asarray(x)
        return self.to_inputs(array) if array.dtype == np.uint8 else array

    def to_json(self) -> dict[str, Any]:
        """As it is kept with a learner."""
        return {"kind": "images", **dataclasses.asdict(self)}

    def to_inputs(self, pixels: Pixels) -> Pixels:
        """Pixels 0…255 of any shape as float32 in [0, 1], NumPy's or JAX's as given, also when compiled."""
        inputs: Any = pixels.astype(np.float32) / np.float32(255)
        return 1 - inputs if self.invert else inputs


def read_folder(path: str | Path, images: Images) -> dict[str, tuple[list[Path], NDArray[np.uint8]]]:
    """Reads a folder of class folders of images, as support set.

    Args:
      path: the folder; hidden files and files that are not images are passed over.
      images: how to read them.

    Returns:
      For each class, in order of name: its files, in order of name, and their pixels `[files, size, size,
      channels]`.

    Raises:
      DataError: the folder or a class has no images, or an image is damaged.
    """
    folder = _folder(path)
    classes = {inner.name: _images(inner) for inner in _folders(folder)}
    if not classes:
        raise DataError(f"{folder} has no class folders; put the images of each class in a folder of its own.")
    for name, files in classes.items():
        if not files:
            raise DataError(f"Class folder {folder / name} has no images; add at least one or remove the folder.")
    return {name: (files, images.read_all(files)) for name, files in classes.items()}


def read_query(path: str | Path, images: Images) -> tuple[list[tuple[Path, str | None]], NDArray[np.uint8]]:
    """Reads the images to be classified: one image, a folder of them, or a folder of class folders.

    Returns:
      Each file with the class whose folder it lies in (None without class folders), and pixels
      `[files, size, size, channels]`.

    Raises:
      DataError: there are no images, or both loose ones and class folders, or an image is damaged.
    """
    if Path(path).is_file():
        return [(Path(path), None)], images.read_all([Path(path)])
    folder = _folder(path)
    loose: list[tuple[Path, str | None]] = [(file, None) for file in _images(folder)]
    classed = [(file, inner.name) for inner in _folders(folder) for file in _images(inner)]
    if loose and classed:
        raise DataError(
            f"{folder} holds both images ({loose[0][0].name}) and class folders with images "
            f"({classed[0][1]}); keep one or the other."
        )
    files = loose or list(classed)
    if not files:
        raise DataError(f"{folder} has no images; expected image files or class folders of them.")
    return files, images.read_all([file for file, _ in files])


def _folder(path: str | Path) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give a folder of images.")
    return folder


def _folders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if is_image(file) and file.is_file())
