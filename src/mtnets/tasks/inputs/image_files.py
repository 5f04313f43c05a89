"""Image files: which there are in a folder, and their pixels."""

import io
from pathlib import Path, PurePath
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError, warn
from mtnets.files import read
from mtnets.tasks.archives.archive import ordinary

# A file with another ending (README, labels.csv) is not an image and is passed over; one of these must be readable.
EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"))
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # of these; others start programs (EPS)
MOST_PIXELS = 1 << 26  # of one image: a small file can be made to unpack to any number
MODES = {1: "L", 3: "RGB"}
MOST = 0xFFFF  # the largest value of a pixel
_CHANNELS = {"1": 1, "L": 1, "LA": 1, "La": 1}  # every other mode is a colour image

ImageFile = str | Path | bytes | IO[bytes]
Resize = Literal["lanczos", "nearest"]


def is_image(name: str | PurePath) -> bool:
    """Whether a file name is that of an image: it has an image's extension and is not hidden."""
    path = PurePath(name)
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def decode(
    file: ImageFile, name: str, size: int = 0, channels: int = 0, resize: Resize = "lanczos"
) -> NDArray[np.uint8]:
    """Reads one image with 8 bits a channel. Arguments, shape and errors are those of `load`."""
    return eight_bits(load(file, name, size, channels, resize))


def load(file: ImageFile, name: str, size: int = 0, channels: int = 0, resize: Resize = "lanczos") -> NDArray[Any]:
    """Reads one image.

    Transparent parts become white, photographs are turned upright, 16-bit grey keeps its levels.

    Args:
      file: a path, the file's bytes, or an open file.
      name: what to call it in an error.
      size: side in pixels to which it is resized (its aspect ratio is not kept); 0 leaves it as it is.
      channels: 1 (grey) or 3 (RGB); 0 leaves it as it is.
      resize: how: `lanczos` filters, `nearest` takes the nearest pixel, so that black and white stay so.

    Returns:
      Pixels, `[height, width, channels]`: uint16 for 16-bit grey, uint8 for all others.

    Raises:
      DataError: the file is damaged, missing or not an image.
    """
    from PIL import Image, ImageOps

    try:
        content = read(file) if isinstance(file, str | Path) else file
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise ValueError(f"it has {opened.width} × {opened.height} pixels, and at most {MOST_PIXELS} are read")
            sixteen = ";16" in str(getattr(opened, "tile", ""))  # bits a channel in the file
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                return _sixteen_bits(image, size, channels, resize)
            pixels = fitted(image, size, channels, resize)
            if sixteen and pixels.max() < 16:
                warn(
                    "An image of 16 bits a channel has no value above 1/16 of white and is read as nearly black, as "
                    "colours of 12 bits or less are; save such images with 8 bits a channel.",
                )
            return pixels
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything, SyntaxError included
        reason = str(error) or type(error).__name__
        if "cannot identify image file" in reason:  # Pillow goes on to print the address of a buffer
            reason = "its content is not an image"
        raise DataError(f"Image {name} cannot be read: {reason}; repair or remove it.") from error


def fitted(image: Any, size: int = 0, channels: int = 0, resize: Resize = "lanczos") -> NDArray[np.uint8]:
    """The pixels of a Pillow image of 8 bits a channel, `[height, width, channels]`.

    Args:
      image: of any mode; transparent parts become white.
      size, channels, resize: as for `load`.
    """
    from PIL import Image

    channels = channels or _CHANNELS.get(image.mode, 3)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    # Before resizing: Pillow resizes 1-bit and palette images by nearest neighbour, whatever filter is given.
    image = image.convert(MODES[channels])
    if size and image.size != (size, size):
        image = image.resize((size, size), _filter(resize))
    return np.asarray(image, np.uint8).reshape(image.height, image.width, channels)


def _filter(resize: Resize) -> Any:
    from PIL import Image

    return {"lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST}[resize]


def _sixteen_bits(image: Any, size: int, channels: int, resize: Resize) -> NDArray[np.uint16]:
    """The pixels of a grey image of more than 8 bits."""
    from PIL import Image

    grey = np.asarray(image)
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > MOST:
        raise ValueError(f"its pixels have mode {image.mode}, save it with 8 bits a channel")
    if size and image.size != (size, size):
        smooth = Image.fromarray(grey.astype(np.float32)).resize((size, size), _filter(resize))
        grey = np.rint(np.asarray(smooth)).clip(0, MOST)
    return np.repeat(grey.astype(np.uint16)[..., None], channels or 1, axis=2)


def eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels with 8 bits a channel, from `load`; all images of a data set together, so that they keep one scale.

    White is the largest value of 8, 10, 12, 14 or 16 bits, whichever is the first to hold all values; a warning says
    which, unless it is 16.
    """
    if pixels.dtype == np.uint8:
        return pixels
    bits = bits_of(pixels.max(initial=0))
    if bits < 16:
        warn(
            f"16-bit images have no value above {pixels.max(initial=0)}: they are taken for {bits}-bit data, white at "
            f"{2**bits - 1}. If that is wrong, save them with 8 bits a channel.",
        )
    return (pixels >> (bits - 8)).astype(np.uint8)


def bits_of(value: Any) -> int:
    """The fewest bits, of those that cameras and scanners have, that hold a value up to `MOST`."""
    return next(bits for bits in (8, 10, 12, 14, 16) if value < 2**bits)


def class_folders(path: str | Path) -> dict[str, list[Path]]:
    """The images of each class in a folder of class folders, in order of name.

    Hidden files and files that are not images are passed over. Warns of images that are links that lead nowhere, pipes
    or devices, and leaves them out.

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
    return sorted(ordinary(file for file in folder.iterdir() if is_image(file)))
