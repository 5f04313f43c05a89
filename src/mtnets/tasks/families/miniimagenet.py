"""miniImageNet: 100 classes of ImageNet with 600 images each, in every form in which it is handed on."""

import contextlib
import csv
import dataclasses
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError
from mtnets.networks.models import Conv4
from mtnets.tasks.archives.archive import Source, fingerprint, open_source
from mtnets.tasks.archives.cache import cache_folder, cached, progress
from mtnets.tasks.archives.pickled import PickledArray, unpickle
from mtnets.tasks.families.image_folder import SPLITS, File, Run, around, by_class, find, image_family, unpack
from mtnets.tasks.families.omniglot import data_root
from mtnets.tasks.family import Family
from mtnets.tasks.inputs.images import Images, is_image
from mtnets.tasks.sampling.episodes import check_episode

IMAGES = Images(size=84, channels=3)
CLASSES = {"train": 64, "validation": 16, "test": 20}
EXAMPLES = 600

FOLDERS = ("miniImageNet", "mini-imagenet", "miniimagenet")

LISTS = {"train.csv": "train", "val.csv": "validation", "test.csv": "test"}
CACHES = {
    "mini-imagenet-cache-train.pkl": "train",
    "mini-imagenet-cache-val.pkl": "validation",
    "mini-imagenet-cache-test.pkl": "test",
}
CATEGORIES = {
    "miniImageNet_category_split_train_phase_train.pickle": "train",
    "miniImageNet_category_split_val.pickle": "validation",
    "miniImageNet_category_split_test.pickle": "test",
}


@dataclasses.dataclass(frozen=True)
class MiniImageNet:
    """miniImageNet as in MAML and the MT-net paper: 84×84 RGB, 64 classes to train on, 16 for validation, 20 for test.

    It cannot be fetched for you, since ImageNet's terms forbid handing its images on. Whichever of these you have is
    read, the first of them if there are several:

    - class folders, `train|val|test/CLASS/IMAGE`;
    - the lists of Ravi & Larochelle, `train.csv`, `val.csv` and `test.csv` with the columns `filename` and `label`,
      and the images in `images/` or `images.zip`;
    - pickled arrays, `mini-imagenet-cache-{train,val,test}.pkl` or
      `miniImageNet_category_split_{train_phase_train,val,test}.pickle`, without running what else may be in them.

    Attributes:
      root: folder or zip archive with one of these, or folder with a folder or zip archive `miniImageNet`,
        `mini-imagenet` or `miniimagenet` of it; `$MTNETS_DATA`, else `data`, where it is empty.
      ways: classes of a task.
      shots: support examples of each class.
      queries: query examples of each class.
      cache: folder for the unpacked images (1.3 GB); `$MTNETS_CACHE`, else `~/.cache/mtnets`, where it is empty.
      network: the usual network of the family.

    References:
      Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016, arXiv 1606.04080 (the data set).
      Ravi & Larochelle, Optimization as a Model for Few-Shot Learning, ICLR 2017,
      https://openreview.net/forum?id=rJY0-Kcll (the classes, and their split).
      Lee & Choi, Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace, ICML 2018,
      arXiv 1801.05558 (the recipe, from its code).
    """

    root: str = ""
    ways: int = 5
    shots: int = 1
    queries: int = 15
    cache: str = ""
    network: Conv4 = Conv4(filters=32, downsample="pool")

    def build(self) -> Family:
        """The family. The first call unpacks all images into the cache, about 2 000 a second.

        Warns where there are other numbers of classes or images than usual: results then compare with no paper's.

        Raises:
          OptionError: ways below 2, shots or queries below 1.
          DataError: none of the layouts is there; a list, an array or an image is damaged or missing; a pickle calls
            for more than arrays; a class is in two splits; there are too few classes or images for such tasks.
        """
        check_episode(self.ways, self.shots, self.queries)
        root = data_root(self.root)
        with contextlib.ExitStack() as stack:
            layout, source = _choose(root, [stack.enter_context(_open(path)) for path in _places(root)])
            key = fingerprint("miniimagenet", layout.about, source.fingerprint)
            pixels, runs = cached(cache_folder(self.cache), f"miniimagenet-{key}", lambda: layout.read(source))
        counts = {split: [count for of, _, count in runs if of == split] for split in CLASSES}
        if any(found != [EXAMPLES] * CLASSES[split] for split, found in counts.items()):
            every = sorted({count for found in counts.values() for count in found})
            warnings.warn(
                f"miniImageNet in {source.path} has {'/'.join(str(len(found)) for found in counts.values())} classes "
                f"(train/validation/test) of {' to '.join(map(str, dict.fromkeys((every[0], every[-1]))))} images; "
                f"usual are {'/'.join(map(str, CLASSES.values()))} classes of {EXAMPLES} images, and no other numbers "
                f"compare with published results.",
                stacklevel=2,
            )
        return image_family(self, pixels, runs, IMAGES)


