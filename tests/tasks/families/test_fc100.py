"""The split of CIFAR-100 by superclass."""

from collections import Counter
from pathlib import Path

import pytest

from mtnets.errors import DataError, OptionError
from mtnets.tasks import Folder
from mtnets.tasks.families.fc100 import HELD, SPLIT_OF, fc100

NAMES = [*SPLIT_OF, *(f"trains-{i}" for i in range(60))]


def test_whole_superclasses_are_held_out() -> None:
    assert [len(names) for superclasses in HELD.values() for names in superclasses.values()] == [5] * 8
    assert len(SPLIT_OF) == 40, "no class twice"
    runs = fc100([["train" if i % 2 else "test", name, 600] for i, name in enumerate(NAMES)], Path("cifar_fs.zip"))
    assert Counter(run.split for run in runs) == {"train": 60, "validation": 20, "test": 20}
    splits = {run.class_name: run.split for run in runs}
    assert (splits["whale"], splits["bear"], splits["trains-0"]) == ("test", "validation", "train")
    assert [run.class_name for run in runs] == NAMES, "in the order of their images"
    assert {run.images for run in runs} == {600}


def test_other_classes_are_refused() -> None:
    for names, message in (
        (NAMES[1:], "data has 99 classes, and no class bear; FC100 needs the 100 of CIFAR-100"),
        ([*NAMES, "more"], "data has 101 classes; FC100 needs the 100"),
    ):
        with pytest.raises(DataError, match=message):
            fc100([["train", name, 1] for name in names], Path("data"))
    with pytest.raises(OptionError, match=r"split is 'fc'.*'folders', 'fc100'"):
        Folder("data", split="fc")  # pyright: ignore[reportArgumentType]
