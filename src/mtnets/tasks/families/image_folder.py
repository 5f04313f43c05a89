"""Few-shot classification from any folder or zip of images: `train|val|test/class/image`."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError, OptionError
from mtnets.networks.models import Conv4
from mtnets.tasks.archives.archive import Source, fingerprint, open_source
from mtnets.tasks.archives.cache import cache_folder, cached, progress
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.inputs.images import Images, decode, is_image
from mtnets.tasks.sampling.episodes import Episodes, check_episode

SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}

_ORDER = list(SPLITS.values())

# The paper's .01 is for the loss added up over classes, 5 times our mean over 5 ways.
RECIPE = Recipe(inner_lr=0.05, inner_steps=5, meta_batch=4, meta_steps=60_000)

File = tuple[str, str, str]  # name, split, class
Run = tuple[str, str, int]  # split, class, and how many images of it follow one another


@dataclasses.dataclass(frozen=True)
class Folder:
    """Images in class folders, in the folders `train`, `val` (or `valid`, `validation`) and `test`.

    Such are CIFAR-FS and miniImageNet as they are usually handed on.

    Attributes:
      root: the folder or zip archive; it may have one folder around all.
      ways: classes of a task.
      shots: support examples of each class.
      queries: query examples of each class.
      image_size: side in pixels to which images are resized; 0 takes them as they are: square, and all alike.
      channels: 1 (grey) or 3 (RGB); 0 takes images as they are, all alike.
      invert: whether light and dark change places.
      cache: folder for the unpacked images; `$MTNETS_CACHE`, else `~/.cache/mtnets`, where it is empty.
      network: the usual network of the family.

    References:
      Lee & Choi, ICML 2018, arXiv 1801.05558 (the recipe: miniImageNet with 5 ways, from its code).
    """

    root: str
    ways: int = 5
    shots: int = 1
    queries: int = 15
    image_size: int = 0
    channels: int = 0
    invert: bool = False
    cache: str = ""
    network: Conv4 = Conv4(filters=32, downsample="pool")

    def build(self) -> Family:
        """The family. The first call unpacks all images into the cache, about 2 000 a second.

        Raises:
          OptionError: ways below 2, shots or queries below 1, a negative image_size, channels other than 0,
          1, 3.
          DataError: a split is absent, a class is in two splits, an image is damaged or unlike the others, or
          there
            are too few classes or images for such tasks.
        """
        check_episode(self.ways, self.shots, self.queries)
        if self.image_size < 0:
            raise OptionError(f"image_size is {self.image_size}; it must be at least 0 (0 takes images as they are).")
        if self.channels not in (0, 1, 3):
            raise OptionError(f"channels is {self.channels}; it must be 1 (grey), 3 (RGB) or 0 (as they are).")
        with open_source(Path(self.root).expanduser()) as source:
            key = fingerprint("folder", source.fingerprint, str(self.image_size), str(self.channels))
            pixels, runs = cached(cache_folder(self.cache), f"folder-{key}", lambda: self._read(source))
        return image_family(self, pixels, runs, Images(pixels.shape[1], pixels.shape[3], self.invert))

    def _read(self, source: Source) -> tuple[NDArray[np.uint8], list[Run]]:
        return unpack(source, find(source), self.image_size, self.channels)


class ImageOptions(Protocol):
    """What the options of every family of images have in common."""

    @property
    def ways(self) -> int: ...
    @property
    def shots(self) -> int: ...
    @property
    def queries(self) -> int: ...
    @property
    def network(self) -> Conv4: ...


def image_family(options: ImageOptions, pixels: NDArray[np.uint8], runs: Iterable[Run], images: Images) -> Family:
    """The family of tasks from images by split and class, with the recipe of miniImageNet.

    Args:
      options: the family's.
      pixels: all images, `[images, size, size, channels]`.
      runs: what they are, run after run.
      images: how they become inputs.

    Raises:
      DataError: there are too few classes or images for such tasks.
    """
    classes: dict[str, dict[str, NDArray[np.uint8]]] = {"train": {}, "validation": {}, "test": {}}
    start = 0
    for split, name, count in runs:
        classes[split][name] = pixels[start : start + count]
        start += count
    train, validation, test = (
        Episodes.of(of, images, ways=options.ways, shots=options.shots, queries=options.queries, split=split)
        for split, of in classes.items()
    )
    return Family(
        train, validation, test, "cross-entropy", RECIPE,
        lambda: options.network.build(options.ways, images.size, images.channels),
        options=options, inputs=images, classes={split: tuple(of) for split, of in classes.items()},
    )  # fmt: skip


def unpack(
    source: Source, files: Sequence[File], size: int = 0, channels: int = 0, listed: Mapping[str, str] | None = None
) -> tuple[NDArray[np.uint8], list[Run]]:
    """Reads images into one array.

    Args:
      source: where they are.
      files: the images, run after run; at least one.
      size: side in pixels to which they are resized; 0 takes them as they are: square, and all alike.
      channels: 1 (grey) or 3 (RGB); 0 takes images as they are, all alike.
      listed: for images that a list names, the place there, to be told in an error.

    Returns:
      Pixels `[images, size, size, channels]`, and what they are, run after run.

    Raises:
      DataError: an image is damaged or unlike the others.
    """
    listed = listed or {}
    pixels = np.empty((0, 0, 0, 0), np.uint8)
    for place, (file, _, _) in enumerate(progress(files, f"Unpacking {source.path.name}", len(files))):
        what = f"{source.path}: {file}" + (f" ({listed[file]})" if file in listed else "")
        image = decode(source.read(file), what, size, channels)
        if place == 0:
            if image.shape[0] != image.shape[1]:
                raise DataError(f"{file} is {_describe(image)}, not square; give the size wanted by --image-size.")
            pixels = np.empty((len(files), *image.shape), np.uint8)
        if image.shape != pixels.shape[1:]:
            option = "--channels" if image.shape[:2] == pixels.shape[1:3] else "--image-size"
            raise DataError(
                f"Images in {source.path} are not alike: {files[0][0]} is {_describe(pixels[0])}, "
                f"{file} is {_describe(image)}; make them so by {option}."
            )
        pixels[place] = image
    return pixels, [(split, name, len(list(of))) for (split, name), of in groupby(files, key=lambda file: file[1:])]


def find(source: Source) -> list[File]:
    """Images with their split and class, in order of class.

    Raises:
      DataError: a split is absent, an image is in no class, or a class is in two splits.
    """
    names = [name for name in source.names if is_image(name)]
    top = around(names)
    folders: dict[str, str] = {}
    files: list[File] = []
    for name in names:
        parts = name.removeprefix(top).split("/")
        split = SPLITS.get(parts[0])
        if split is None:
            continue  # a folder of something else
        if folders.setdefault(split, parts[0]) != parts[0]:
            raise DataError(
                f"{source.path} has two folders for {split}, {folders[split]} and {parts[0]}; remove one of them."
            )
        if len(parts) == 2:
            raise DataError(
                f"{source.path}: {name} is in no class folder; put it in one, as {parts[0]}/CLASS/{parts[1]}."
            )
        files.append((name, split, parts[1]))
    found = {split for _, split, _ in files}
    missing = [split for split in ("train", "val", "test") if SPLITS[split] not in found]
    if missing:
        raise DataError(
            f"{source.path} has no images in {' and '.join(missing)}; expected train/CLASS/IMAGE, val/CLASS/IMAGE "
            f"and test/CLASS/IMAGE (move some classes there)."
        )
    return by_class(source.path, files)


def around(names: Sequence[str]) -> str:
    """The one folder around all these files, with its `/`; empty where there is none or it is that of a split."""
    tops = {name.split("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and not tops & SPLITS.keys() and all("/" in n for n in names) else ""


def by_class(path: Path, files: Iterable[File]) -> list[File]:
    """These in order of split, class and name. Raises DataError if a class is in two splits of `path`."""
    ordered = sorted(files, key=lambda file: (_ORDER.index(file[1]), file[2], file[0]))
    splits: dict[str, str] = {}
    for _, split, name in ordered:
        if splits.setdefault(name, split) != split:
            raise DataError(
                f"{path} has the class {name} both in {splits[name]} and in {split}; training, "
                f"validation and test classes must differ: rename or remove one."
            )
    return ordered


def _describe(image: NDArray[Any]) -> str:
    height, width, channels = image.shape
    return f"{width}×{height} {'grey' if channels == 1 else 'RGB'}"
