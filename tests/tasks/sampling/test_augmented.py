"""Tasks whose images are augmented: which ones are, and that nothing else changes."""

import itertools
import re
from typing import Any

import jax
import numpy as np
import pytest

import mtnets
from mtnets.devices import map_over, task_mesh
from mtnets.errors import OptionError
from mtnets.inner.task import Batch, Task
from mtnets.networks.models import Conv4
from mtnets.tasks import Images, augmented, folder, glyphs, options_from_record, options_to_record
from mtnets.tasks.sampling.augmentations import augmentations_of
from mtnets.tasks.sampling.augmented import Augmented
from problems import One
from samples import draw, image, png

SPLITS = ("train", "val", "test")
SIZES: dict[str, Any] = {"ways": 2, "shots": 1, "queries": 2}
GLYPH = np.random.default_rng(0).uniform(0.1, 0.9, (4, 4, 3)).astype(np.float32)
SAME = Task(*(Batch(np.stack([GLYPH] * n), np.zeros(n, np.int32), np.ones(n, np.float32)) for n in (4, 6)))


@pytest.fixture
def root(write) -> str:
    numbers = itertools.count()
    files = {f"{s}/{s}-{c}/{e}.png": png(image(next(numbers))) for s in SPLITS for c in range(3) for e in range(4)}
    return str(write("data", files))


@pytest.fixture(scope="module")
def drawn() -> dict[str, Task]:
    """The same four tasks in several ways, with both sets changed and with one; from one program."""
    changes = augmentations_of(["colour(contrast=0, saturation=0)"])
    ways: dict[Any, dict[str, Any]] = {
        "all": {"at_once": 1},
        "query": {"at_once": 4},
        "support": {"at_once": 2, "mesh": task_mesh(2)},
    }

    @jax.jit
    def all_of_them(same: One) -> dict[str, Task]:
        keys = jax.random.split(jax.random.key(0), 4)
        return {
            where: map_over(lambda tasks, key: tasks.sample(key), Augmented(same, changes, where), keys, **way)
            for where, way in ways.items()
        }

    return jax.tree.map(np.asarray, all_of_them(One(SAME)))


@pytest.mark.parametrize("where", ["all", "query", "support"])
def test_each_image_of_the_chosen_sets_is_changed_by_itself(where: str, drawn: dict[str, Task]) -> None:
    for part, batch, before in zip(Task._fields, drawn[where], SAME, strict=True):
        assert (batch.y == before.y).all()
        assert (batch.weights == before.weights).all()
        different = {each.tobytes() for each in batch.x.reshape(-1, *GLYPH.shape)}
        if where in (part, "all"):
            assert len(different) == batch.x.shape[0] * batch.x.shape[1]  # all from the same image
        else:
            assert different == {GLYPH.tobytes()}


@pytest.mark.parametrize("part", ["query", "support"])
def test_a_key_is_a_task_however_tasks_are_batched_and_shared(part: str, drawn: dict[str, Task]) -> None:
    """And a set is changed in the same way where the other is not."""
    np.testing.assert_array_equal(getattr(drawn[part], part).x, getattr(drawn["all"], part).x)


def test_training_tasks_alone_are_changed(root: str) -> None:
    """Tasks for validation and test are the same bit for bit; so are the examples of the set that is left alone."""
    plain = folder(root, **SIZES)
    family = folder(root, **SIZES, augment=["flip(probability=1.0)"], augment_where="query")
    for split in ("validation", "test"):
        old, new = (draw(getattr(each, split), 10) for each in (plain, family))
        jax.tree.map(np.testing.assert_array_equal, new, old)
    old, new = draw(plain.train, 10), draw(family.train, 10)
    jax.tree.map(np.testing.assert_array_equal, new.support, old.support)
    np.testing.assert_array_equal(new.query.x, old.query.x[:, :, :, ::-1])
    assert mtnets.tasks.inputs_of(family.train) == family.inputs == Images(8, 3)


