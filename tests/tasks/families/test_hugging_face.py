"""Tasks from datasets of the package `datasets`."""

import numpy as np
import pytest

from mtnets import DataError, OptionError
from mtnets.tasks.families.hugging_face import hugging_face
from mtnets.tasks.inputs.images import Images
from samples import draw, image

datasets = pytest.importorskip("datasets", reason="Hugging Face datasets need mtnets[datasets]")

NAMES = [f"class {c}" for c in range(12)]
LABELS = np.arange(12).repeat(5).tolist()
SIZES = {"ways": 2, "shots": 1, "queries": 4}
CLASS, NUMBER = datasets.ClassLabel(names=NAMES), datasets.Value("float64")


def of(columns, **features):
    return datasets.Dataset.from_dict(columns, datasets.Features(features))


def grey(value, size=6):
    return image(size=size).convert("L").point(lambda _: value)


PICTURES = of({"image": [grey(20 * c) for c in LABELS], "label": LABELS}, image=datasets.Image(), label=CLASS)
NUMBERS = of(
    {"a": np.arange(60.0), "b": np.arange(60.0) / 7, "label": [NAMES[c] for c in LABELS]},
    a=NUMBER, b=NUMBER, label=datasets.Value("string"),
)  # fmt: skip


def names_of(x):
    """The classes that grey images are of."""
    return {NAMES[int(c)] for c in (255 * x[..., 0, 0, 0] / 20).round().ravel()}


@pytest.mark.parametrize("on_host", [False, True])
def test_images(on_host) -> None:
    family = hugging_face(PICTURES.shuffle(seed=0), **SIZES, on_host=on_host)
    for split in ("train", "validation", "test"):
        task = draw(getattr(family, split), 60)
        assert names_of(task.query.x) == set(family.classes[split])
        assert (task.query.x.reshape(60, 2, -1) == task.support.x[:, :, :1, 0, 0]).all()  # one class each
    assert sum(map(len, family.classes.values())) == 12
    assert family.inputs == Images(6, 1)


def test_images_are_read_as_files_are() -> None:
    family = hugging_face(PICTURES, **SIZES, image_size=4, channels=3, invert=True)
    task = draw(family.train, 20)
    assert task.support.x.shape == (20, 2, 4, 4, 3)
    assert names_of(1 - task.support.x) == set(family.classes["train"])
    assert family.inputs == Images(4, 3, invert=True)


def test_splits_of_their_own() -> None:
    parts = {"train": PICTURES.select(range(30)), "val": PICTURES.select(range(30, 45)), "test": PICTURES.select(range(45, 60))}  # fmt: skip # noqa: E501
    family = hugging_face(datasets.DatasetDict(parts), **SIZES)
    assert family.classes["train"] == tuple(NAMES[:6])
    assert names_of(draw(family.test, 60).query.x) == set(NAMES[9:])
    # splits that share classes, as of a set for plain classification, are one
    mixed = PICTURES.train_test_split(0.5, seed=0)
    joined = hugging_face(mixed, **SIZES)
    assert set(sum(joined.classes.values(), ())) == set(NAMES)
    assert draw(joined.train, 2).query.x.shape == (2, 8, 6, 6, 1)  # 4 queries + 1 shot: all examples of a class
    with pytest.raises(DataError, match=r"the splits train, test, of which no two share a class.*concatenate_datasets"):
        hugging_face(datasets.DatasetDict({"train": parts["train"], "test": parts["test"]}), **SIZES)
    with pytest.raises(DataError, match="two of one meaning"):
        hugging_face(datasets.DatasetDict({**parts, "valid": parts["val"]}), **SIZES)
    with pytest.raises(DataError, match="different columns"):
        hugging_face(datasets.DatasetDict({"train": PICTURES, "test": NUMBERS}), **SIZES)


