"""Tasks that Python makes on the host, and their way into the compiled program."""

import itertools

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

import mtnets
from mtnets import DataError, OptionError
from mtnets.devices import AXIS, map_over
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.host_callback import surfacing
from mtnets.tasks.sampling.user_tasks import from_function, from_sequence
from samples import draw


def make(rng):
    """Lines through the origin."""
    slope, x = rng.normal(), rng.uniform(-1, 1, (7, 1))
    return (x[:3], slope * x[:3]), (x[3:], slope * x[3:])


def labelled(rng):
    """Three classes in the plane."""
    y = np.arange(3).repeat(2)
    x = rng.normal(size=(3, 2))[y] + 0.1 * rng.normal(size=(6, 2))
    return (x[::2], y[::2]), (x[1::2], y[1::2])


def nth(i):
    return make(np.random.default_rng(i))


class Lazy:
    """Twenty tasks, made when they are asked for."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return nth(i)


LIST = [nth(i) for i in range(20)]
FUNCTION = from_function(make, loss="mse")


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_task_is_what_the_function_makes_of_its_key() -> None:
    drawn = draw(FUNCTION.train, 4)
    for i, key in enumerate(jax.random.split(jax.random.key(0), 4)):
        (x_support, y_support), (x_query, y_query) = make(np.random.default_rng(np.asarray(jax.random.key_data(key))))
        expected = [np.float32(each) for each in (x_support, y_support, x_query, y_query)]
        assert_same(jax.tree.map(lambda leaf, i=i: leaf[i], jax.tree.leaves(drawn)), expected)


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("tasks", [FUNCTION.train, from_sequence(Lazy(), LIST, LIST, loss="mse").train])
def test_batches_and_devices_do_not_change_tasks(tasks, at_once) -> None:
    keys, mesh = jax.random.split(jax.random.key(0), 4), Mesh(jax.devices()[:2], (AXIS,))
    sample = jax.jit(lambda mesh: map_over(lambda tasks, key: tasks.sample(key), tasks, keys, at_once=at_once, mesh=mesh), static_argnums=0)  # fmt: skip # noqa: E501
    assert_same(draw(tasks, 4), sample(None))
    assert_same(draw(tasks, 4), sample(mesh))


@pytest.mark.slow
def test_a_resumed_training_is_that_without_a_pause(tmp_path) -> None:
    def train(folder, steps, **options):
        return mtnets.meta_train(
            mtnets.models.mlp(1, 4, 1), mtnets.maml(0.1), FUNCTION, meta_steps=steps, out=folder, devices=2,
            validate_every=0, log_every=1, test_tasks=4, progress=False, **options,
        )  # fmt: skip

    whole = train(tmp_path / "whole", 4)
    train(tmp_path / "parts", 2)
    parts = train(tmp_path / "parts", 4, resume=True)
    assert_same(whole.meta, parts.meta)
    assert whole.record["tasks"] == {"family": None}
    scores = [np.load(tmp_path / name / "scores.npz")["scores"] for name in ("whole", "parts")]
    assert_same(*scores)
    assert np.isfinite(scores[0]).all()


def test_a_list_and_a_sequence_on_the_host_give_the_same_tasks() -> None:
    lazy = from_sequence(Lazy(), Lazy(), LIST[:2], loss="mse")
    on_device = from_sequence(LIST, iter(LIST), (LIST[0],), loss="mse")
    drawn = draw(lazy.train, 300)
    assert_same(drawn, draw(on_device.train, 300))
    assert_same(draw(lazy.validation, 60), draw(on_device.validation, 60))
    assert len(np.unique(drawn.support.x[:, 0, 0])) == len({each[0][0][0, 0] for each in LIST})  # each is drawn


def test_an_iterator_is_read_to_the_limit() -> None:
    endless = (nth(i) for i in itertools.count())
    family = from_sequence(endless, endless, endless, loss="mse", limit=3)
    for split, start in (("train", 0), ("validation", 3), ("test", 6)):
        drawn = draw(getattr(family, split), 80).support.x[:, 0, 0]
        assert set(drawn) == {np.float32(nth(i)[0][0][0, 0]) for i in range(start, start + 3)}


@pytest.mark.slow
def test_classes_and_images() -> None:
    family = from_function(labelled, loss="cross-entropy")
    learner = mtnets.meta_train(
        None, mtnets.maml(0.1), family, meta_steps=2, meta_batch=2, inner_steps=1, validation_tasks=2, progress=False
    )
    (x, y), _ = labelled(np.random.default_rng(0))
    assert learner.adapt(x, y).probabilities(x).shape == (3, 3)

    pixels = np.array([0, 51, 255], np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    labels = np.array([0, 1, 1])
    family = from_sequence(*3 * [[((pixels, labels), (pixels, labels))]], loss="cross-entropy", inputs=Images(2, 1))
    np.testing.assert_allclose(draw(family.test, 1).query.x[0, :, 0, 0, 0], [0, 0.2, 1], rtol=1e-6)
    assert family.inputs == Images(2, 1)
    with pytest.raises(OptionError, match=r"Examples uint8 \[3, 2, 2, 1\] need a network of yours"):
        family.model()


def changed(*, x=None, y=None, query=None):
    """A task of three labelled points with one part replaced."""
    (x_support, y_support), rest = labelled(np.random.default_rng(0))
    return ((x_support if x is None else x, y_support if y is None else y), rest if query is None else query)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (None, r"Task 0 of train is None \(a filter of a Grain MapDataset"),
        ((1, 2, 3), "Task 0 of train is tuple of 3; expected"),
        (changed(x=np.full((3, 2), np.nan)), r"x_support is nan at \(0, 0\); remove or replace"),
        (changed(x=np.full((3, 2), 1e300)), r"x_support is 1e\+300 at \(0, 0\)"),
        (changed(x=np.full((3, 2), "a")), r"x_support is <U1 \[3, 2\]; expected numbers"),
        (changed(x=np.zeros((4, 2))), "x_support has 4 examples and y_support 3"),
        (changed(x=np.zeros((3, 1))), r"x_query is float32 \[3, 2\] and that of the support float32 \[3, 1\]"),
        (changed(y=np.zeros(3)), r"y_support is float64 \[3\]; expected integer labels"),
        (changed(y=np.array([0, 1, 3])), r"labels from 0 to 3; expected 0 to 2.*ways="),
        (changed(y=np.array([0, 1, -1])), "labels from -1 to 1"),
    ],
)  # fmt: skip
def test_what_is_no_task(task, says) -> None:
    with pytest.raises(DataError, match=says):
        from_sequence([task], [task], [task], loss="cross-entropy", ways=3)


def test_bad_sequences() -> None:
    wide = tuple((np.repeat(x, 2, axis=1), y) for x, y in LIST[0])
    with pytest.raises(DataError, match=r"Task 1 of test: x_support is float32 \[3, 2\] .* first training task .*\[3"):
        from_sequence(LIST, LIST, [LIST[0], wide], loss="mse")
    with pytest.raises(DataError, match="There are no validation tasks"):
        from_sequence(LIST, iter([]), LIST, loss="mse")
    with pytest.raises(DataError, match="train is dict of 1; expected a sequence"):
        from_sequence({"a": LIST[0]}, LIST, LIST, loss="mse")
    with pytest.raises(OptionError, match="There is no loss 'mea'"):
        from_sequence(LIST, LIST, LIST, loss="mea")
    with pytest.raises(OptionError, match="limit is 0"):
        from_sequence(LIST, LIST, LIST, loss="mse", limit=0)


def test_bad_functions() -> None:
    own = np.random.default_rng(0)
    with pytest.raises(DataError, match="The function of train tasks made two different ones"):
        from_function(lambda _: make(own), loss="mse")
    with pytest.raises(DataError, match=r"test task of np.random.default_rng\(\[0, 0\]\) cannot be made: ZeroDiv"):
        from_function(make, test=lambda _: 1 // 0, loss="mse")
    with pytest.raises(DataError, match="holds JAX arrays"):
        from_function(lambda rng: jax.tree.map(jax.numpy.asarray, make(rng)), loss="mse")


@pytest.mark.parametrize("devices", [1, 2])
def test_a_function_that_fails_later(devices) -> None:
    def fails(rng):
        (x, y), query = make(rng)
        return ((x[:2], y[:2]) if rng.uniform() < 0.3 else (x, y)), query

    family = from_function(fails, loss="mse")
    network = mtnets.models.mlp(1, 4, 1)
    with pytest.raises(
        DataError, match=r"train task of np.random.default_rng\(\[\d+, \d+\]\): x_support is float32 \[2,"
    ):
        mtnets.meta_train(
            network, mtnets.maml(0.1), family, meta_steps=20, validate_every=0, progress=False, devices=devices
        )
    with surfacing():  # nothing is left of it
        assert np.isfinite(draw(FUNCTION.train, 2).support.x).all()


def test_grain() -> None:
    grain = pytest.importorskip("grain", reason="Grain is optional")
    tasks = grain.MapDataset.range(20).map(nth)
    family = from_sequence(tasks, tasks.to_iter_dataset(), tasks.repeat(), loss="mse")
    expected = draw(from_sequence(LIST, LIST, LIST, loss="mse").train, 8)
    assert_same(draw(family.train, 8), expected)
    assert_same(draw(family.validation, 8), expected)
    assert len(np.unique(draw(family.test, 300).support.x[:, 0, 0])) == 20  # endless
    with pytest.raises(DataError, match="a filter of a Grain MapDataset leaves such holes"):
        from_sequence(tasks.filter(lambda _: False), LIST, LIST, loss="mse")
