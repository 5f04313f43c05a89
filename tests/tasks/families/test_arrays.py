"""Tasks from arrays with labels."""

import jax
import numpy as np
import pytest

import mtnets
from mtnets import DataError, OptionError
from mtnets.tasks import Images, arrays
from mtnets.tasks.sampling.host_callback import surfacing
from samples import draw

# example i of class c is (c, i): its label and place can be read off it; class 3 is larger
SIZES = [6 + 4 * (c == 3) for c in range(20)]
X = np.array([(c, i) for c, size in enumerate(SIZES) for i in range(size)], np.float64)
LABELS = np.array([f"class {int(c):02d}" for c, _ in X])


def test_tasks_are_of_distinct_classes_and_examples() -> None:
    order = np.random.default_rng(0).permutation(len(X))
    family = arrays(X[order], LABELS[order], ways=3, shots=2, queries=4)
    seen = {}
    for split in ("train", "validation", "test"):
        task = draw(getattr(family, split), 200)
        assert task.support.x.shape == (200, 6, 2)
        assert task.query.x.shape == (200, 12, 2)
        np.testing.assert_array_equal(task.support.y[0], [0, 0, 1, 1, 2, 2])
        for support, query in zip(task.support.x, task.query.x, strict=True):
            both = np.concatenate([support.reshape(3, 2, 2), query.reshape(3, 4, 2)], 1)
            assert (both[..., 0] == both[:, :1, 0]).all()  # one class each
            assert len(set(both[:, 0, 0])) == 3
            assert all(len(set(each[:, 1])) == 6 for each in both)
        seen[split] = {f"class {int(c):02d}" for c in task.support.x[..., 0].ravel()}
        assert seen[split] == set(family.classes[split])
    assert [len(family.classes[split]) for split in seen] == [13, 3, 4]
    assert not seen["train"] & seen["test"] | seen["train"] & seen["validation"] | seen["validation"] & seen["test"]
    large = next(split for split in seen if "class 03" in seen[split])
    task = draw(getattr(family, large), 200)
    assert task.query.x[..., 1].max() == 9  # all examples of a larger class are drawn


@pytest.mark.slow
def test_a_learner_of_vectors(tmp_path) -> None:
    family = arrays(X, LABELS, ways=3, shots=2, queries=2)
    learner = mtnets.meta_train(None, mtnets.mt_net(), family, meta_steps=2, validate_every=0, progress=False)
    assert learner.adapt(X[:6], np.array([0, 0, 1, 1, 2, 2])).probabilities(X[:4]).shape == (4, 3)
    images = arrays(np.zeros((len(X), 4, 4)), LABELS, ways=2, shots=1, queries=1)
    with pytest.raises(OptionError, match="need a network of yours"):
        mtnets.meta_train(None, mtnets.mt_net(), images, meta_steps=1)


