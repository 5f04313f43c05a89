"""Images by split and class: the form that files of images take before they become a family."""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError, OptionError
from mtnets.networks.models import Conv4
from mtnets.tasks.archives.archive import Archive
from mtnets.tasks.archives.progress_bar import track
from mtnets.tasks.family import Family, Options, Recipe
from mtnets.tasks.inputs.image_files import eight_bits, load
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.augmented import Where, with_augment
from mtnets.tasks.sampling.episodes import Episodes

SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_ORDER = list(SPLITS.values())

# The paper's .01 is for the loss added up over classes, 5 times our mean over 5 ways.
RECIPE = Recipe(inner_lr=0.05, inner_steps=5, meta_batch=4, meta_steps=60_000)


class File(NamedTuple):
    """An image file in an archive, with its split and class."""

    name: str
    split: str
    class_name: str


class Run(NamedTuple):
    """Images of one class that follow one another in an array, with their number."""

    split: str
    class_name: str
    images: int


UnpackedImages = tuple[NDArray[np.uint8], list[Run]]  # pixels `[images, size, size, channels]`, and what they are


class ImageOptions(Options):
    """The options that these families have in common."""

    ways: int
    shots: int
    queries: int
    network: Conv4
    augment: tuple[str, ...]
    augment_where: Where


def image_family(
    options: ImageOptions,
    pixels: NDArray[np.uint8],
    runs: Iterable[Any],
    images: Images,
    *,
    fewest_shots: int | None = None,
    fewest_queries: int | None = None,
) -> Family:
    """The family of tasks from images by split and class, with the recipe of miniImageNet.

    Args:
      options: of the family.
      pixels: all images, `[images, size, size, channels]`.
      runs: split, class and number of the images, in their order; lists where they come from a cache.
      images: how pixels become inputs.
      fewest_shots, fewest_queries: as for `Episodes.of`.

    Raises:
      DataError: for too few classes or images for such tasks.
      OptionError: for augmentations that mean nothing for such images.
    """
    classes: dict[str, dict[str, NDArray[np.uint8]]] = {"train": {}, "validation": {}, "test": {}}
    start = 0
    for split, name, count in runs:
        classes[split][name] = pixels[start : start + count]
        start += count
    train, validation, test = (
        Episodes.of(
            members,
            images,
            ways=options.ways,
            shots=options.shots,
            queries=options.queries,
            fewest_shots=fewest_shots,
            fewest_queries=fewest_queries,
            split=split,
        )
        for split, members in classes.items()
    )
    family = Family(
        train, validation, test, "cross-entropy", RECIPE,
        lambda: options.network.build(options.ways, images.size, images.channels),
        options=options, inputs=images, classes={split: tuple(members) for split, members in classes.items()},
    )  # fmt: skip
    return with_augment(family, options.augment, options.augment_where)


def check_image_options(image_size: int, channels: int) -> None:
    """Raises OptionError for a size or a number of channels that images cannot have; 0 takes them as they are."""
    if image_size < 0:
        raise OptionError(f"image_size is {image_size}; it must be at least 0 (0 takes images as they are).")
    if channels not in (0, 1, 3):
        raise OptionError(f"channels is {channels}; it must be 1 (grey), 3 (RGB) or 0 (as they are).")


def unpack(
    archive: Archive, files: Sequence[File], size: int = 0, channels: int = 0, listed: Mapping[str, str] | None = None
) -> UnpackedImages:
    """Reads images into one array.

    Args:
      archive: where they are.
      files: the images, the classes one after another; at least one.
      size: side in pixels to which they are resized; 0 takes them as they are: square, and all alike.
      channels: 1 (grey) or 3 (RGB); 0 takes images as they are, all alike.
      listed: the place of an image in a list that names it, which is told in an error.

    Raises:
      DataError: for an image that is damaged or unlike the others, or for more than fit in memory.
    """
    listed = listed or {}
    pixels = np.empty((0, 0, 0, 0), np.uint8)
    for place, file in enumerate(track(files, f"Unpacking {archive.path.name}", len(files))):
        where = f"{archive.path}: {file.name}" + (f" ({listed[file.name]})" if file.name in listed else "")
        image = load(archive.read(file.name), where, size, channels)
        if place == 0:
            if image.shape[0] != image.shape[1]:
                raise DataError(f"{file.name} is {_describe(image)}, not square; give the size wanted: image_size=...")
            _check_memory(archive.path, len(files) * image.nbytes)
            pixels = np.empty((len(files), *image.shape), image.dtype)
        if image.shape != pixels.shape[1:]:
            option = "channels" if image.shape[:2] == pixels.shape[1:3] else "image_size"
            raise DataError(
                f"Images in {archive.path} are not alike: {files[0].name} is {_describe(pixels[0])}, {file.name} is "
                f"{_describe(image)}; make them alike: {option}=..."
            )
        if image.dtype != pixels.dtype:
            raise DataError(
                f"Images in {archive.path} are not alike: {files[0].name} has {pixels.itemsize * 8} bits a pixel, "
                f"{file.name} {image.itemsize * 8}; save all with 8 bits."
            )
        pixels[place] = image
    runs = groupby(files, key=lambda file: (file.split, file.class_name))
    return eight_bits(pixels), [Run(split, name, len(list(members))) for (split, name), members in runs]


def memory() -> int | None:
    """Bytes of memory that this machine has; None where the system does not say it, as on Windows."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _check_memory(path: Path, needed: int) -> None:
    """Raises DataError for images that do not fit in memory: they would be unpacked for hours first."""
    present = memory()
    if present is not None and needed > present:
        raise DataError(
            f"The images in {path} need {needed / 2**30:.0f} GiB, and this machine has {present / 2**30:.0f} GiB; make "
            "them smaller: image_size=..."
        )


def _describe(image: NDArray[Any]) -> str:
    height, width, channels = image.shape
    return f"{width}×{height} {'grey' if channels == 1 else 'RGB'}"


def in_order(path: Path, files: Iterable[File]) -> list[File]:
    """The files in order of split, class and name.

    Raises:
      DataError: for a class that is in two splits; `path` says of what.
    """
    ordered = sorted(files, key=lambda file: (_ORDER.index(file.split), file.class_name, file.name))
    splits: dict[str, str] = {}
    for file in ordered:
        name, split = file.class_name, file.split
        if splits.setdefault(name, split) != split:
            raise DataError(
                f"{path} has the class {name} both in {splits[name]} and in {split}; training, validation and test "
                "classes must differ: rename or remove one."
            )
    return ordered
