"""Tasks from arrays with labels."""

import numpy as np
import pytest

import mtnets
from conftest import draw
from mtnets import DataError, OptionError
from mtnets.tasks import arrays

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


def test_a_learner_of_vectors(tmp_path) -> None:
    family = arrays(X, LABELS, ways=3, shots=2, queries=2)
    learner = mtnets.meta_train(None, mtnets.mt_net(), family, meta_steps=2, validate_every=0, progress=False)
    assert learner.adapt(X[:6], np.array([0, 0, 1, 1, 2, 2])).probabilities(X[:4]).shape == (4, 3)
    images = arrays(np.zeros((len(X), 4, 4)), LABELS, ways=2, shots=1, queries=1)
    with pytest.raises(OptionError, match="need a network of yours"):
        mtnets.meta_train(None, mtnets.mt_net(), images, meta_steps=1)


def test_bad_input() -> None:
    with pytest.raises(DataError, match=r"Class class 00 has 6 examples, fewer than 5 shots \+ 4 queries"):
        arrays(X, LABELS, shots=5, queries=4)
    with pytest.raises(DataError, match="3 of 20 classes are for validation, fewer than the 4 ways"):
        arrays(X, LABELS, ways=4, queries=2)
    with pytest.raises(DataError, match=r"x has shape \(124, 2\) and y \(3,\)"):
        arrays(X, LABELS[:3])
    with pytest.raises(DataError, match="no finite number"):
        arrays(np.where(X > 18, np.nan, X), LABELS)
    with pytest.raises(OptionError, match="three shares above 0"):
        arrays(X, LABELS, splits=(0.5, 0.5))
