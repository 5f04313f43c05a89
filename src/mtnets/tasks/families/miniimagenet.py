"""miniImageNet: 100 classes of ImageNet with 600 images each, in every form in which it is handed on."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mtnets.errors import DataError, warn
from mtnets.networks.models import Conv4
from mtnets.tasks.archives.archive import Archive, fingerprint, open_archive, read_file
from mtnets.tasks.archives.cache import cached
from mtnets.tasks.archives.locations import cache_folder, data_root
from mtnets.tasks.families.image_folder import folder_around
from mtnets.tasks.families.images_by_class import SPLITS, ImageOptions, image_family
from mtnets.tasks.families.miniimagenet_layouts import CACHES, CATEGORIES, IMAGES, LAYOUTS, LISTS, Layout
from mtnets.tasks.family import Family
from mtnets.tasks.inputs.image_files import is_image
from mtnets.tasks.sampling.augmented import Where, check_augment
from mtnets.tasks.sampling.draws import check_episode

CLASSES = {"train": 64, "validation": 16, "test": 20}
EXAMPLES = 600

FOLDERS = ("miniImageNet", "mini-imagenet", "miniimagenet")


@dataclasses.dataclass(frozen=True)
class MiniImageNet(ImageOptions):
    """miniImageNet as in MAML and the MT-net paper: 84×84 RGB, 64 classes to train on, 16 for validation, 20 for test.

    It cannot be fetched for you, since ImageNet's terms forbid handing its images on. Any of these forms is read; where
    there are several, the first:

    - class folders, `train|val|test/CLASS/IMAGE`;
    - the lists of Ravi & Larochelle, `train.csv`, `val.csv` and `test.csv` with the columns `filename` and `label`,
      and the images in `images/` or `images.zip`;
    - pickled arrays, `mini-imagenet-cache-{train,val,test}.pkl` or
      `miniImageNet_category_split_{train_phase_train,val,test}.pickle`, without running any code in them.

    Attributes:
      root: folder or zip archive with one of these, or folder with a folder or zip archive `miniImageNet`,
        `mini-imagenet` or `miniimagenet` of it. Defaults to `$MTNETS_DATA` or `data`.
      ways: classes of a task.
      shots: support examples of each class.
      queries: query examples of each class.
      cache: folder for the unpacked images (1.3 GB). Defaults to `$MTNETS_CACHE` or `~/.cache/mtnets`.
      network: the usual network of the family.
      augment: how each training image is changed as it is drawn: flip, crop, rotate, colour, erase,
        one after the other, with options in brackets: 'crop(padding=2)'. Validation and test tasks are never changed.
      augment_where: whether all images of a training task are changed, or those of its query or support set alone.

    References:
      Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016, arXiv 1606.04080 (the data set).
      Ravi & Larochelle, Optimization as a Model for Few-Shot Learning, ICLR 2017,
      https://openreview.net/forum?id=rJY0-Kcll (the classes, and their split).
      Lee & Choi, Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace, ICML 2018,
      arXiv 1801.05558 (the recipe, from its code).
    """

    family: ClassVar[str] = "miniimagenet"
    data_option: ClassVar[str | None] = "root"

    root: str = ""
    ways: int = 5
    shots: int = 1
    queries: int = 15
    cache: str = ""
    network: Conv4 = Conv4(filters=32, downsample="pool")
    augment: tuple[str, ...] = ()
    augment_where: Where = "all"

    def build(self) -> Family:
        """The family. The first call unpacks all images into the cache, about 2 000 a second.

        Warns of numbers of classes or images that are not the usual ones: results then compare with no paper's.

        Raises:
          OptionError: ways below 2, shots or queries below 1, or augmentations that do not exist.
          DataError: none of the forms is there; a list, an array or an image is damaged or missing; a pickle calls for
            more than arrays; a class is in two splits; there are too few classes or images for such tasks.
        """
        check_episode(self.ways, self.shots, self.queries)
        check_augment(self.augment, self.augment_where)
        root = data_root(self.root)
        with contextlib.ExitStack() as stack:
            archives = [stack.enter_context(_open(path)) for path in _places(root)]
            layout, archive = _choose(root, archives)
            key = fingerprint("miniimagenet", layout.about, archive.fingerprint)
            pixels, runs = cached(cache_folder(self.cache), f"miniimagenet-{key}", lambda: layout.read(archive))
        _check_usual(archive.path, runs)
        return image_family(self, pixels, runs, IMAGES)


def _check_usual(path: Path, runs: Sequence[Any]) -> None:
    """Warns where classes or images are not as many as usual."""
    counts = {split: [count for part, _, count in runs if part == split] for split in CLASSES}
    if all(images == [EXAMPLES] * CLASSES[split] for split, images in counts.items()):
        return
    classes = "/".join(str(len(images)) for images in counts.values())
    usual = "/".join(map(str, CLASSES.values()))
    every = sorted({count for images in counts.values() for count in images})
    warn(
        f"miniImageNet in {path} has {classes} classes (train/validation/test) of "
        f"{' to '.join(map(str, dict.fromkeys((every[0], every[-1]))))} images; usual are {usual} classes of "
        f"{EXAMPLES} images, and no other numbers compare with published results.",
    )


# --- which form is where


def _places(root: Path) -> list[Path]:
    inner = [root / name for folder in FOLDERS for name in (folder, f"{folder}.zip")]
    return [path for path in (root, *inner) if path.exists()]


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Archive]:
    """The files of a folder or zip archive that may belong to miniImageNet.

    A folder may hold other data sets too, which must not change its fingerprint: nothing else is looked at.
    """
    if not path.is_dir():
        with open_archive(path) as archive:
            yield _without_folder_around(archive)
        return
    with contextlib.ExitStack() as stack:
        parts = {
            name: stack.enter_context(open_archive(path / name))
            for name in (*SPLITS, "images")
            if (path / name).is_dir()
        }
        if "images" not in parts and (path / "images.zip").is_file():
            parts["images"] = _without_folder_around(stack.enter_context(open_archive(path / "images.zip")))
        yield _joined(path, [name for name in (*LISTS, *CACHES, *CATEGORIES) if (path / name).is_file()], parts)


def _joined(path: Path, files: Sequence[str], folders: dict[str, Archive]) -> Archive:
    """Some files and folders of a folder as one archive."""
    names = [*files, *(f"{folder}/{name}" for folder, archive in folders.items() for name in archive.names)]
    stats = {name: (path / name).stat() for name in files}
    lines = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats.items()]
    lines += [f"{folder}/ {archive.fingerprint}" for folder, archive in folders.items()]

    def read(name: str) -> bytes:
        folder, _, rest = name.partition("/")
        return folders[folder].read(rest) if rest else read_file(path / name)

    return Archive(path, tuple(sorted(names)), fingerprint(*lines), read)


def _without_folder_around(archive: Archive) -> Archive:
    """An archive without the one folder around all its files."""
    top = folder_around(
        [name for name in archive.names if is_image(name) or name.endswith((".csv", ".pkl", ".pickle"))]
    )
    names = tuple(name.removeprefix(top) for name in archive.names if name.startswith(top))
    return dataclasses.replace(archive, names=names, read=lambda name: archive.read(top + name))


def _choose(root: Path, archives: Sequence[Archive]) -> tuple[Layout, Archive]:
    """The first form of which all parts are there. Raises DataError if there is none."""
    incomplete: list[str] = []
    for layout in LAYOUTS:
        for archive in archives:
            parts = layout.parts(archive)
            if all(parts.values()):
                return layout, archive
            if any(parts.values()):
                there = ", ".join(part for part, is_there in parts.items() if is_there)
                absent = ", ".join(part for part, is_there in parts.items() if not is_there)
                incomplete.append(f" {archive.path} has {there} but not {absent}.")
    raise DataError(
        f"miniImageNet is not in {root}: expected there, or in a folder or zip archive {', '.join(FOLDERS[:-1])} or "
        f"{FOLDERS[-1]} in it: {'; or '.join(layout.about for layout in LAYOUTS)}.{''.join(incomplete)} It cannot be "
        f"downloaded by this program, since ImageNet's terms forbid handing its images on: fetch it yourself, and say "
        f"where it is: root=..., or the variable MTNETS_DATA."
    )
