"""Each augmentation beside its definition in NumPy, on images whose pixels all differ."""

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from mtnets.errors import OptionError
from mtnets.tasks import AUGMENTATIONS, Images
from mtnets.tasks.sampling.augmentations import (
    GREY,
    Augmentation,
    Colour,
    Crop,
    Erase,
    Flip,
    Rotate,
    augmentations_of,
    rotated,
)

IMAGE = np.random.default_rng(0).uniform(0.1, 0.9, (8, 8, 3)).astype(np.float32)
DRAWS = 200
QUARTERS = np.arange(4) * np.float32(np.pi / 2)
LINE = np.zeros((9, 9, 1), np.float32)
LINE[4, 5:] = 1  # from the centre to the right
ON: dict[str, tuple[Augmentation, np.ndarray]] = {
    **{name: (kind(), IMAGE) for name, kind in AUGMENTATIONS.items()},
    "always": (Flip(probability=1.0), IMAGE),
    "no margin": (Crop(padding=0), IMAGE),
    "margin of 1": (Crop(padding=1), IMAGE),
    "no turn": (Rotate(degrees=0.0), IMAGE),
    "a line": (Rotate(degrees=30.0), LINE),
    "brightness": (Colour(0.5, 0.0, 0.0), IMAGE),
    "contrast": (Colour(0.0, 0.5, 0.0), IMAGE),
    "saturation": (Colour(0.0, 0.0, 0.5), IMAGE),
    "ink": (Colour(0.0, 0.5, 0.0), IMAGE[..., :1]),
    "rectangle": (Erase(area=(0.1, 0.4), aspect=(0.5, 2.0)), np.ones((20, 20, 1), np.float32)),
    "cutout": (Erase(probability=1.0, area=(0.25, 0.25), aspect=(1.0, 1.0)), IMAGE),
}


@pytest.fixture(scope="module")
def changed() -> dict[str, np.ndarray]:
    """Each of these images by many keys, `[draws, height, width, channels]`, and more; from one program."""

    @jax.jit
    def all_of_them() -> dict[str, jax.Array]:
        keys = jax.random.split(jax.random.key(0), DRAWS)
        images = {name: jax.vmap(augmentation, (0, None))(keys, image) for name, (augmentation, image) in ON.items()}
        flip = ON["always"][0]
        twice = jax.vmap(lambda key, image: flip(key, flip(key, image)), (0, None))(keys, IMAGE)
        factors = 1 + 0.4 * jax.vmap(lambda key: jax.random.uniform(key, (3,), minval=-1.0))(keys)
        quarters = jax.vmap(rotated, (None, 0))(IMAGE, QUARTERS)
        return images | {"twice": twice, "factors": factors, "quarters": quarters}

    return jax.tree.map(np.asarray, all_of_them())


Changed = dict[str, np.ndarray]


def test_flip_half_of_the_time_and_twice_is_the_identity(changed: Changed) -> None:
    mirrored = (changed["flip"] == IMAGE[:, ::-1]).all((1, 2, 3))
    assert (mirrored | (changed["flip"] == IMAGE).all((1, 2, 3))).all()
    assert abs(mirrored.mean() - 0.5) < 5 * np.sqrt(0.25 / DRAWS)
    assert (changed["always"] == IMAGE[:, ::-1]).all()
    assert (changed["twice"] == IMAGE).all()


def test_crop_is_a_window_on_the_image_with_a_margin(changed: Changed) -> None:
    assert (changed["no margin"] == IMAGE).all()
    padded = np.pad(IMAGE, ((1, 1), (1, 1), (0, 0)))
    windows = np.stack([padded[top : top + 8, left : left + 8] for top in range(3) for left in range(3)])
    which = (changed["margin of 1"][:, None] == windows).all((2, 3, 4))
    assert (which.sum(1) == 1).all()
    assert which.any(0).all()  # every window turns up


def test_rotate_about_the_centre(changed: Changed) -> None:
    for quarters in range(4):
        turned, expected = changed["quarters"][quarters], np.rot90(IMAGE, quarters)
        # on the border, rounding puts a place outside by a millionth of a pixel
        np.testing.assert_allclose(turned[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-5)
    assert (changed["no turn"] == IMAGE).all()
    down, right = np.mgrid[-4:5, -4:5]
    ink = changed["a line"][..., 0]
    angles = np.degrees(np.arctan2(-(ink * down).sum((1, 2)), (ink * right).sum((1, 2))))
    assert -31 < angles.min() < -27
    assert 27 < angles.max() < 31


def luminance(image: np.ndarray) -> np.ndarray:
    return (image @ GREY)[..., None]


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "ink"])
def test_colour_moves_an_image_away_from_its_centre(name: str, changed: Changed) -> None:
    """The image says by which factor; factors lie within the bounds, and fill them."""
    image = ON[name][1]
    grey = image if name == "ink" else luminance(image)
    centre = {"brightness": np.zeros(()), "saturation": grey}.get(name, grey.mean())
    inside = ((changed[name] > 0) & (changed[name] < 1)).all((1, 2, 3))  # where nothing was cut off
    away = image - centre
    factors = ((changed[name] - centre) * away).sum((1, 2, 3)) / (away**2).sum()
    expected = centre + factors[:, None, None, None] * away
    np.testing.assert_allclose(changed[name][inside], expected[inside], atol=1e-5)
    assert 0.5 - 1e-5 < factors[inside].min() < 0.6
    assert factors[inside].max() > 1
    assert factors.max() < 1.5 + 1e-5