# --- which layout is where


class Layout(NamedTuple):
    """A form in which the data set is handed on.

    Attributes:
      about: what it looks like.
      parts: its parts, and whether each is there.
      read: the pixels `[images, 84, 84, 3]` and what they are, run after run.
    """

    about: str
    parts: Callable[[Source], dict[str, bool]]
    read: Callable[[Source], tuple[NDArray[np.uint8], list[Run]]]


def _places(root: Path) -> list[Path]:
    inner = [root / name for folder in FOLDERS for name in (folder, f"{folder}.zip")]
    return [path for path in (root, *inner) if path.exists()]


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Source]:
    """What may be of miniImageNet in a folder or archive.

    Nothing else is looked at in a folder, for it may hold other data sets too, and these would change its fingerprint.
    """
    if not path.is_dir():
        with open_source(path) as source:
            yield _inside(source)
        return
    with contextlib.ExitStack() as stack:
        parts = {
            name: stack.enter_context(open_source(path / name))
            for name in (*SPLITS, "images")
            if (path / name).is_dir()
        }
        if "images" not in parts and (path / "images.zip").is_file():
            parts["images"] = _inside(stack.enter_context(open_source(path / "images.zip")))
        files = [name for name in (*LISTS, *CACHES, *CATEGORIES) if (path / name).is_file()]
        stats = {name: (path / name).stat() for name in files}
        names = [*files, *(f"{folder}/{name}" for folder, part in parts.items() for name in part.names)]

        def read(name: str) -> bytes:
            folder, _, rest = name.partition("/")
            if rest:
                return parts[folder].read(rest)
            try:
                return (path / name).read_bytes()
            except OSError as error:
                raise DataError(f"File {path / name} cannot be read: {error}.") from error

        lines = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats.items()]
        lines += [f"{folder}/ {part.fingerprint}" for folder, part in parts.items()]
        yield Source(path, tuple(sorted(names)), fingerprint(*lines), read)


def _inside(archive: Source) -> Source:
    """An archive without the one folder around all that it holds."""
    top = around([name for name in archive.names if is_image(name) or name.endswith((".csv", ".pkl", ".pickle"))])
    names = tuple(name.removeprefix(top) for name in archive.names if name.startswith(top))
    return dataclasses.replace(archive, names=names, read=lambda name: archive.read(top + name))


def _choose(root: Path, sources: list[Source]) -> tuple[Layout, Source]:
    """The first layout of which all parts are there. Raises DataError if there is none."""
    halves: list[str] = []
    for layout in LAYOUTS:
        for source in sources:
            parts = layout.parts(source)
            if all(parts.values()):
                return layout, source
            if any(parts.values()):
                there = [part for part, found in parts.items() if found]
                absent = [part for part, found in parts.items() if not found]
                halves.append(f" {source.path} has {', '.join(there)} but not {', '.join(absent)}.")
    raise DataError(
        f"miniImageNet is not in {root}: expected there, or in a folder or zip archive {', '.join(FOLDERS[:-1])} or "
        f"{FOLDERS[-1]} in it: {'; or '.join(layout.about for layout in LAYOUTS)}.{''.join(halves)} It cannot be "
        f"downloaded by this program, since ImageNet's terms forbid handing its images on: fetch it yourself, and set "
        f"--root or MTNETS_DATA."
    )


