"""Augmentation against none, in small."""

import json

import pytest

from experiments import augmentation
from experiments.augmentation import AUGMENTATIONS, Augmentation
from mtnets import OptionError
from mtnets.shipped import recipes
from mtnets.tasks import Folder


def test_augmentations_are_possible(root) -> None:
    for augment in AUGMENTATIONS.values():
        Folder(str(root / "cifar_fs.zip"), augment=augment)
    assert Augmentation.recipe in recipes.names()
    assert Augmentation(seeds=2).parts()[:4] == ["none-seed0", "flip-seed0", "flip-crop-seed0", "none-seed1"]


@pytest.mark.slow
def test_in_small(root, tmp_path, monkeypatch) -> None:
    """The seed draws the same tasks, which augmentation changes and so the losses."""
    recipe = recipes.read(Augmentation.recipe)
    recipe = recipe | {"training": recipe["training"] | {"inner_steps": 1, "log_every": 1}}
    monkeypatch.setattr(augmentation.recipes, "read", lambda name: recipe)
    experiment = Augmentation(
        ("none", "flip-crop"), seeds=1, meta_steps=2, tasks=2, devices=1, root=str(root), cache=str(tmp_path / "cache"),
        runs=str(tmp_path / "runs"), out=str(tmp_path / "out"),
    )  # fmt: skip
    experiment()
    parts = [json.loads((tmp_path / "out" / f"{name}-seed0.json").read_text()) for name in ("none", "flip-crop")]
    for part in parts:
        assert [line["step"] for line in part["validation"]] == [1, 2]
        assert all(0 <= line["accuracy"] <= 1 for line in part["validation"])
        assert part["settings"] == {"meta_steps": 2, "tasks": 2}
    assert [part["augmentation"] for part in parts] == [[], ["flip", "crop"]]
    assert all(experiment.done().values())
    records = [
        json.loads((tmp_path / "runs" / f"{name}-seed0-2" / "config.json").read_text())["tasks"]
        for name in ("none", "flip-crop")
    ]
    assert [record["augment"] for record in records] == [[], ["flip", "crop"]]


def test_bad_input(tmp_path) -> None:
    with pytest.raises(OptionError, match="augmentations holds 'mixup'; choose some of none, flip, flip-crop"):
        Augmentation(("mixup",), out=str(tmp_path))()
    with pytest.raises(OptionError, match="seeds is 0; it must be at least 1"):
        Augmentation(seeds=0, out=str(tmp_path))()
