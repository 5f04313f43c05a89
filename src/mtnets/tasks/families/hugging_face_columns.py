"""The columns of a Hugging Face dataset: which are images, numbers and labels, and what they hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError, OptionError
from mtnets.tasks.archives.progress_bar import track
from mtnets.tasks.inputs.image_files import decode
from mtnets.tasks.inputs.images import Images

CHUNK = 1000  # rows decoded at a time


class Pictures:
    """A column of images as an array `[rows, size, size, channels]`. Rows are decoded as they are read.

    Attributes:
      images: how they become inputs.
      shape: of the array.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, dataset: Any, name: str, size: int, channels: int, invert: bool) -> None:
        # as files: decoded here, images look as they will from a file in use
        feature = type(dataset.features[name])(decode=False)
        self._files = dataset.select_columns([name]).with_format(None).cast_column(name, feature)
        self._name = name
        self._options = size, channels
        first = self._decoded(0, self._files[0][name])
        if first.shape[0] != first.shape[1]:
            raise DataError(
                f"The image of row 0 has {first.shape[0]} × {first.shape[1]} pixels, which is not square; give the "
                "size wanted: image_size=..."
            )
        self.images = Images(first.shape[0], first.shape[2], invert)
        self.shape = (len(dataset), *first.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: NDArray[np.integer]) -> NDArray[np.uint8]:
        pixels = np.empty((len(rows), *self.images.shape), np.uint8)
        for i, (row, file) in enumerate(zip(rows, self._files[rows.tolist()][self._name], strict=True)):
            image = self._decoded(row, file)
            if image.shape != self.images.shape:
                raise DataError(
                    f"The image of row {row} is {list(image.shape)} and that of row 0 {list(self.images.shape)}; make "
                    "them alike: image_size=..., channels=..."
                )
            pixels[i] = image
        return pixels

    def all(self) -> NDArray[np.uint8]:
        """All rows."""
        chunks = [np.arange(i, min(i + CHUNK, len(self))) for i in range(0, len(self), CHUNK)]
        pixels = np.empty(self.shape, np.uint8)
        for rows in track(chunks, "Decoding images", len(chunks)):
            pixels[rows] = self[rows]
        return pixels

    def _decoded(self, row: int, file: Any) -> NDArray[np.uint8]:
        content = None if file is None else file["bytes"] or file["path"]
        if content is None:
            raise DataError(_missing(self._name, row))
        return decode(content, f"of row {row} in column {self._name!r}", *self._options)


def _kind(feature: Any) -> str:
    """What a column holds: "image", "class", "numbers", or its type where it is none of these."""
    name = type(feature).__name__
    if name in ("Image", "ClassLabel"):
        return {"Image": "image", "ClassLabel": "class"}[name]
    while not hasattr(feature, "dtype") and hasattr(feature, "feature"):  # a list of lists
        feature = feature.feature
    dtype = str(getattr(feature, "dtype", name))
    return "numbers" if dtype.startswith(("int", "uint", "float", "bool")) else dtype


def holds_images(dataset: Any, name: str) -> bool:
    """Whether a column holds images."""
    return _kind(dataset.features[name]) == "image"


def choose_target(dataset: Any, y: str | None) -> str:
    """The column of labels. Raises DataError where there is none, or more than one."""
    features = dataset.features
    if y is not None:
        return _existing(dataset, y)
    classes = [name for name, feature in features.items() if _kind(feature) == "class"]
    if len(classes) > 1:
        raise DataError(
            f"The dataset has several columns of classes, {', '.join(classes)}; name one: y={classes[0]!r}."
        )
    if classes or "label" in features:
        return (classes or ["label"])[0]
    raise DataError(f"The dataset has no column of classes among {', '.join(features)}; name one: y=...")


def choose_inputs(dataset: Any, x: str | Sequence[str] | None, target: str) -> list[str]:
    """The column of images, or the columns of numbers.

    Raises:
      OptionError: for the column of labels.
      DataError: for columns that do not exist, hold neither, or cannot go together.
    """
    features = dataset.features
    columns = [x] if isinstance(x, str) else list(x) if x is not None else [n for n in features if n != target]
    kinds = {name: _kind(features[_existing(dataset, name)]) for name in columns}
    if target in kinds:
        raise OptionError(f"x names the column of labels, {target!r}; name others.")
    images = [name for name, kind in kinds.items() if kind == "image"]
    if len(images) > 1:
        raise DataError(f"The columns {', '.join(images)} are all images; name one: x={images[0]!r}.")
    if images and x is not None and len(columns) > 1:
        raise DataError(
            f"The columns {', '.join(columns)} are an image, {images[0]}, and others; name one: x={images[0]!r}."
        )
    if images:
        return images
    numbers = [name for name, kind in kinds.items() if kind == "numbers"]
    others = [name for name in columns if name not in numbers]
    if others or not numbers:
        which = f"Column {others[0]!r} holds {kinds[others[0]]}" if others else "There are no columns besides y"
        raise DataError(
            f"{which}; expected images or numbers. Name the columns to use, x={numbers or ['...']}, or write it as "
            "numbers."
        )
    return numbers


def _existing(dataset: Any, name: str) -> str:
    if name not in dataset.features:
        raise DataError(f"The dataset has no column {name!r}; it has {', '.join(dataset.features)}.")
    return name


def read_labels(dataset: Any, name: str) -> NDArray[Any]:
    """Labels `[rows]`, by name where they have names. Raises DataError for missing ones, and other values."""
    feature = dataset.features[name]
    values = dataset.select_columns([name]).with_format(None)[:][name] if hasattr(feature, "dtype") else []
    for row, value in enumerate(values):
        if value is None or (_kind(feature) == "class" and value < 0):  # −1 is how datasets say "unknown"
            raise DataError(_missing(name, row))
    labels = np.array(values) if values else None
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iubU":
        raise DataError(f"Column {name!r} holds {feature}; labels must be one class, integer or text a row.")
    return np.array(feature.names)[labels] if _kind(feature) == "class" else labels


def read_numbers(dataset: Any, names: Sequence[str]) -> NDArray[np.float32]:
    """Columns of numbers side by side, `[rows, ...]`. Raises DataError for missing and infinite ones."""
    table = dataset.select_columns(list(names)).with_format("numpy")[:]
    columns = [_column(name, np.asarray(table[name])) for name in names]
    if len(columns) == 1 and columns[0].ndim > 1:
        return columns[0]
    return np.concatenate([column.reshape(len(column), -1) for column in columns], 1)


def _column(name: str, column: NDArray[Any]) -> NDArray[np.float32]:
    """One column of finite numbers."""
    if column.dtype == object:  # rows of different length, or None among truth values
        shapes = [np.shape(value) for value in column]
        odd = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), 0)
        if column[odd] is None or shapes[odd] == shapes[0]:
            raise DataError(_missing(name, next(row for row, value in enumerate(column) if value is None)))
        raise DataError(
            f"Column {name!r} has {list(shapes[odd])} numbers in row {odd} and {list(shapes[0])} in row 0; all rows "
            "must have the same shape."
        )
    with np.errstate(over="ignore"):
        numbers = column.astype(np.float32)
    bad = ~np.isfinite(numbers).reshape(len(numbers), -1).all(1)
    if bad.any():
        raise DataError(_missing(name, int(bad.argmax())))
    return numbers


def _missing(name: str, row: int) -> str:
    return (
        f"Column {name!r} has no value, or none that is finite, in row {row}; fill it, or leave such rows out with "
        "dataset.filter."
    )
