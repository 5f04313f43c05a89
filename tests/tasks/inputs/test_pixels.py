"""Arrays of pixels of any type and size."""

import numpy as np
import pytest
from PIL import Image

from mtnets.errors import DataError
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.inputs.pixels import pixels_of, resized

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
TYPES = ["uint8", "uint16", ">u2", "int16", "int64", "uint64", "float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("invert", [False, True])
def test_pixels_of_any_type_are_the_same(dtype: str, invert: bool) -> None:
    images = Images(8, 1, invert)
    expected = images.scale(images.prepare(PIXELS))
    np.testing.assert_array_equal(images.scale(images.prepare(PIXELS.astype(dtype))), expected)
    for layout in (PIXELS[..., 0], PIXELS.transpose(0, 3, 1, 2)):  # without channels, and with channels first
        np.testing.assert_array_equal(images.scale(images.prepare(layout.astype(dtype))), expected)


def test_truth_values_are_black_and_white() -> None:
    dark = PIXELS > 99
    np.testing.assert_array_equal(Images(8, 1).prepare(dark), np.where(dark, 255, 0))


def test_fractions_are_inputs_already() -> None:
    x = (PIXELS / 255).astype(np.float32)
    for images in (Images(8, 1), Images(8, 1, invert=True)):
        np.testing.assert_array_equal(images.scale(images.prepare(x)), x)
    np.testing.assert_array_equal(Images(8, 1).prepare(PIXELS) / np.float32(255), x)


def test_light_paper_is_no_input_of_an_inverted_learner() -> None:
    ink = np.full((2, 8, 8, 1), 0.1)
    paper = 1 - ink
    np.testing.assert_array_equal(Images(8, 1).prepare(paper), paper)
    with pytest.raises(DataError, match=r"x \(float64\) is 0.90 on average; .* Pass the pixels: x \* 255"):
        Images(8, 1, invert=True).prepare(paper)
    np.testing.assert_array_equal(Images(8, 1, invert=True).prepare(ink), ink)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (PIXELS.astype(np.uint16) * 257, r"x \(uint16\) goes from .* to 65535; .* 16-bit grey levels, .* >> 8"),
        (PIXELS.astype(np.int32) * 16, r"12-bit grey levels, \(x.astype\(int\) >> 4\)"),
        (PIXELS.astype(np.int64) * 1000, "as they were before they were centred or scaled"),
        ((PIXELS / 255 - 0.5) * 2, r"goes from -1 to 1; images are pixels 0 … 255 .* before they were centred"),
        (PIXELS / 250, r"to 1\.02; .* x\.clip\(0, 1\)"),
        (PIXELS.repeat(5, 3), r"shape \(3, 8, 8, 5\); expected .* 1 to 4 channels"),
        (
            PIXELS[:, :6] / 255,
            r"shape \(3, 6, 8, 1\) and fractions .* must be \(examples, 8, 8, 1\); pixels .* x \* 255",
        ),
    ],
)
def test_what_is_no_image_gets_a_sentence(x: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Images(8, 1).prepare(x)


def test_nearly_black_whole_numbers_are_pointed_out() -> None:
    with pytest.warns(UserWarning, match="no pixel above 1 of 255 and is nearly black; .* x.astype"):
        np.testing.assert_array_equal(pixels_of(PIXELS // 128), PIXELS // 128)
    assert pixels_of(np.zeros((1, 8, 8, 1), int)) is not None  # a black image


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_images_of_another_size_are_resized_as_files_are(channels: int, mode: str, tmp_path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 11, 9, channels)).astype(np.uint8)
    for name, each in zip("ab", pixels, strict=True):
        picture = Image.fromarray(each[..., 0] if mode == "L" else each)
        assert picture.mode == mode
        picture.save(tmp_path / f"{name}.png")
    for images in (Images(8, 1), Images(8, 3), Images(8, 1, resize="nearest")):
        files = images.read_all([tmp_path / "a.png", tmp_path / "b.png"])
        np.testing.assert_array_equal(resized(pixels, images.size, images.channels, images.resize), files)
        np.testing.assert_array_equal(images.prepare(pixels), files)
        np.testing.assert_array_equal(images.prepare(pixels.astype(np.float64)), files)


def test_lists_of_images_of_several_sizes() -> None:
    large = Image.fromarray(PIXELS[0, ..., 0]).resize((16, 16), Image.Resampling.NEAREST)
    mixed = Images(8, 1).prepare([large, PIXELS[1], PIXELS[2, ..., 0]])
    np.testing.assert_array_equal(mixed[1:], PIXELS[1:])
    assert mixed.shape == (3, 8, 8, 1)