# --- class folders


def _folder_parts(source: Source) -> dict[str, bool]:
    paths = [name.split("/") for name in source.names if is_image(name)]
    found = {SPLITS.get(parts[0]) for parts in paths if len(parts) > 2}
    return {f"{name}/CLASS/IMAGE": SPLITS[name] in found for name in ("train", "val", "test")}


def _read_folders(source: Source) -> tuple[NDArray[np.uint8], list[Run]]:
    return unpack(source, find(source), IMAGES.size, IMAGES.channels)


# --- the lists of Ravi & Larochelle


def _list_parts(source: Source) -> dict[str, bool]:
    return {name: name in source.names for name in LISTS} | {
        "images/": any(name.startswith("images/") for name in source.names)
    }


def _read_lists(source: Source) -> tuple[NDArray[np.uint8], list[Run]]:
    names, listed = frozenset(source.names), dict[str, str]()
    files: list[File] = []
    for name, split in LISTS.items():
        before = len(files)
        for line, image, label in _rows(source, name):
            file, where = f"images/{image}", f"{name}, line {line}"
            if file not in names:
                raise DataError(f"{source.path}: {where} names {image}; it is not in images/: add it there.")
            if file in listed:
                raise DataError(f"{source.path}: {where} names {image}, and so does {listed[file]}; remove one line.")
            listed[file] = where
            files.append((file, split, label))
        if len(files) == before:
            raise DataError(f"{source.path}: {name} names no images; expected one in each line after the first.")
    return unpack(source, by_class(source.path, files), IMAGES.size, IMAGES.channels, listed)


def _rows(source: Source, name: str) -> Iterator[tuple[int, str, str]]:
    """Line, file name and label of each row of a CSV file."""
    where = f"{source.path}: {name}"
    try:
        text = source.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not text: {error}; fetch it again.") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        titles = [title.strip() for title in next(rows, [])]
        if not titles:
            raise DataError(f"{where} is empty; expected a first line filename,label.")
        if not {"filename", "label"} <= set(titles):
            raise DataError(f"{where}, line 1 has the columns {', '.join(titles)}; expected filename and label.")
        for row in filter(None, rows):  # without blank lines
            values = dict(zip(titles, (value.strip() for value in row), strict=False))
            image, label = values.get("filename"), values.get("label")
            if not (image and label):
                raise DataError(f"{where}, line {rows.line_num} has not both a filename and a label; complete it.")
            yield rows.line_num, image, label
    except csv.Error as error:
        raise DataError(f"{where}, line {rows.line_num} cannot be read: {error}; fetch the file again.") from error


# --- pickled arrays

Classes = dict[str, list[int]]  # the places of each class's images in an array


def _pickle_parts(files: Mapping[str, str], source: Source) -> dict[str, bool]:
    return {name: name in source.names for name in files}


def _read_pickles(
    files: Mapping[str, str],
    classes_of: Callable[[dict[Any, Any], str, str], tuple[NDArray[np.uint8], Classes]],
    source: Source,
) -> tuple[NDArray[np.uint8], list[Run]]:
    found: list[tuple[str, str, NDArray[np.uint8], list[int]]] = []
    for file, split in progress(files.items(), f"Unpacking {source.path.name}", len(files)):
        where = f"{source.path}: {file}"
        images, classes = classes_of(unpickle(source.read(file), where), split, where)
        _check_places(classes, len(images), where)
        found += [(split, name, images, classes[name]) for name in sorted(classes)]
    by_class(source.path, (("", split, name) for split, name, _, _ in found))
    pixels = np.empty((sum(len(places) for *_, places in found), *IMAGES.shape), np.uint8)
    start = 0
    for _, _, images, places in found:
        pixels[start : start + len(places)] = images[places]
        start += len(places)
    return pixels, [(split, name, len(places)) for split, name, _, places in found]


