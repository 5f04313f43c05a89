"""Few-shot classification from any folder or zip of images: `train|val|test/CLASS/IMAGE`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from mtnets.errors import DataError
from mtnets.networks.models import Conv4
from mtnets.tasks.archives.archive import Archive, fingerprint, open_archive
from mtnets.tasks.archives.cache import cached
from mtnets.tasks.archives.locations import cache_folder
from mtnets.tasks.families.fc100 import fc100
from mtnets.tasks.families.images_by_class import (
    SPLITS,
    File,
    ImageOptions,
    UnpackedImages,
    check_image_options,
    image_family,
    in_order,
    unpack,
)
from mtnets.tasks.family import Family
from mtnets.tasks.inputs.image_files import is_image
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.augmented import Where, check_augment
from mtnets.tasks.sampling.draws import check_episode


@dataclasses.dataclass(frozen=True)
class Folder(ImageOptions):
    """Images in class folders, in the folders `train`, `val` (or `valid`, `validation`) and `test`.

    CIFAR-FS and miniImageNet are usually handed on in this form.

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
    cache: str = ""
    network: Conv4 = Conv4(filters=32, downsample="pool")
    split: Literal["folders", "fc100"] = "folders"
    augment: tuple[str, ...] = ()
    augment_where: Where = "all"

    def build(self) -> Family:
        """The family. The first call unpacks all images into the cache, about 2 000 a second.

        Raises:
          OptionError: ways below 2, shots or queries below 1, a negative image_size, channels other than 0, 1, 3, or
            augmentations that do not exist or mean nothing for these images.
          DataError: a split is absent, a class is in two splits, an image is damaged or unlike the others, there are
            too few classes or images for such tasks, or other classes than those of CIFAR-100 for `fc100`.
        """
        check_episode(self.ways, self.shots, self.queries)
        check_image_options(self.image_size, self.channels)
        check_augment(self.augment, self.augment_where)
        with open_archive(Path(self.root).expanduser()) as archive:
            key = fingerprint("folder of 8 bits", archive.fingerprint, str(self.image_size), str(self.channels))
            pixels, runs = cached(cache_folder(self.cache), f"folder-{key}", lambda: self._read(archive))
        runs = fc100(runs, Path(self.root)) if self.split == "fc100" else runs
        images = Images(pixels.shape[1], pixels.shape[3], self.invert)
        return image_family(
            self, pixels, runs, images, fewest_shots=self.fewest_shots, fewest_queries=self.fewest_queries
        )

    def _read(self, archive: Archive) -> UnpackedImages:
        return unpack(archive, files_by_class(archive), self.image_size, self.channels)


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
        raise DataError(
            f"{archive.path} has no images in {' and '.join(missing)}; expected train/CLASS/IMAGE, val/CLASS/IMAGE "
            f"and test/CLASS/IMAGE (move some classes there)."
        )
    return in_order(archive.path, files)


def folder_around(names: Sequence[str]) -> str:
    """The one folder around all these files, with its `/`; empty where there is none, or where it is a split."""
    tops = {name.split("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and not tops & SPLITS.keys() and all("/" in n for n in names) else ""