def test_all_of_colour_in_its_order(changed: Changed) -> None:
    for image, (b, c, s) in zip(changed["colour"], changed["factors"], strict=True):
        expected = np.clip(b * IMAGE, 0, 1)
        mean = luminance(expected).mean()
        expected = np.clip(mean + c * (expected - mean), 0, 1)
        grey = luminance(expected)
        np.testing.assert_allclose(image, np.clip(grey + s * (expected - grey), 0, 1), atol=1e-5)


def test_erase_leaves_all_outside_of_a_rectangle(changed: Changed) -> None:
    images, sides = changed["rectangle"][..., 0], []
    assert set(np.unique(images)) == {0, 1}
    for image in images:
        rows, columns = (image == 0).any(1), (image == 0).any(0)
        np.testing.assert_array_equal(image == 0, rows[:, None] & columns)
        for line in (rows, columns):
            assert np.abs(np.diff(line.astype(int))).sum() <= 2  # in one piece
        if rows.any():
            sides.append((rows.sum(), columns.sum()))
    assert abs(len(sides) / DRAWS - 0.5) < 5 * np.sqrt(0.25 / DRAWS)
    height, width = np.array(sides, float).T
    assert 0.07 < (height * width / 400).min() < 0.15
    assert 0.3 < (height * width / 400).max() < 0.45
    assert 0.4 < (height / width).min() < 0.7
    assert 1.5 < (height / width).max() < 2.5


def test_cutout_is_a_square_of_half_the_side(changed: Changed) -> None:
    images = changed["cutout"]
    assert ((images == 0).sum((1, 2, 3)) == 4 * 4 * 3).all()
    assert ((images == 0) | (images == IMAGE)).all()
    assert len({image.tobytes() for image in images}) == 25  # every place


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_what_all_have_in_common(name: str, changed: Changed) -> None:
    """Numbers from 0 to 1 of the same shape and type, and something new for other keys."""
    images = changed[name]
    assert (images.shape, images.dtype) == ((DRAWS, *IMAGE.shape), IMAGE.dtype)
    assert images.min() >= 0
    assert images.max() <= 1
    assert len({image.tobytes() for image in images}) > 1
    (augmentation,) = augmentations_of([name])
    assert augmentation == AUGMENTATIONS[name]()
    augmentation.check(Images(8, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: augmentations_of(["flop"]), "There is no augmentation 'flop'; perhaps 'flip' is meant"),
        (lambda: augmentations_of(["crop(pad=2)"]), "The augmentation crop has no option 'pad'; perhaps 'padding'"),
        (lambda: augmentations_of(["crop(2)"]), "'crop(2)' cannot be read; write its options as name=value, such as"),
        (lambda: augmentations_of(["crop(padding=1.5)"]), "padding is 1.5; it must be a whole number"),
        (lambda: augmentations_of(["crop(padding=-1)"]), "padding is -1; it must be at least 0 pixels"),
        (lambda: augmentations_of(["flip(probability=2)"]), "probability is 2; it must be a number from 0 to 1"),
        (lambda: augmentations_of(["rotate(degrees=181)"]), "degrees is 181; it must be from 0 to 180"),
        (lambda: augmentations_of(["rotate(degrees=1e999)"]), "degrees is inf; it must be from 0 to 180"),
        (lambda: augmentations_of(["colour(contrast=-1)"]), "contrast is -1; it must be a number from 0 to 1"),
        (lambda: augmentations_of(["erase(area=(0.5, 0.1))"]), "area is (0.5, 0.1); it must be two rising numbers"),
        (lambda: augmentations_of(["erase(area=(0.5, 2.0))"]), "above 0 and at most 1"),
        (lambda: augmentations_of(["erase(aspect=(0.0, 1.0))"]), "aspect is (0.0, 1.0); it must be two rising"),
        (lambda: augmentations_of(["erase(aspect=(1.0, 1e999))"]), "aspect is (1.0, inf); it must be two rising"),
        (lambda: augmentations_of(["erase(area=0.5)"]), "area is 0.5; it must be (a number, a number)"),
        (lambda: Crop(padding=8).check(Images(8, 3)), "padding is 8, and a window could miss images of 8 pixels"),
        (lambda: Colour().check(Images(8, 1)), "saturation is 0.4, and images of one channel have none; write colour("),
    ],
)
def test_what_cannot_be_is_one_sentence(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(OptionError, match=re.escape(words)):
        call()
