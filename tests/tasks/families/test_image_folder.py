import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtnets.errors import DataError, OptionError
from mtnets.tasks import Folder, Images, folder
from mtnets.tasks.families import images_by_class
from mtnets.tasks.records import options_from_record, options_to_record
from samples import draw, image, png

SPLITS = ("train", "val", "test")
SIZES = {"ways": 2, "shots": 1, "queries": 1}


def files(classes: int = 3, examples: int = 4, names: tuple[str, ...] = SPLITS, **kind) -> dict[str, bytes]:
    """Distinct images in the usual layout."""
    numbers = itertools.count()
    return {
        f"{split}/{split}-{c}/{e}.png": png(image(next(numbers), **kind))
        for split in names
        for c in range(classes)
        for e in range(examples)
    }


@pytest.mark.parametrize("name", ["data", "data.zip"])
@pytest.mark.parametrize("top", ["", "some data/"])
@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_layouts(write, name: str, top: str, validation: str) -> None:
    layout = files(names=("train", validation, "test"))
    extras = {"README.md": b"read me", "__MACOSX/._1.png": b"", ".DS_Store": b"", f"{top}labels.csv": b"a,b"}
    root = write(name, {top + file: content for file, content in layout.items()} | extras)
    family = folder(root=str(root), **SIZES)
    assert family.inputs == Images(8, 3)
    assert family.classes["train"] == ("train-0", "train-1", "train-2")
    assert family.classes["validation"] == tuple(f"{validation}-{c}" for c in range(3))
    # Pixels arrive as they were written, every split with its own.
    stored = {np.asarray(image(i), np.float32).tobytes() for i in range(12, 24)}
    drawn = draw(family.validation, 200)
    seen = {np.rint(x * 255).astype(np.float32).tobytes() for x in drawn.support.x.reshape(-1, 8, 8, 3)}
    assert seen == stored
    assert not stored & {
        np.rint(x * 255).astype(np.float32).tobytes() for x in draw(family.test, 50).query.x.reshape(-1, 8, 8, 3)
    }


def test_images_of_twelve_bits_keep_their_levels(write) -> None:
    """In files of sixteen bits a pixel. The range is that of all images together."""
    rng = np.random.default_rng(0)
    grey = {name: rng.integers(0, 4096, (8, 8)).astype(np.uint16) for name in files()}
    dark = {"train/train-0/0.png": np.arange(64).reshape(8, 8).astype(np.uint16)}
    layout = {name: png(Image.fromarray(levels)) for name, levels in (grey | dark).items()}
    with pytest.warns(UserWarning, match="taken for 12-bit data, white at 4095"):
        train: Any = folder(root=str(write("data", layout)), **SIZES).train
    np.testing.assert_array_equal(train.pixels[0, 0, ..., 0], dark["train/train-0/0.png"] >> 4)
    np.testing.assert_array_equal(train.pixels[1, 0, ..., 0], grey["train/train-1/0.png"] >> 4)
    mixed = write("mixed", layout | {"train/train-1/0.png": png(image(mode="L"))})
    with pytest.raises(DataError, match=r"0\.png has 16 bits a pixel, train/train-1/0\.png 8; save all with 8 bits"):
        folder(root=str(mixed), **SIZES)


@pytest.mark.parametrize("name", ["data", "data.zip", "around"])
def test_class_folders_alone_are_split_by_shares(write, name: str) -> None:
    top = "all/" if name == "around" else ""
    layout = {
        f"{top}class-{c}/{'deeper/' * (e % 2)}{e}.png": png(image(9 * c + e)) for c in range(10) for e in range(4)
    }
    root = str(write(name, layout | {f"{top}README.md": b"read me"}))
    with pytest.raises(
        DataError, match=r"no images in train and val and test; .*, or, .* a class.*: splits=\(0.6, 0.2, 0.2\)"
    ):
        folder(root=root, **SIZES)
    options = Folder(root, splits=(0.6, 0.2, 0.2), **SIZES)
    family = options.build()
    assert {part: len(names) for part, names in family.classes.items()} == {"train": 6, "validation": 2, "test": 2}
    assert sorted(sum(family.classes.values(), ())) == [f"class-{c}" for c in range(10)]
    # pixels are those of their class
    stored = {c: {np.asarray(image(9 * c + e)).tobytes() for e in range(4)} for c in range(10)}
    test: Any = family.test
    for images, of_class in zip(np.asarray(test.pixels).reshape(2, 4, -1), family.classes["test"], strict=True):
        assert {each.tobytes() for each in images} == stored[int(of_class[-1])]
    # the same again, also from a record; another seed splits otherwise
    again = options_from_record(json.loads(json.dumps(options_to_record(options))))
    assert again == options
    assert again.build().classes == family.classes
    assert Folder(root, splits=(3, 1, 1), split_seed=1, **SIZES).build().classes != family.classes


