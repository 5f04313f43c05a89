"""Few-shot classification from a Hugging Face dataset of images or numbers with labels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mtnets.arguments import Seed, checked_arguments
from mtnets.errors import DataError, OptionError
from mtnets.tasks.families.arrays import arrays
from mtnets.tasks.families.hugging_face_columns import (
    Pictures,
    choose_inputs,
    choose_target,
    holds_images,
    read_labels,
    read_numbers,
)
from mtnets.tasks.families.images_by_class import SPLITS, check_image_options
from mtnets.tasks.family import Family

if TYPE_CHECKING:
    import datasets


@checked_arguments
def hugging_face(
    dataset: "datasets.Dataset | datasets.DatasetDict",
    *,
    x: str | Sequence[str] | None = None,
    y: str | None = None,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    fewest_shots: int | None = None,
    fewest_queries: int | None = None,
    splits: Sequence[float] | Mapping[str, Sequence[Any]] = (0.64, 0.16, 0.2),
    seed: Seed = 0,
    image_size: int = 0,
    channels: int = 0,
    invert: bool = False,
    on_host: bool = False,
) -> Family:
    """Few-shot classification from a dataset of the package `datasets` (`pip install 'mtnets[datasets]'`).

    The splits of a `DatasetDict` are used as they are where they are train, validation and test and share no class.
    Otherwise all examples are put together, and classes are split by `splits`.

        tasks = mtnets.tasks.hugging_face(datasets.load_dataset("cifar100"), y="fine_label")

    Args:
      dataset: a `Dataset` or a `DatasetDict`; no stream.
      x: the column of images, or the columns of numbers (vectors too). Defaults to the only column of images; where
        there is none, to all columns but y.
      y: the column of labels. Defaults to the only one of classes (`ClassLabel`); where there is none, to `label`.
      ways, shots, queries: of a task.
      fewest_shots, fewest_queries: as for `mtnets.tasks.arrays`.
      splits, seed: of classes, as for `mtnets.tasks.arrays`; classes go by their names where they have some.
      image_size: side in pixels to which images are resized; 0 takes them as they are: square, and all alike.
      channels: 1 (grey) or 3 (RGB); 0 takes images as they are, all alike.
      invert: whether light and dark change places.
      on_host: whether images are decoded as tasks are drawn, for data larger than memory. Otherwise they are decoded
        once and kept on the device.

    Raises:
      OptionError: without the package, and as `mtnets.tasks.arrays` does.
      DataError: for a stream, a column that is absent, holds neither numbers nor images, or has missing values, for
        several columns of images or labels, images that are damaged or not alike, and as `mtnets.tasks.arrays` does.
    """
    check_image_options(image_size, channels)
    parts = _parts(dataset)
    whole = _joined(list(parts.values()))
    target = choose_target(whole, y)
    labels = read_labels(whole, target)
    if not isinstance(splits, Mapping):
        splits = _splits_without_shared_classes(parts, labels) or splits
    options: dict[str, Any] = {
        "ways": ways, "shots": shots, "queries": queries, "splits": splits, "seed": seed, "on_host": on_host,
        "fewest_shots": fewest_shots, "fewest_queries": fewest_queries,
    }  # fmt: skip
    columns = choose_inputs(whole, x, target)
    if not holds_images(whole, columns[0]):
        return arrays(read_numbers(whole, columns), labels, **options)
    pictures = Pictures(whole, columns[0], image_size, channels, invert)
    examples: Any = pictures if on_host else pictures.all()
    return arrays(examples, labels, inputs=pictures.images, **options)


def _parts(dataset: Any) -> dict[str, Any]:
    """The splits of a dataset by their usual names; a single one for a `Dataset`."""
    try:
        import datasets
    except ImportError as error:
        raise OptionError("Hugging Face datasets need one more package: pip install 'mtnets[datasets]'.") from error

    if isinstance(dataset, datasets.IterableDataset | datasets.IterableDatasetDict):
        raise DataError(
            f"The dataset is an {type(dataset).__name__}, a stream; load it with streaming=False, or make a "
            "datasets.Dataset of its first rows."
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


def _splits_without_shared_classes(parts: Mapping[str, Any], labels: NDArray[Any]) -> dict[str, list[Any]] | None:
    """The classes of each split of the dataset; None where it has one split, or splits that share a class."""
    bounds = np.cumsum([len(part) for part in parts.values()])[:-1]
    classes = {split: set(part.tolist()) for split, part in zip(parts, np.split(labels, bounds), strict=True)}
    share = len(set().union(*classes.values())) < sum(map(len, classes.values()))
    if len(classes) == 1 or share:
        return None
    if classes.keys() != {"train", "validation", "test"}:
        raise DataError(
            f"The dataset has the splits {', '.join(parts)}, of which no two share a class; expected train, validation "
            "and test. Name them so, or join them to split classes by shares: "
            "datasets.concatenate_datasets(list(dataset.values()))."
        )
    return {split: sorted(names) for split, names in classes.items()}
