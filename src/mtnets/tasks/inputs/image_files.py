"""Image files: which there are in a folder, and their pixels."""

import io
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError

# A file with another ending (README, labels.csv) is not an image and is passed over; one of these must be readable.
EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"))
MODES = {1: "L", 3: "RGB"}
_CHANNELS = {"1": 1, "L": 1, "LA": 1, "La": 1}  # every other mode is a colour image

ImageFile = str | Path | bytes | IO[bytes]


def is_image(name: str | PurePath) -> bool:
    """Whether a file name is that of an image: it has an image's extension and is not hidden."""
    path = PurePath(name)
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def decode(file: ImageFile, name: str, size: int = 0, channels: int = 0) -> NDArray[np.uint8]:
    """Reads one image.

    Transparent parts become white, photographs are turned upright, 16-bit grey is reduced to 8 bits.

    Args:
      file: a path, the file's bytes, or an open file.
      name: what to call it in an error.
      size: side in pixels to which it is resized (Lanczos; its aspect ratio is not kept); 0 leaves it as it is.
      channels: 1 (grey) or 3 (RGB); 0 leaves it as it is.

    Returns:
      Pixels, `[height, width, channels]`.

    Raises:
      DataError: the file is damaged, missing or not an image.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
            image = _upright(opened)
            channels = channels or _CHANNELS.get(image.mode, 3)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            # Before resizing: Pillow resizes 1-bit and palette images by nearest neighbour, whatever filter is given.
            image = image.convert(MODES[channels])
            if size and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.LANCZOS)
            return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything, SyntaxError included
        reason = str(error) or type(error).__name__
        if "cannot identify image file" in reason:  # Pillow goes on to print the address of a buffer
            reason = "its content is not an image"
        raise DataError(f"Image {name} cannot be read: {reason}; repair or remove it.") from error


def _upright(opened: Any) -> Any:
    """The image with 8 bits a channel, turned as its camera was held."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels have mode {image.mode}, save it with 8 bits a channel")
    return image


def class_folders(path: str | Path) -> dict[str, list[Path]]:
    """The images of each class in a folder of class folders, in order of name.

    Hidden files and files that are not images are passed over.

    Raises:
      DataError: the folder or a class has no images.
    """
    folder = _folder(path)
    classes = {inner.name: _images(inner) for inner in _folders(folder)}
    if not classes:
        raise DataError(f"{folder} has no class folders; put the images of each class in a folder of its own.")
    for name, files in classes.items():
        if not files:
            raise DataError(f"Class folder {folder / name} has no images; add at least one or remove the folder.")
    return classes


def images_to_classify(path: str | Path) -> list[tuple[Path, str | None]]:
    """One image, the images of a folder, or those of a folder of class folders.

    Returns:
      Each file with the name of its class folder (None without class folders), in order of name.

    Raises:
      DataError: there are no images, or both loose ones and class folders.
    """
    if Path(path).is_file():
        return [(Path(path), None)]
    folder = _folder(path)
    loose: list[tuple[Path, str | None]] = [(file, None) for file in _images(folder)]
    in_classes: list[tuple[Path, str | None]] = [
        (file, inner.name) for inner in _folders(folder) for file in _images(inner)
    ]
    if loose and in_classes:
        raise DataError(
            f"{folder} holds both images ({loose[0][0].name}) and class folders with images ({in_classes[0][1]}); "
            "keep one or the other."
        )
    if not (loose or in_classes):
        raise DataError(f"{folder} has no images; expected image files or class folders of them.")
    return loose or in_classes


def _folder(path: str | Path) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give a folder of images.")
    return folder


def _folders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if is_image(file) and file.is_file())
