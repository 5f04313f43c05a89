"""The forms in which miniImageNet is handed on: class folders, lists with images, pickled arrays."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError
from mtnets.tasks.archives.archive import Archive
from mtnets.tasks.archives.pickled import PickledArray, unpickle
from mtnets.tasks.archives.progress_bar import track
from mtnets.tasks.families.image_folder import files_by_class
from mtnets.tasks.families.images_by_class import SPLITS, File, Run, UnpackedImages, in_order, unpack
from mtnets.tasks.inputs.image_files import is_image
from mtnets.tasks.inputs.images import Images

IMAGES = Images(size=84, channels=3)

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


class Layout(NamedTuple):
    """A form in which the data set is handed on.

    Attributes:
      about: how it looks.
      parts: its parts, and whether each is there.
      read: the pixels `[images, 84, 84, 3]` and what they are.
    """

    about: str
    parts: Callable[[Archive], dict[str, bool]]
    read: Callable[[Archive], UnpackedImages]


# --- class folders


def _folder_parts(archive: Archive) -> dict[str, bool]:
    paths = [name.split("/") for name in archive.names if is_image(name)]
    there = {SPLITS.get(parts[0]) for parts in paths if len(parts) > 2}
    return {f"{name}/CLASS/IMAGE": SPLITS[name] in there for name in ("train", "val", "test")}


def _read_folders(archive: Archive) -> UnpackedImages:
    return unpack(archive, files_by_class(archive), IMAGES.size, IMAGES.channels)


# --- the lists of Ravi & Larochelle


def _list_parts(archive: Archive) -> dict[str, bool]:
    images = any(name.startswith("images/") for name in archive.names)
    return {name: name in archive.names for name in LISTS} | {"images/": images}


def _read_lists(archive: Archive) -> UnpackedImages:
    names, listed = frozenset(archive.names), dict[str, str]()
    files: list[File] = []
    for name, split in LISTS.items():
        before = len(files)
        for line, image, label in _lines(archive, name):
            file, where = f"images/{image}", f"{name}, line {line}"
            if file not in names:
                raise DataError(f"{archive.path}: {where} names {image}; it is not in images/: add it there.")
            if file in listed:
                raise DataError(f"{archive.path}: {where} names {image}, and so does {listed[file]}; remove one line.")
            listed[file] = where
            files.append(File(file, split, label))
        if len(files) == before:
            raise DataError(f"{archive.path}: {name} names no images; expected one in each line after the first.")
    return unpack(archive, in_order(archive.path, files), IMAGES.size, IMAGES.channels, listed)


def _lines(archive: Archive, name: str) -> Iterator[tuple[int, str, str]]:
    """Number, file name and label of each line of a CSV file."""
    where = f"{archive.path}: {name}"
    try:
        text = archive.read(name).decode("utf-8-sig")
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
ImagesOf = Callable[[dict[Any, Any], str, str], tuple[NDArray[np.uint8], Classes]]  # of content, split, and its name


def _pickle_parts(files: Mapping[str, str], archive: Archive) -> dict[str, bool]:
    return {name: name in archive.names for name in files}


def _read_pickles(files: Mapping[str, str], images_of: ImagesOf, archive: Archive) -> UnpackedImages:
    parts: list[NDArray[np.uint8]] = []
    runs: list[Run] = []
    for file, split in track(files.items(), f"Unpacking {archive.path.name}", len(files)):
        where = f"{archive.path}: {file}"
        images, classes = images_of(unpickle(archive.read(file), where), split, where)
        _check_places(classes, len(images), where)
        parts += [images[classes[name]] for name in sorted(classes)]
        runs += [Run(split, name, len(classes[name])) for name in sorted(classes)]
    in_order(archive.path, (File("", run.split, run.class_name) for run in runs))
    return np.concatenate(parts), runs


def _cached_images(content: dict[Any, Any], split: str, where: str) -> tuple[NDArray[np.uint8], Classes]:
    """Of `{"image_data": [images, 84, 84, 3], "class_dict": {class: [place of an image, …]}}`."""
    images, places = _array(content, "image_data", where), content.get("class_dict")
    if not isinstance(places, dict):
        raise DataError(f"{where} has no dictionary 'class_dict'; expected the images' places by class.")
    return images, {str(name): _sequence(of, f"{where}: class_dict[{name!r}]", int) for name, of in places.items()}


def _category_images(content: dict[Any, Any], split: str, where: str) -> tuple[NDArray[np.uint8], Classes]:
    """Of `{"data": [images, 84, 84, 3], "labels": [label of each image]}`, and perhaps names of the labels."""
    images = _array(content, "data", where)
    labels = _sequence(content.get("labels"), f"{where}: labels", int, str)
    if len(labels) != len(images):
        raise DataError(f"{where} has {len(labels)} labels for {len(images)} images; expected one for each.")
    names = _names(content, labels, split, where)
    classes: Classes = {}
    for place, label in enumerate(labels):
        if label not in names:
            raise DataError(f"{where} has images with the label {label!r} but no name for it.")
        classes.setdefault(str(names[label]), []).append(place)
    return images, classes


def _names(content: dict[Any, Any], labels: list[Any], split: str, where: str) -> Mapping[Any, Any]:
    """The name of each label."""
    name_of, label_of = content.get("label2catname"), content.get("catname2label")
    if isinstance(label_of, dict):
        named = _sequence(list(label_of.values()), f"{where}: catname2label", int, str)
        return dict(zip(named, label_of, strict=True))
    if isinstance(name_of, dict):
        return name_of
    if isinstance(name_of, list):
        return dict(enumerate(name_of))
    # numbers may start anew in every file, names do not
    return {label: label if isinstance(label, str) else f"{split}-{label}" for label in labels}


def _array(content: dict[Any, Any], name: str, where: str) -> NDArray[np.uint8]:
    value = content.get(name)
    array = value.array if isinstance(value, PickledArray) else None
    if array is None or array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != IMAGES.shape:
        what = "absent" if value is None else "no array" if array is None else f"{array.dtype} {list(array.shape)}"
        raise DataError(f"{where}: {name} is {what}; expected uint8 [images, 84, 84, 3].")
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
    Layout(", ".join(CACHES), partial(_pickle_parts, CACHES), partial(_read_pickles, CACHES, _cached_images)),
    Layout(
        ", ".join(CATEGORIES), partial(_pickle_parts, CATEGORIES), partial(_read_pickles, CATEGORIES, _category_images)
    ),
)