class Increasing:
    """An array that, as h5py's, is indexed by increasing rows alone, and never read whole."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        assert len(rows) < len(self.array)
        assert (np.diff(rows) > 0).all()
        return self.array[rows]


@pytest.mark.parametrize("kind", ["memmap", "increasing rows"])
def test_tasks_from_the_disk_are_the_same(kind, tmp_path) -> None:
    order = np.random.default_rng(0).permutation(len(X))
    x, y = X[order], LABELS[order]
    np.save(tmp_path / "x.npy", x)
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r") if kind == "memmap" else Increasing(x)
    sizes = {"ways": 3, "shots": 2, "queries": 4}
    on_host = arrays(on_disk, y, **sizes, on_host=None if kind == "memmap" else True)  # type: ignore[arg-type]
    in_memory = arrays(x, y, **sizes)
    assert all(leaf.ndim < 2 for leaf in jax.tree.leaves(on_host.train))  # x is none of the leaves
    for split in ("train", "validation", "test"):
        jax.tree.map(
            np.testing.assert_array_equal, draw(getattr(on_host, split), 5), draw(getattr(in_memory, split), 5)
        )
    one = jax.jit(lambda tasks: tasks.sample(jax.random.key(3)))
    jax.tree.map(np.testing.assert_array_equal, one(on_host.train), one(in_memory.train))


@pytest.mark.slow
def test_a_learner_of_what_is_on_the_disk(tmp_path) -> None:
    on_disk = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, X.shape)
    on_disk[:] = X
    scores = []
    for x in (on_disk, X):
        family = arrays(x, LABELS, ways=2, shots=1, queries=1)
        learner = mtnets.meta_train(
            None, mtnets.maml(), family, meta_steps=2, meta_batch=2, inner_steps=1, validate_every=0, progress=False
        )
        scores.append(mtnets.evaluate(learner, family, num_tasks=4).losses)
    np.testing.assert_array_equal(*scores)

    on_disk[5] = np.nan
    with pytest.raises(DataError, match="a number that is not finite in row 5; remove"), surfacing():
        draw(arrays(on_disk, LABELS, ways=2, shots=1, queries=5, splits=NAMED).train, 20)


# class 0, which holds row 5, is for training
NAMED = {
    split: [f"class {c:02d}" for c in classes]
    for split, classes in {"train": (0, 7, 2), "validation": (4, 5, 9), "test": (6, 3, 8)}.items()
}


def test_classes_named_for_each_split() -> None:
    family = arrays(X, LABELS, ways=3, shots=1, queries=2, splits=NAMED)
    for split, names in NAMED.items():
        drawn = draw(getattr(family, split), 20).support.x[..., 0]
        assert {f"class {int(c):02d}" for c in drawn.ravel()} == set(names)
        assert family.classes[split] == tuple(names)
    with pytest.raises(DataError, match="Class zebra of test is not among the labels"):
        arrays(X, LABELS, splits={**NAMED, "test": ["zebra"]})
    with pytest.raises(DataError, match="Class class 00 is in train and in test"):
        arrays(X, LABELS, splits={**NAMED, "test": ["class 00"]})
    with pytest.raises(OptionError, match="splits names 'train'; it must name"):
        arrays(X, LABELS, splits={"train": ["class 00"]})


@pytest.mark.parametrize("on_host", [False, True])
def test_images(on_host) -> None:
    pixels = np.repeat(X[:, :1].astype(np.uint8), 16 * 16, 1).reshape(-1, 16, 16, 1)  # of the value of their class
    family = arrays(pixels, LABELS, ways=2, shots=1, queries=3, inputs=Images(16, 1, invert=True), on_host=on_host)
    drawn = draw(family.train, 20).query.x
    assert drawn.dtype == np.float32
    classes = (255 * (1 - drawn[:, ::3, 0, 0, 0])).round()
    assert {f"class {int(c):02d}" for c in classes.ravel()} == set(family.classes["train"])
    assert family.model().input_shape == (16, 16, 1)
    assert family.inputs == Images(16, 1, invert=True)
    with pytest.raises(DataError, match=r"x is uint8 \[124, 16, 16, 1\]; expected uint8 \[examples, 8, 8, 1\]"):
        arrays(pixels, LABELS, inputs=Images(8, 1))


def test_bad_input() -> None:
    with pytest.raises(DataError, match="y holds labels that cannot be sorted"):
        arrays(X, np.array(["a", None] * 62, object))
    with pytest.raises(DataError, match=r"Class class 00 has 6 examples, fewer than 5 shots \+ 4 queries"):
        arrays(X, LABELS, shots=5, queries=4)
    with pytest.raises(DataError, match="3 of 20 classes are for validation, fewer than the 4 ways"):
        arrays(X, LABELS, ways=4, queries=2)
    with pytest.raises(DataError, match=r"x has shape \(124, 2\) and y \(3,\)"):
        arrays(X, LABELS[:3])
    with pytest.raises(DataError, match="x is nan at"):
        arrays(np.where(X > 18, np.nan, X), LABELS)
    with pytest.raises(OptionError, match="three shares above 0"):
        arrays(X, LABELS, splits=(0.5, 0.5))