def test_without_augmentation_nothing_is_wrapped(root: str) -> None:
    kinds = [type(tasks.train).__name__ for tasks in (folder(root, **SIZES), glyphs())]
    assert kinds == ["Episodes", "Characters"]


def test_the_record_of_a_run_has_it(root: str) -> None:
    family = folder(root, **SIZES, augment=["flip", "crop(padding=2)"], augment_where="support")
    record = options_to_record(family.options)
    assert (record["augment"], record["augment_where"]) == (("flip", "crop(padding=2)"), "support")
    again = options_from_record(record)
    assert again == family.options
    assert hash(again) == hash(family.options)
    assert again.build().train.augmentations == family.train.augmentations  # type: ignore[attr-defined]
    del record["augment"], record["augment_where"]  # as version 0.1 wrote it
    assert options_from_record(record).augment == ()  # type: ignore[attr-defined]


def test_arrays_of_images() -> None:
    """A family without options of that name."""
    y = np.arange(10).repeat(4)
    x = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8)
    family = mtnets.tasks.arrays(x, y, **SIZES, splits=(0.4, 0.3, 0.3), inputs=Images(4, 1))
    changed = augmented(family, ["flip(probability=1.0)"])
    assert changed.options is None
    assert changed.validation is family.validation
    assert changed.train == Augmented(family.train, augmentations_of(["flip(probability=1.0)"]), "all")
    with pytest.raises(OptionError, match=r"augment is \('flip',\), and the tasks have arrays of numbers, as the"):
        augmented(mtnets.tasks.sinusoid(), ["flip"])


def test_mirror_images_of_characters_are_told() -> None:
    with pytest.warns(UserWarning, match="augment has flip, and the mirror image of a character is often another"):
        glyphs(augment=("crop", "flip(probability=0.1)"))
    assert isinstance(glyphs(augment=("crop",)).train, Augmented)


@pytest.mark.parametrize("family", [glyphs, mtnets.tasks.omniglot, mtnets.tasks.miniimagenet, folder])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"augment": ("flop",)}, "There is no augmentation 'flop'; perhaps 'flip' is meant"),
        ({"augment": "flip"}, "augment is 'flip'; it must be a sequence of values that are each text"),
        ({"augment_where": "query"}, "augment_where is 'query', and nothing is augmented; leave it out"),
        ({"augment": ("flip",), "augment_where": "both"}, "augment_where is 'both'; it must be one of 'all', 'query'"),
    ],
)
def test_what_cannot_be_is_said_before_data_are_read(family, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=re.escape(words)):
        family(**({} if family is glyphs else {"root": "nowhere"}), **options)


def test_what_means_nothing_for_these_images(root: str) -> None:
    with pytest.raises(OptionError, match=r"saturation is 0\.4, and images of one channel have none"):
        glyphs(augment=("colour",))
    with pytest.raises(OptionError, match=r"padding is 8, and a window could miss images of 8 pixels; write crop"):
        folder(root, **SIZES, augment=("crop(padding=8)",))


@pytest.mark.slow
def test_a_training_goes_on_bit_for_bit(tmp_path) -> None:
    tasks = glyphs(**SIZES, augment=("crop", "erase"), augment_where="query", network=Conv4(filters=2))
    options = {"meta_batch": 4, "validate_every": 0, "test_tasks": 4, "devices": 1, "progress": False}

    def train(steps: int, **more: Any) -> mtnets.Learner:
        return mtnets.meta_train(None, mtnets.maml(0.1), tasks, meta_steps=steps, **options, **more)

    whole = train(4)
    assert whole.record["tasks"]["augment"] == ["crop", "erase"]
    for steps in (2, 4):
        resumed = train(steps, out=tmp_path / "run", resume=True)
    jax.tree.map(np.testing.assert_array_equal, resumed.meta, whole.meta)
