"""Few-shot classification from a Hugging Face dataset of images or numbers with labels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError, OptionError
from mtnets.tasks.archives.cache import progress
from mtnets.tasks.families.arrays import arrays
from mtnets.tasks.families.image_folder import SPLITS
from mtnets.tasks.family import Family
from mtnets.tasks.inputs.images import Images, decode

if TYPE_CHECKING:
    import datasets

CHUNK = 1000  # rows decoded at a time


def hugging_face(
    dataset: "datasets.Dataset | datasets.DatasetDict",
    *,
    x: str | Sequence[str] | None = None,
    y: str | None = None,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    splits: Sequence[float] | Mapping[str, Sequence[Any]] = (0.64, 0.16, 0.2),
    seed: int = 0,
    image_size: int = 0,
    channels: int = 0,
    invert: bool = False,
    on_host: bool = False,
) -> Family:
    """Few-shot classification from a dataset of the package `datasets` (`pip install 'mtnets[datasets]'`).

    Of a `DatasetDict` whose splits are train, validation and test, and share no class, the classes of each split are
    used as they are. Otherwise all its examples are put together, and classes are split by `splits`.

        tasks = mtnets.tasks.hugging_face(datasets.load_dataset("cifar100"), y="fine_label")

    Args:
      dataset: a `Dataset` or a `DatasetDict`; no stream.
      x: the column of images, or the columns of numbers (vectors too); the only column of images unless given, or where
        there is none, all columns but y.
      y: the column of labels; the only one of classes (`ClassLabel`) unless given, or else the one named `label`.
      ways, shots, queries: of a task.
      splits, seed: of classes, as for `mtnets.tasks.arrays`; classes go by their names where they have some.
      image_size: side in pixels to which images are resized; 0 takes them as they are: square, and all alike.
      channels: 1 (grey) or 3 (RGB); 0 takes images as they are, all alike.
      invert: whether light and dark change places.
      on_host: whether images are decoded as they are drawn, for what is larger than memory; they are decoded once
        unless this is set, and kept on the device.

    Raises:
      OptionError: without the package, and as `mtnets.tasks.arrays` does.
      DataError: for a stream, a column that is absent, is no number or image, or has missing values, for several
        columns of images or labels, images that are damaged or not alike, and as `mtnets.tasks.arrays` does.
    """
    if image_size < 0:
        raise OptionError(f"image_size is {image_size}; it must be at least 0 (0 takes images as they are).")
    if channels not in (0, 1, 3):
        raise OptionError(f"channels is {channels}; it must be 1 (grey), 3 (RGB) or 0 (as they are).")
    parts = _parts(dataset)
    whole = _joined(list(parts.values()))
    target = _target(whole, y)
    labels = _labels(whole, target)
    bounds = np.cumsum([len(part) for part in parts.values()])[:-1]
    own = dict(zip(parts, (set(each.tolist()) for each in np.split(labels, bounds)), strict=True))
    apart = len(set().union(*own.values())) == sum(map(len, own.values()))
    if len(own) > 1 and apart and not isinstance(splits, Mapping):
        if own.keys() != {"train", "validation", "test"}:
            raise DataError(
                f"The dataset has the splits {', '.join(parts)}, of which no two share a class; expected train, "
                "validation and test. Name them so, or join them to split classes by shares: "
                "datasets.concatenate_datasets(list(dataset.values()))."
            )
        splits = {split: sorted(names) for split, names in own.items()}
    options: dict[str, Any] = {
        "ways": ways, "shots": shots, "queries": queries, "splits": splits, "seed": seed, "on_host": on_host
    }  # fmt: skip
    columns = _inputs(whole, x, target)
    if _kind(whole.features[columns[0]]) != "image":
        return arrays(_numbers(whole, columns), labels, **options)
    pictures = _Pictures(whole, columns[0], image_size, channels, invert)
    return arrays(pictures if on_host else pictures.all(), labels, inputs=pictures.images, **options)  # type: ignore[arg-type]


class _Pictures:
    """A column of images as an array `[rows, size, size, channels]` whose rows are decoded as they are asked for."""

    dtype = np.dtype(np.uint8)

    def __init__(self, dataset: Any, name: str, size: int, channels: int, invert: bool) -> None:
        # as files: decoded here, images look as they will from a file in use
        feature = type(dataset.features[name])(decode=False)
        self._files = dataset.select_columns([name]).with_format(None).cast_column(name, feature)
        self._name = name
        first = self._decoded(0, self._files[0][name], size, channels)
        if first.shape[0] != first.shape[1]:
            raise DataError(
                f"The image of row 0 has {first.shape[0]} × {first.shape[1]} pixels, which is no square; give the size "
                "wanted: image_size=..."
            )
        self._given = size, channels
        self.images = Images(first.shape[0], first.shape[2], invert)
        self.shape = (len(dataset), *first.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: NDArray[np.integer]) -> NDArray[np.uint8]:
        found = np.empty((len(rows), *self.images.shape), np.uint8)
        for i, (row, file) in enumerate(zip(rows, self._files[rows.tolist()][self._name], strict=True)):
            image = self._decoded(row, file, *self._given)
            if image.shape != self.images.shape:
                raise DataError(
                    f"The image of row {row} is {list(image.shape)} and that of row 0 {list(self.images.shape)}; make "
                    "them alike: image_size=..., channels=..."
                )
            found[i] = image
        return found

    def all(self) -> NDArray[np.uint8]:
        """All rows."""
        chunks = [np.arange(i, min(i + CHUNK, len(self))) for i in range(0, len(self), CHUNK)]
        whole = np.empty(self.shape, np.uint8)
        for rows in progress(chunks, "Decoding images", len(chunks)):
            whole[rows] = self[rows]
        return whole

    def _decoded(self, row: int, file: Any, size: int, channels: int) -> NDArray[np.uint8]:
        content = None if file is None else file["bytes"] or file["path"]
        if content is None:
            raise DataError(_missing(self._name, row))
        return decode(content, f"of row {row} in column {self._name!r}", size, channels)


def _parts(dataset: Any) -> dict[str, Any]:
    """The splits of a dataset by their usual names; a single one for a `Dataset`."""
    try:
        import datasets
    except ImportError as error:
        raise OptionError("Hugging Face datasets need one more package: pip install 'mtnets[datasets]'.") from error

    if isinstance(dataset, datasets.IterableDataset | datasets.IterableDatasetDict):
        raise DataError(
            f"The dataset is an {type(dataset).__name__}, a stream; load it with streaming=False, or make a "
            "datasets.Dataset of the first of its rows."
        )
    if isinstance(dataset, datasets.Dataset):
        parts = {"train": dataset}
    elif isinstance(dataset, datasets.DatasetDict):
        parts = {SPLITS.get(str(name), str(name)): part for name, part in dataset.items()}
        if len(parts) < len(dataset):
            raise DataError(
                f"The dataset has the splits {', '.join(map(str, dataset))}, two of one meaning; join or drop one."
            )
    else:
        raise DataError(f"The dataset is a {type(dataset).__name__}; expected a datasets.Dataset or DatasetDict.")
    if not sum(map(len, parts.values())):
        raise DataError("The dataset has no rows; expected examples with labels.")
    return parts


def _joined(parts: list[Any]) -> Any:
    import datasets

    for part in parts[1:]:
        if part.features != parts[0].features:
            raise DataError(
                f"The splits of the dataset have different columns, {parts[0].features} and {part.features}; make them "
                "the same with dataset.cast or dataset.remove_columns."
            )
    return datasets.concatenate_datasets(parts) if len(parts) > 1 else parts[0]


def _kind(feature: Any) -> str:
    """What a column holds: "image", "class", "numbers", or its type where that is none of use."""
    name = type(feature).__name__
    if name in ("Image", "ClassLabel"):
        return {"Image": "image", "ClassLabel": "class"}[name]
    while not hasattr(feature, "dtype") and hasattr(feature, "feature"):  # a list of lists
        feature = feature.feature
    dtype = str(getattr(feature, "dtype", name))
    return "numbers" if dtype.startswith(("int", "uint", "float", "bool")) else dtype


def _target(dataset: Any, y: str | None) -> str:
    features = dataset.features
    if y is not None:
        return _known(dataset, y)
    classes = [name for name, feature in features.items() if _kind(feature) == "class"]
    if len(classes) > 1:
        raise DataError(
            f"The dataset has several columns of classes, {', '.join(classes)}; name one: y={classes[0]!r}."
        )
    if classes or "label" in features:
        return (classes or ["label"])[0]
    raise DataError(f"The dataset has no column of classes among {', '.join(features)}; name one: y=...")


def _inputs(dataset: Any, x: str | Sequence[str] | None, target: str) -> list[str]:
    features = dataset.features
    columns = [x] if isinstance(x, str) else list(x) if x is not None else [n for n in features if n != target]
    kinds = {name: _kind(features[_known(dataset, name)]) for name in columns}
    if target in kinds:
        raise OptionError(f"x names the column of labels, {target!r}; name others.")
    images = [name for name, kind in kinds.items() if kind == "image"]
    if len(images) > 1 or (images and x is not None and len(columns) > 1):
        what = "are all images" if len(images) > 1 else f"are an image, {images[0]}, and others"
        named = images if len(images) > 1 else columns
        raise DataError(f"The columns {', '.join(named)} {what}; name one: x={images[0]!r}.")
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


def _known(dataset: Any, name: str) -> str:
    if name not in dataset.features:
        raise DataError(f"The dataset has no column {name!r}; it has {', '.join(dataset.features)}.")
    return name


def _labels(dataset: Any, name: str) -> NDArray[Any]:
    """Labels `[rows]`, by name where they have names."""
    feature = dataset.features[name]
    values = dataset.select_columns([name]).with_format(None)[:][name] if hasattr(feature, "dtype") else []
    for row, value in enumerate(values):
        if value is None or (_kind(feature) == "class" and value < 0):  # −1 is how datasets say "unknown"
            raise DataError(_missing(name, row))
    labels = np.array(values) if values else None
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iubU":
        raise DataError(f"Column {name!r} holds {feature}; labels must be one class, integer or text a row.")
    return np.array(feature.names)[labels] if _kind(feature) == "class" else labels


def _numbers(dataset: Any, names: list[str]) -> NDArray[np.float32]:
    """Columns of numbers side by side, `[rows, ...]`."""
    table = dataset.select_columns(names).with_format("numpy")[:]
    columns = []
    for name in names:
        column = np.asarray(table[name])
        if column.dtype == object:  # rows of different length, or None among truth values
            shapes = [np.shape(value) for value in column]
            odd = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), 0)
            if column[odd] is None or shapes[odd] == shapes[0]:
                raise DataError(_missing(name, next(row for row, value in enumerate(column) if value is None)))
            raise DataError(
                f"Column {name!r} has {list(shapes[odd])} numbers in row {odd} and {list(shapes[0])} in row 0; all "
                "rows need as many."
            )
        bad = ~np.isfinite(column.astype(np.float32)).reshape(len(column), -1).all(1)
        if bad.any():
            raise DataError(_missing(name, int(bad.argmax())))
        columns.append(column.astype(np.float32))
    if len(columns) == 1 and columns[0].ndim > 1:
        return columns[0]
    return np.concatenate([column.reshape(len(column), -1) for column in columns], 1)


def _missing(name: str, row: int) -> str:
    return (
        f"Column {name!r} has no value, or none that is finite, in row {row}; fill it, or leave such rows out with "
        "dataset.filter."
    )