def test_numbers() -> None:
    family = hugging_face(NUMBERS, **SIZES)
    x = draw(family.train, 60).query.x
    np.testing.assert_allclose(x[..., 1], x[..., 0] / 7, rtol=1e-6)
    assert {NAMES[int(a) // 5] for a in x[..., 0].ravel()} == set(family.classes["train"])
    vectors = of({"v": np.arange(180.0).reshape(60, 3), "label": LABELS}, v=datasets.Sequence(NUMBER), label=CLASS)
    assert draw(hugging_face(vectors, **SIZES).train, 1).support.x.shape == (1, 2, 3)
    both = vectors.add_column("n", list(range(60)))
    x = draw(hugging_face(both, x=["v", "n"], **SIZES).train, 1).support.x[0]
    np.testing.assert_array_equal(x[:, 0], 3 * x[:, 3])


def changed(dataset, name, value, feature=None):
    """The dataset with another value in row 7 of a column, or such a column more."""
    columns = dict(dataset[:])
    columns[name] = list(columns.get(name, [value] * 60))
    columns[name][7] = value
    return of(columns, **{**dataset.features, **({name: feature} if feature else {})})


IMAGE = datasets.Image()


@pytest.mark.parametrize(
    ("dataset", "options", "says"),
    [
        (PICTURES, {"y": "digit"}, "no column 'digit'; it has image, label"),
        (PICTURES, {"x": "picture"}, "no column 'picture'"),
        (changed(PICTURES, "mask", grey(0), IMAGE), {}, "The columns image, mask are all images; name one: x='image'"),
        (PICTURES.add_column("n", [1] * 60), {"x": ["n", "image"]}, "are an image, image, and others"),
        (changed(PICTURES, "coarse", 1, CLASS), {}, "several columns of classes, label, coarse; name one: y='label'"),
        (NUMBERS.rename_column("label", "kind"), {}, "no column of classes among a, b, kind; name one: y="),
        (changed(NUMBERS, "city", "Rome", datasets.Value("string")), {}, r"'city' holds string.* x=\['a', 'b'\]"),
        (NUMBERS.add_column("y", LABELS), {"x": "label", "y": "y"}, "'label' holds string; expected images or numbers"),
        (NUMBERS, {"y": "a"}, r"'a' holds Value\('float64'\); labels must be one class"),
        (PICTURES, {"x": "label", "y": "image"}, "'image' holds Image.*; labels must be one class"),
        (NUMBERS.add_column("y", [[1]] * 60), {"y": "y"}, "'y' holds List.*; labels must be one class"),
        (changed(NUMBERS, "a", None), {}, "Column 'a' has no value, or none that is finite, in row 7"),
        (changed(NUMBERS, "a", float("inf")), {}, "Column 'a' has no value, or none that is finite, in row 7"),
        (changed(NUMBERS, "a", None, datasets.Value("bool")), {"x": "a"}, "Column 'a' has no value.* in row 7"),
        (changed(NUMBERS, "label", None), {}, "Column 'label' has no value.* in row 7.*dataset.filter"),
        (changed(PICTURES, "label", -1), {}, "Column 'label' has no value.* in row 7"),
        (changed(PICTURES, "image", None), {}, "Column 'image' has no value.* in row 7"),
        (changed(PICTURES, "image", grey(0, 5)), {}, r"row 7 is \[5, 5, 1\] and that of row 0 \[6, 6, 1\].*image_size"),
        (changed(PICTURES, "image", {"bytes": b"GIF89a", "path": None}), {}, "row 7 in column 'image' cannot be read"),
        (of({"image": [grey(1, (4, 6))], "label": [0]}, image=IMAGE, label=CLASS), {}, "6 × 4 pixels, .* not square"),
        (of({"v": [[1.0]] * 7 + [[1.0, 2.0]], "label": [0] * 8}, v=datasets.Sequence(NUMBER), label=CLASS), {},
         r"Column 'v' has \[2\] numbers in row 7 and \[1\] in row 0"),
        (PICTURES.select([]), {}, "The dataset has no rows"),
        (PICTURES.to_iterable_dataset(), {}, "IterableDataset, a stream; load it with streaming=False"),
        ([1, 2], {}, "The dataset is a list; expected a datasets.Dataset"),
        (PICTURES, {"ways": 9}, "fewer than the 9 ways"),
    ],
)  # fmt: skip
def test_bad_data(dataset, options, says) -> None:
    with pytest.raises(DataError, match=says):
        hugging_face(dataset, **{**SIZES, **options})


def test_bad_options(monkeypatch) -> None:
    with pytest.raises(OptionError, match="x names the column of labels, 'label'"):
        hugging_face(NUMBERS, x=["a", "label"])
    with pytest.raises(OptionError, match="channels is 2"):
        hugging_face(PICTURES, channels=2)
    with pytest.raises(OptionError, match="image_size is -1"):
        hugging_face(PICTURES, image_size=-1)
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(OptionError, match=r"pip install 'mtnets\[datasets\]'"):
        hugging_face(PICTURES)
