"""Few-shot classification from any folder or zip of images: `train|val|test/CLASS/IMAGE`, or `CLASS/IMAGE`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from mtnets.arguments import Seed
from mtnets.errors import DataError, OptionError
from mtnets.networks.models import Conv4
from mtnets.tasks.archives.archive import Archive, fingerprint, open_archive
from mtnets.tasks.archives.cache import cached
from mtnets.tasks.archives.locations import cache_folder
from mtnets.tasks.families.fc100 import fc100
from mtnets.tasks.families.images_by_class import (
    SPLITS,
    File,
    ImageOptions,
    Run,
    UnpackedImages,
    check_image_options,
    image_family,
    in_order,
    unpack,
)
from mtnets.tasks.families.splits import PARTS, check_splits, split_names
from mtnets.tasks.family import Family
from mtnets.tasks.inputs.image_files import is_image
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.augmented import Where, check_augment
from mtnets.tasks.sampling.draws import check_episode


@dataclasses.dataclass(frozen=True)
class Folder(ImageOptions):
    """Images in class folders, in the folders `train`, `val` (or `valid`, `validation`) and `test`.

    CIFAR-FS and miniImageNet are usually handed on in this form. Where there are class folders alone, `splits` says how
    many of them are for training, validation and test.

    Attributes:
      root: the folder or zip archive; it may have one folder around all.
      ways: classes of a task.
      shots: support examples of each class.
      queries: query examples of each class.
      fewest_shots: support examples that will do of a class with fewer than shots + queries, which is padded; queries
        are left out first. Defaults to shots.
      fewest_queries: query examples that will do of such a class. Defaults to queries.
      image_size: side in pixels to which images are resized; 0 takes them as they are: square, and all alike.
      channels: 1 (grey) or 3 (RGB); 0 takes images as they are, all alike.
      invert: whether light and dark change places.
      splits: shares of the classes for training, validation and test, where folders do not say it. Defaults to the
        folders.
      split_seed: seed of the split by shares.
      cache: folder for the unpacked images. Defaults to `$MTNETS_CACHE` or `~/.cache/mtnets`.
      network: the usual network of the family.
      split: `folders` takes the splits of the folders; `fc100` those of FC100, by superclass, for the 100 classes of
        CIFAR-100 in whatever folders (CIFAR-FS).
      augment: how each training image is changed as it is drawn: flip, crop, rotate, colour, erase,
        one after the other, with options in brackets: 'crop(padding=2)'. Validation and test tasks are never changed.
      augment_where: whether all images of a training task are changed, or those of its query or support set alone.

    References:
      Lee & Choi, ICML 2018, arXiv 1801.05558 (the recipe: miniImageNet with 5 ways, from its code).
      Oreshkin et al., NeurIPS 2018, arXiv 1805.10123 (FC100).
    """

    family: ClassVar[str] = "folder"
    data_option: ClassVar[str | None] = "root"

    root: str
    ways: int = 5
    shots: int = 1
    queries: int = 15
    fewest_shots: int | None = None
    fewest_queries: int | None = None
    image_size: int = 0
    channels: int = 0
    invert: bool = False
    splits: tuple[float, float, float] | None = None
    split_seed: Seed = 0
    cache: str = ""
    network: Conv4 = Conv4(filters=32, downsample="pool")
    split: Literal["folders", "fc100"] = "folders"
    augment: tuple[str, ...] = ()
    augment_where: Where = "all"

    def build(self) -> Family:
        """The family. The first call unpacks all images into the cache, about 2 000 a second.

        Raises:
          OptionError: ways below 2, shots or queries below 1, a negative image_size, channels other than 0, 1, 3,
            splits that are not three shares above 0, or stand beside `split`, or augmentations that do not exist or
            mean nothing for these images.
          DataError: a split is absent, or said by folders and by shares, a class is in two splits, an image is damaged
            or unlike the others, there are too few classes or images for such tasks, or other classes than those of
            CIFAR-100 for `fc100`.
        """
        check_episode(self.ways, self.shots, self.queries)
        check_image_options(self.image_size, self.channels)
        check_augment(self.augment, self.augment_where)
        if self.splits is not None:
            check_splits(self.splits)
            if self.split != "folders":
                raise OptionError(f"splits is {self.splits} and split {self.split!r}; leave one of them out.")
        with open_archive(Path(self.root).expanduser()) as archive:
            layout = "folder of 8 bits" if self.splits is None else "class folders of 8 bits"
            key = fingerprint(layout, archive.fingerprint, str(self.image_size), str(self.channels))
            pixels, runs = cached(cache_folder(self.cache), f"folder-{key}", lambda: self._read(archive))
        runs = fc100(runs, Path(self.root)) if self.split == "fc100" else runs
        if self.splits is not None:
            runs = split_classes(runs, self.splits, self.split_seed)
        images = Images(pixels.shape[1], pixels.shape[3], self.invert)
        return image_family(
            self, pixels, runs, images, fewest_shots=self.fewest_shots, fewest_queries=self.fewest_queries
        )

    def _read(self, archive: Archive) -> UnpackedImages:
        files = files_by_class(archive) if self.splits is None else files_without_split(archive)
        return unpack(archive, files, self.image_size, self.channels)


def files_without_split(archive: Archive) -> list[File]:
    """The images of an archive of class folders alone with their class, all as if for training, in order of class.

    Raises:
      DataError: for an image in no class, fewer than three classes, or folders that are splits.
    """
    names = [name for name in archive.names if is_image(name)]
    top = folder_around(names)
    parts = {name: name.removeprefix(top).split("/") for name in names}
    classes = {first for first, *_ in parts.values()}
    if classes and classes <= SPLITS.keys():
        raise DataError(
            f"{archive.path} has the folders {', '.join(sorted(classes))}, which split its classes; leave out "
            "splits=..."
        )
    for name, (first, *more) in parts.items():
        if not more:
            raise DataError(f"{archive.path}: {name} is in no class folder; put it in one, as CLASS/{first}.")
    if len(classes) < len(PARTS):
        raise DataError(
            f"{archive.path} has {len(classes)} class folders with images; training, validation and test need at least "
            "one each: name the folder that holds the classes."
        )
    return in_order(archive.path, [File(name, PARTS[0], first) for name, (first, *_) in parts.items()])


def split_classes(runs: Sequence[Sequence[Any]], shares: Sequence[float], seed: int) -> list[Run]:
    """Images by class, each class now in one of the splits.

    Args:
      runs: split, class and number of images, as they come from the cache.
      shares, seed: as for `split_names`.
    """
    split_of = {
        name: split
        for split, names in split_names([name for _, name, _ in runs], shares, seed).items()
        for name in names
    }
    return [Run(split_of[name], name, count) for _, name, count in runs]


def files_by_class(archive: Archive) -> list[File]:
    """The images of an archive with their split and class, in order of class.

    Raises:
      DataError: a split is absent, an image is in no class, or a class is in two splits.
    """
    names = [name for name in archive.names if is_image(name)]
    top = folder_around(names)
    folders: dict[str, str] = {}
    files: list[File] = []
    for name in names:
        parts = name.removeprefix(top).split("/")
        split = SPLITS.get(parts[0])
        if split is None:
            continue  # a folder of something else
        if folders.setdefault(split, parts[0]) != parts[0]:
            raise DataError(
                f"{archive.path} has two folders for {split}, {folders[split]} and {parts[0]}; remove one of them."
            )
        if len(parts) == 2:
            raise DataError(
                f"{archive.path}: {name} is in no class folder; put it in one, as {parts[0]}/CLASS/{parts[1]}."
            )
        files.append(File(name, split, parts[1]))
    missing = [split for split in ("train", "val", "test") if SPLITS[split] not in {file.split for file in files}]
    if missing:
        classes_alone = names and not files and all("/" in name.removeprefix(top) for name in names)
        remedy = "or, as each folder is a class, give shares of them: splits=(0.6, 0.2, 0.2)." if classes_alone else ""
        raise DataError(
            f"{archive.path} has no images in {' and '.join(missing)}; expected train/CLASS/IMAGE, val/CLASS/IMAGE "
            f"and test/CLASS/IMAGE (move some classes there){f', {remedy}' if remedy else '.'}"
        )
    return in_order(archive.path, files)


def folder_around(names: Sequence[str]) -> str:
    """The one folder around all these files, with its `/`; empty where there is none, or where it is a split."""
    tops = {name.split("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and not tops & SPLITS.keys() and all("/" in n for n in names) else ""
