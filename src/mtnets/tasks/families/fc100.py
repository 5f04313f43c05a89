"""FC100: the classes of CIFAR-100 split by superclass, so that those of test are unlike those of training."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mtnets.errors import DataError
from mtnets.tasks.families.images_by_class import Run

# superclasses 8, 11, 13, 16 and 0, 7, 12, 14 of the 20 in alphabetical order, with their classes; all others train
HELD = {
    "validation": {
        "large carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
        "large omnivores and herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
        "non-insect invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
        "small mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    },
    "test": {
        "aquatic mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
        "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
        "medium mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
        "people": ("baby", "boy", "girl", "man", "woman"),
    },
}
CLASSES = 100
SPLIT_OF = {name: split for split, superclasses in HELD.items() for names in superclasses.values() for name in names}


def fc100(runs: Iterable[Any], path: Path) -> list[Run]:
    """The same images with the splits of FC100: 60 classes of 12 superclasses to train on, 20 of 4 for validation, and
    20 of 4 for test.

    Args:
      runs: split, class and number of the images, in their order, whatever the split; of CIFAR-FS for example.
      path: where they are, for errors.

    Raises:
      DataError: unless these are the 100 classes of CIFAR-100, by their names.

    References:
      Oreshkin, Rodríguez López & Lacoste, TADAM: Task dependent adaptive metric for improved few-shot learning, NeurIPS
      2018, arXiv 1805.10123.
    """
    runs = [Run(*run) for run in runs]
    names = {run.class_name for run in runs}
    missing = sorted(SPLIT_OF.keys() - names)
    if missing or len(names) != CLASSES:
        some = f", and no class {missing[0]}" if missing else ""
        raise DataError(
            f"{path} has {len(names)} classes{some}; FC100 needs the {CLASSES} of CIFAR-100 by their names, as "
            "CIFAR-FS has them: use split='folders' for other images."
        )
    return [run._replace(split=SPLIT_OF.get(run.class_name, "train")) for run in runs]