def _cache_classes(content: dict[Any, Any], split: str, where: str) -> tuple[NDArray[np.uint8], Classes]:
    """Of `{"image_data": [images, 84, 84, 3], "class_dict": {class: [place of an image, …]}}`."""
    images, places = _images(content, "image_data", where), content.get("class_dict")
    if not isinstance(places, dict):
        raise DataError(f"{where} has no dictionary 'class_dict'; expected the images' places by class.")
    return images, {str(name): _sequence(of, f"{where}: class_dict[{name!r}]", int) for name, of in places.items()}


def _category_classes(content: dict[Any, Any], split: str, where: str) -> tuple[NDArray[np.uint8], Classes]:
    """Of `{"data": [images, 84, 84, 3], "labels": [label of each image]}`, and perhaps names of the labels."""
    images = _images(content, "data", where)
    labels = _sequence(content.get("labels"), f"{where}: labels", int, str)
    if len(labels) != len(images):
        raise DataError(f"{where} has {len(labels)} labels for {len(images)} images; expected one for each.")
    name_of, label_of = content.get("label2catname"), content.get("catname2label")
    if isinstance(label_of, dict):
        names = dict(
            zip(_sequence(list(label_of.values()), f"{where}: catname2label", int, str), label_of, strict=True)
        )
    elif isinstance(name_of, dict):
        names = name_of
    elif isinstance(name_of, list):
        names = dict(enumerate(name_of))
    else:  # numbers may start anew in every file, names do not
        names = {label: label if isinstance(label, str) else f"{split}-{label}" for label in labels}
    classes: Classes = {}
    for place, label in enumerate(labels):
        if label not in names:
            raise DataError(f"{where} has images with the label {label!r} but no name for it.")
        classes.setdefault(str(names[label]), []).append(place)
    return images, classes


def _images(content: dict[Any, Any], name: str, where: str) -> NDArray[np.uint8]:
    value = content.get(name)
    array = value.array if isinstance(value, PickledArray) else None
    if array is None or array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != IMAGES.shape:
        found = "absent" if value is None else "no array" if array is None else f"{array.dtype} {list(array.shape)}"
        raise DataError(f"{where}: {name} is {found}; expected uint8 [images, 84, 84, 3].")
    return array


def _sequence(value: Any, where: str, *kinds: type) -> list[Any]:
    """A list, or an array of one axis, of such elements."""
    if isinstance(value, PickledArray) and value.array is not None and value.array.ndim == 1:
        value = value.array.tolist()
    if not isinstance(value, list | tuple) or not all(type(element) in kinds for element in value):
        raise DataError(f"{where} is not a list of {' or '.join(kind.__name__ for kind in kinds)}.")
    return list(value)


def _check_places(classes: Classes, images: int, where: str) -> None:
    if not classes:
        raise DataError(f"{where} has no classes.")
    seen: dict[int, str] = {}
    for name, places in classes.items():
        if not places:
            raise DataError(f"{where}: class {name} has no images.")
        for place in places:
            if not 0 <= place < images:
                raise DataError(f"{where}: class {name} has image {place}; expected 0 to {images - 1}.")
            if place in seen:
                raise DataError(f"{where}: image {place} is in class {seen[place]} and again in {name}; expected once.")
            seen[place] = name


LAYOUTS = (
    Layout("train/CLASS/IMAGE, val/CLASS/IMAGE and test/CLASS/IMAGE", _folder_parts, _read_folders),
    Layout(f"{', '.join(LISTS)} and images/ or images.zip", _list_parts, _read_lists),
    *(
        Layout(", ".join(files), partial(_pickle_parts, files), partial(_read_pickles, files, classes_of))
        for files, classes_of in ((CACHES, _cache_classes), (CATEGORIES, _category_classes))
    ),
)