@pytest.mark.parametrize(
    ("layout", "splits", "error", "message"),
    [
        (
            files(),
            (0.6, 0.2, 0.2),
            DataError,
            "the folders test, train, val, which split its classes; leave out splits=",
        ),
        (files(names=("a", "b")), (0.6, 0.2, 0.2), DataError, "has 2 class folders with images"),
        (files(names=("a", "b", "c")) | {"1.png": png(image())}, (1, 1, 1), DataError, "1.png is in no class folder"),
        ({}, (0.6, 0.2, 0.2), DataError, "has 0 class folders"),
        (files(), (0.6, 0.4, 0.0), OptionError, "validation and test: splits=(0.6, 0.2, 0.2)"),
        (files(names=("a", "b", "c")), (0.6, 0.2, 0.2), DataError, "1 train classes, fewer than the 2 ways"),
    ],
)
def test_class_folders_that_cannot_be_split(write, layout, splits, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        folder(root=str(write("data", {".keep": b""} | layout)), splits=splits, **SIZES)
    assert message in str(raised.value)


def test_classes_of_unequal_size(write) -> None:
    layout = files() | {f"train/train-0/more-{i}.png": png(image(100 + i)) for i in range(5)}
    family = folder(root=str(write("data", layout)), **SIZES)
    train: Any = family.train
    np.testing.assert_array_equal(train.counts, [9, 4, 4])


def test_size_channels_and_inversion(write) -> None:
    root = write("data", files(size=(9, 12)))
    family = folder(root=str(root), image_size=6, channels=1, invert=True, **SIZES)
    assert family.inputs == Images(6, 1, invert=True)
    assert draw(family.train, 2).support.x.shape == (2, 2, 6, 6, 1)


def test_the_second_time_comes_from_the_cache(write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = write("data", files())
    before = sorted(root.rglob("*"))
    first = draw(folder(root=str(root), **SIZES).train, 3).support.x
    assert sorted(root.rglob("*")) == before
    decoded: list[str] = []
    decode = Folder._read
    monkeypatch.setattr(Folder, "_read", lambda self, archive: decoded.append("again") or decode(self, archive))
    np.testing.assert_array_equal(draw(folder(root=str(root), **SIZES).train, 3).support.x, first)
    assert not decoded
    # Damaged in any way, it is made again; so it is when the images change.
    (array,) = (tmp_path / "cache").glob("*.npy")
    for damage in (b"", b"PK\x03\x04", array.read_bytes()[:-10], array.read_bytes()[:-1] + b"\x00"):
        array.write_bytes(damage)
        np.testing.assert_array_equal(draw(folder(root=str(root), **SIZES).train, 3).support.x, first)
    assert len(decoded) == 4
    (root / "train" / "train-0" / "0.png").write_bytes(png(image(999)))
    folder(root=str(root), **SIZES)
    assert len(decoded) == 5
    assert not list((tmp_path / "cache").glob(".*"))  # no temporary files left


Change = Callable[[dict[str, bytes]], dict[str, bytes]]


@pytest.mark.parametrize("name", ["data", "data.zip"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda of: {f: c for f, c in of.items() if "val/" not in f},
            "no images in val; expected train/CLASS",
        ),
        (lambda of: {}, "no images in train and val and test"),
        (lambda of: {"1.png": png(image())}, "no images in train and val and test"),
        (lambda of: of | {"test/train-1/0.png": png(image())}, "train-1 both in train and in test"),
        (lambda of: of | {"valid/x/0.png": png(image())}, "two folders for validation, val and valid"),
        (lambda of: of | {"test/0.png": png(image())}, "test/0.png is in no class folder"),
        (
            lambda of: of | {"test/test-1/9.png": png(image(size=9))},
            "not alike: train/train-0/0.png is 8×8 RGB, test/test-1/9.png is 9×9 RGB; make them alike: image_size=...",
        ),
        (
            lambda of: of | {"test/test-1/9.png": png(image(mode="L"))},
            "train/train-0/0.png is 8×8 RGB, test/test-1/9.png is 8×8 grey; make them alike: channels=...",
        ),
        (lambda of: of | {"test/test-1/9.png": b"no image"}, "test/test-1/9.png cannot be read"),
        (lambda of: of | {"val/val-1/9.jpg": png(image(size=64))[:2000]}, "val/val-1/9.jpg cannot be read"),
        (
            lambda of: {f: c for f, c in of.items() if "test/" not in f or "test-0" in f},
            "1 test classes, fewer than the 2 ways",
        ),
    ],
)
def test_data_that_cannot_be_used(write, name: str, change: Change, message: str) -> None:
    root = write(name, {".keep": b""} | change(files()))
    with pytest.raises(DataError) as raised:
        folder(root=str(root), **SIZES)
    assert message in str(raised.value)


def test_images_that_are_not_square(write) -> None:
    with pytest.raises(DataError, match=r"train/train-0/0\.png is 9×8 RGB, not square.*image_size="):
        folder(root=str(write("data", files(size=(9, 8)))), **SIZES)


def test_too_few_examples(write) -> None:
    with pytest.raises(DataError, match=r"train-0 has 4 examples, fewer than 3 shots [+] 2 queries"):
        folder(root=str(write("data", files())), ways=2, shots=3, queries=2)


@pytest.mark.parametrize("options", [{"image_size": -1}, {"channels": 2}, {"ways": 1}, {"queries": 0}])
def test_impossible_options(options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="must be"):
        folder(root="anything", **options)


def test_recipe_is_that_of_miniimagenet(write) -> None:
    recipe = folder(root=str(write("data", files())), **SIZES).recipe
    assert (recipe.inner_lr, recipe.inner_steps, recipe.meta_batch, recipe.meta_steps) == (0.05, 5, 4, 60_000)


def test_images_that_do_not_fit_in_memory(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_by_class, "memory", lambda: 1000)
    with pytest.raises(DataError, match=r"The images in .*data need 0 GiB, and this machine has 0 GiB; make"):
        folder(root=str(write("data", files())), **SIZES)
