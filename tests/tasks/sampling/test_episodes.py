import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets.errors import DataError, OptionError
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.episodes import Episodes, turn
from samples import draw

TINY = Images(1, 3)


def numbered(counts: list[int]) -> dict[str, np.ndarray]:
    """Images of one pixel that says class and example: (class, example, 255)."""
    return {f"class {c}": np.array([[[[c, e, 255]]] for e in range(count)], np.uint8) for c, count in enumerate(counts)}


def read(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class and example of such images."""
    pixels = np.rint(x * 255).astype(int)
    assert (pixels[..., 0, 0, 2] == 255).all()  # never padding
    return pixels[..., 0, 0, 0], pixels[..., 0, 0, 1]


def test_a_task_is_made_of_distinct_classes_and_distinct_examples() -> None:
    counts = [5, 9, 6, 5, 7, 20, 5]
    episodes = Episodes.of(numbered(counts), TINY, ways=4, shots=2, queries=3)
    support, query = draw(episodes, 500)
    assert (support.x.shape, support.x.dtype) == ((500, 8, 1, 1, 3), np.float32)
    assert query.x.shape == (500, 12, 1, 1, 3)
    assert support.y.dtype == np.int32
    np.testing.assert_array_equal(support.y, np.tile(np.repeat(np.arange(4), 2), (500, 1)))
    np.testing.assert_array_equal(query.y, np.tile(np.repeat(np.arange(4), 3), (500, 1)))
    (classes, examples), (query_classes, query_examples) = read(support.x), read(query.x)
    for task in range(500):
        of_label = [set(classes[task][support.y[task] == label]) for label in range(4)]
        assert of_label == [set(query_classes[task][query.y[task] == label]) for label in range(4)]
        assert all(len(each) == 1 for each in of_label)
        assert len(set.union(*of_label)) == 4
        drawn = [*zip(classes[task], examples[task], strict=True)]
        drawn += zip(query_classes[task], query_examples[task], strict=True)
        assert len(set(drawn)) == 4 * (2 + 3)
    # Every class and every example turns up, each class as often in each place.
    assert set(zip(classes.ravel(), examples.ravel(), strict=True)) == {
        (c, e) for c, count in enumerate(counts) for e in range(count)
    }


def test_classes_and_examples_are_drawn_evenly() -> None:
    episodes = Episodes.of(numbered([4] * 10), TINY, ways=3, shots=1, queries=1)
    tasks = 6000
    classes, examples = read(draw(episodes, tasks).support.x)
    for place in range(3):
        shares = np.bincount(classes[:, place], minlength=10) / tasks
        np.testing.assert_allclose(shares, 0.1, atol=5 * np.sqrt(0.1 * 0.9 / tasks))
    shares = np.bincount(examples[:, 0], minlength=4) / tasks
    np.testing.assert_allclose(shares, 0.25, atol=5 * np.sqrt(0.25 * 0.75 / tasks))


def test_a_key_is_a_task() -> None:
    episodes = Episodes.of(numbered([30] * 30), TINY, ways=5, shots=1, queries=2)
    np.testing.assert_array_equal(draw(episodes, 3, seed=1).query.x, draw(episodes, 3, seed=1).query.x)
    assert (draw(episodes, 3, seed=1).query.x != draw(episodes, 3, seed=2).query.x).any()


def test_images_are_leaves_and_settings_are_not() -> None:
    episodes = Episodes.of(numbered([5] * 5), TINY, ways=3, shots=1, queries=1)
    leaves = jax.tree.leaves(episodes)
    assert [leaf.dtype for leaf in leaves] == [jnp.uint8, jnp.int32]
    again = jax.tree.unflatten(jax.tree.structure(episodes), leaves)
    assert type(again) is type(episodes)
    for field in dataclasses.fields(episodes):
        assert getattr(again, field.name) is getattr(episodes, field.name)


def test_drawn_classes_are_turned_as_one() -> None:
    images = Images(4, 1)
    upright = np.zeros((6, 4, 4, 1), np.uint8)
    upright[:, 0, 1] = 255
    classes = {str(c): upright for c in range(5)}
    episodes = Episodes.of(classes, images, ways=3, shots=1, queries=2, rotations=True)
    support, query = draw(episodes, 300)
    turned = np.stack([np.rot90(upright[0], k) / 255 for k in range(4)])
    quarters = (support.x[:, :, None] == turned).all((-3, -2, -1))
    assert (quarters.sum(-1) == 1).all()
    np.testing.assert_array_equal(query.x.reshape(300, 3, 2, 4, 4, 1), np.repeat(support.x[:, :, None], 2, axis=2))
    shares = quarters.mean((0, 1))
    np.testing.assert_allclose(shares, 0.25, atol=5 * np.sqrt(0.25 * 0.75 / 900))
    # The classes of one task turn independently.
    assert len({tuple(row) for row in quarters.argmax(-1)}) == 4**3


def test_turning_is_counter_clockwise() -> None:
    pixels = jnp.arange(9).reshape(1, 3, 3, 1)
    for quarters in range(4):
        np.testing.assert_array_equal(turn(pixels, jnp.array(quarters))[0], np.rot90(pixels[0], quarters))


def test_too_few_classes() -> None:
    with pytest.raises(DataError, match=r"4 test classes, fewer than the 5 ways.*at most 4 ways"):
        Episodes.of(numbered([20] * 4), TINY, ways=5, split="test")


def test_too_few_examples() -> None:
    with pytest.raises(DataError, match=r"class 1 has 4 examples, fewer than 2 shots [+] 3 queries; use fewer"):
        Episodes.of(numbered([5, 4, 5]), TINY, ways=2, shots=2, queries=3)


def test_images_of_another_shape() -> None:
    with pytest.raises(DataError, match=r"class 0 is uint8 \[5, 1, 1, 3\]; expected uint8 \[examples, 2, 2, 3\]"):
        Episodes.of(numbered([5, 5]), Images(2, 3), ways=2, shots=1, queries=1)


@pytest.mark.parametrize("sizes", [{"ways": 1}, {"shots": 0}, {"queries": -1}])
def test_impossible_sizes(sizes: dict[str, int]) -> None:
    name, value = next(iter(sizes.items()))
    with pytest.raises(OptionError, match=f"{name} is {value}; it must be at least"):
        Episodes.of(numbered([20] * 5), TINY, **sizes)
