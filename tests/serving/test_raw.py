"""What requests hold as a learner takes it."""

import base64
import dataclasses
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import mtnets
from mtnets import DataError, OptionError
from mtnets.serving.limits import Limits
from mtnets.serving.raw import check_served, joined, named_classes, to_raw, to_targets
from mtnets.tasks.inputs.cells import cells_of
from mtnets.tasks.inputs.table_inputs import TableInputs

LIMITS = Limits(pixels=10_000, examples=4)
ROWS = [{"age": 3, "town": "Bonn", "score": 1.5}, {"age": 4, "town": "Ulm", "score": 2.5}]


@pytest.fixture(scope="module")
def drawings():
    return mtnets.load("omniglot-any-way-1shot")


@pytest.fixture(scope="module")
def table():
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    inputs = TableInputs.of(cells_of(columns), ["age", "town"], "score", "task")
    return dataclasses.replace(mtnets.load("tabular-regression"), inputs=inputs)


def file_of(image: Image.Image, kind: str = "PNG") -> str:
    content = io.BytesIO()
    image.save(content, kind)
    return base64.b64encode(content.getvalue()).decode()


def png(width: int, height: int) -> str:
    """The head of an image that says it is so large, and nothing else."""
    content = b"\x89PNG\r\n\x1a\n"
    for chunk in (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(b"")):
        content += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return base64.b64encode(content).decode()


def test_images_are_read_as_files_are(drawings) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40), np.uint8)
    image = Image.fromarray(pixels)
    x = to_raw(drawings, [file_of(image), f"data:image/png;base64,{file_of(image)}"], LIMITS)
    expected = np.asarray(image.resize((28, 28), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(x, np.stack([expected, expected])[..., None])
    numbers = to_raw(drawings, [pixels.tolist()], LIMITS)
    assert numbers.shape == (1, 50, 40)


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ("no base64!", r"x\[0\] is no base64"),
        ("aaaa", r"x\[0\] is no image that can be read"),
        (png(101, 100), r"x\[0\] has 10100 pixels; at most 10000 are read"),
        (png(60_000, 60_000), r"x\[0\] (has \d+ pixels|is no image)"),
        (png(9, 9), r"Image x\[0\] cannot be read"),
        (file_of(Image.fromarray(np.full((9, 9), 40_000, np.uint16))), r"x\[0\] has 16 bits a pixel; save it with 8"),
    ],
)
def test_images_that_are_none(drawings, item, sentence) -> None:
    with pytest.raises(DataError, match=sentence):
        to_raw(drawings, [item], LIMITS)


def test_images_of_two_forms(drawings) -> None:
    with pytest.raises(DataError, match=r"x\[1\] is \[\[0\]\]; send all images as base64, or all as nested numbers"):
        to_raw(drawings, [file_of(Image.new("L", (9, 9))), [[0]]], LIMITS)
    with pytest.raises(DataError, match="x has 5 examples; send at most 4"):
        to_raw(drawings, [0] * 5, LIMITS)


def test_rows_of_a_table(table) -> None:
    x = to_raw(table, [*ROWS, {"age": None, "more": True}], LIMITS)
    assert x == {
        "age": [3, 4, None],
        "town": ["Bonn", "Ulm", None],
        "score": [1.5, 2.5, None],
        "more": [None, None, True],
    }
    both = joined(x, to_raw(table, [{"age": 5, "year": 1}], LIMITS))
    assert both["age"] == [3, 4, None, 5]
    assert both["year"] == [None, None, None, 1]
    assert to_targets(table, None, None, 2) is None
    for row, sentence in ((3, r"x\[0\] is 3; send each row as an object"), ({"age": [1]}, r"x\[0\]\['age'\] is \[1\]")):
        with pytest.raises(DataError, match=sentence):
            to_raw(table, [row], LIMITS)


def test_several_inputs() -> None:
    class Both:
        named, shared_classes = False, False

    @dataclasses.dataclass
    class Like:
        shape: tuple[int, ...]

    class Network:
        takes_several, input_shape = True, {"image": (2,), "age": (1,)}
        inputs = {"age": 0.0, "image": 0.0}  # noqa: RUF012

    learner = dataclasses.make_dataclass("Two", ["model", "inputs"])(Network(), Both())
    x = to_raw(learner, [{"image": [1, 2], "age": [3]}, {"age": [6], "image": [4, 5]}], LIMITS)
    np.testing.assert_array_equal(x["image"], [[1, 2], [4, 5]])
    np.testing.assert_array_equal(x["age"], [[3], [6]])
    with pytest.raises(DataError, match=r"x is of another form than .*; send that"):
        to_raw(learner, [{"image": [1, 2]}], LIMITS)


def test_names_of_classes() -> None:
    assert named_classes(["b", "a", "b"], 2) == ("a", "b")
    assert named_classes([10, 9], 2) == (9, 10)
    with pytest.raises(DataError, match="y has 3 classes; send at most 2"):
        named_classes(["a", "b", "c"], 2)


def test_examples_of_another_form() -> None:
    with pytest.raises(DataError, match="x is of another form"):
        joined(np.zeros((1, 2)), np.zeros((1, 3)))


def test_a_learner_of_dense_labels_is_not_served(drawings, monkeypatch) -> None:
    monkeypatch.setattr(type(drawings.criterion.inner_loss), "shape_of_targets", lambda *_: (28, 28))
    with pytest.raises(OptionError, match=r"labels of the shape \(28, 28\) for each example"):
        check_served(drawings)
