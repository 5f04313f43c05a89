"""Mismatches of network, tasks and loss are told where they meet, in training and in evaluation alike."""

import dataclasses
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtnets
from mtnets import Batch, DataError, OptionError, Task
from mtnets.inner import criterion
from mtnets.learner.meeting import fitted
from mtnets.tasks.sampling import ChannelsFirst

SETTINGS = {"meta_steps": 2, "validate_every": 0, "progress": False}


def numbers(outputs: int) -> mtnets.tasks.Family:
    def make(rng):
        x = rng.uniform(-2, 2, (20, 1))
        y = np.repeat(np.sin(x), outputs, 1)
        return (x[:10], y[:10]), (x[10:], y[10:])

    return mtnets.tasks.from_function(make, loss="mse")


def classes(ways: int, features: int = 8) -> mtnets.tasks.Family:
    def make(rng):
        x, y = rng.normal(size=(2 * ways, features)), np.tile(np.arange(ways), 2)
        return (x[:ways], y[:ways]), (x[ways:], y[ways:])

    return mtnets.tasks.from_function(make, loss="cross-entropy")


def network(outputs: int, inputs: int = 1) -> mtnets.Model:
    return mtnets.models.mlp(inputs, 6, outputs, init_std=0.1)


@pytest.mark.parametrize(
    ("model", "tasks", "loss", "message"),
    [
        (network(1), numbers(2), None, r"targets \[10, 2\] and the network returns \[10, 1\]"),
        (network(2), numbers(1), None, r"targets \[10, 1\] and the network returns \[10, 2\]"),
        (network(3), numbers(2), None, r"targets \[10, 2\] and the network returns \[10, 3\]"),
        (network(3, 8), classes(5), None, r"labels from 0 to 4, and the network tells 3 classes apart.*5 outputs"),
        (network(1), numbers(1), "cross-entropy", r"targets \[10, 1\] of float32; labels for cross-entropy"),
        (network(5, 8), classes(5), "mse", r"targets \[5\] of int32, which look like labels.*'cross-entropy'"),
        (network(5, 4), classes(5), None, r"inputs \[8\] and the network takes \[4\]"),
        (network(1), numbers(1), "poisson", r"have the target -\d.*poisson takes numbers from 0; .*not standardised"),
        (network(1), numbers(1), "binary", r"have the target -\d.*binary takes numbers from 0 to 1; .*'mse'"),
    ],
)
def test_network_targets_and_loss_must_fit(model, tasks, loss, message):
    with pytest.raises(DataError, match=message):
        mtnets.meta_train(model, mtnets.maml(0.1), tasks, loss=loss, **SETTINGS)


def test_counts_of_a_new_task_are_compared_too():
    def make(rng):
        x, y = rng.normal(size=(8, 1)), rng.poisson(3.0, (8, 1)).astype(float)
        return (x[:4], y[:4]), (x[4:], y[4:])

    tasks = mtnets.tasks.from_function(make, loss="poisson")
    learner = mtnets.meta_train(network(1), mtnets.maml(0.1), tasks, **{**SETTINGS, "meta_steps": 0})
    with pytest.raises(DataError, match="y has the target -1, and the loss poisson takes numbers from 0;"):
        learner.adapt([[0.0], [1.0]], [[2.0], [-1.0]])


def test_evaluation_compares_too():
    learner = mtnets.meta_train(network(5, 8), mtnets.maml(0.1), classes(5), **SETTINGS)
    with pytest.raises(DataError, match="labels from 0 to 7, and the network tells 5 classes apart"):
        mtnets.evaluate(learner, classes(8), 4)
    with pytest.raises(DataError, match=r"inputs \[1\] and the network takes \[8\]"):
        mtnets.evaluate(learner, numbers(1), 4)


def test_validation_and_test_tasks_are_compared_before_training():
    tasks = dataclasses.replace(classes(5), test=classes(6).test)
    with pytest.raises(DataError, match=r"The test tasks \(support set\) have labels from 0 to 5"):
        mtnets.meta_train(network(5, 8), mtnets.maml(0.1), tasks, **SETTINGS)


@pytest.mark.parametrize(
    ("model", "method", "tasks", "message"),
    [
        (nnx.Linear(1, 1, rngs=nnx.Rngs(0)), mtnets.maml(0.1), numbers(1), r"model is of type Linear.*mtnets\.wrap"),
        (network(1), mtnets.maml, numbers(1), r"method is .*MAML.*call it, maml\(\)"),
        (network(1), "maml", numbers(1), "method is 'maml'; it must be a method"),
        (network(1), mtnets.maml(0.1), mtnets.tasks.sinusoid, r"call it: sinusoid\(\)"),
        (network(1), mtnets.maml(0.1), [1, 2], "The training tasks are list"),
        (None, mtnets.maml(0.1), "random-tables", r"are 'random-tables', .* mtnets\.tasks\.random_tables\(\.\.\.\)\."),
        (network(1), mtnets.maml(0.1), "a/b.csv", r"mtnets\.tasks\.table\('a/b.csv', task_column=\.\.\., target="),
        (network(1), mtnets.maml(0.1), Path("images"), r"mtnets\.tasks\.folder\('images'\) of a folder with a folder"),
    ],
)
def test_arguments_of_another_kind(model, method, tasks, message):
    with pytest.raises(OptionError, match=message):
        mtnets.meta_train(model, method, tasks, loss="mse", **SETTINGS | {"meta_batch": 2, "inner_steps": 1})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Squares:
    """Images of one grey level, whose label says whether it is above a half; channels last."""

    shade: jax.Array

    def sample(self, key):
        x = jax.random.uniform(key, (6, 8, 8, 1)) * self.shade
        y = jnp.asarray([0, 1, 0, 1, 0, 1])
        return Task(Batch(x[:2], y[:2]), Batch(x[2:], y[2:]))


class ChannelsFirstNet(nnx.Module):
    def __init__(self, rngs):
        self.conv, self.head = nnx.Conv(1, 3, (3, 3), rngs=rngs), nnx.Linear(3 * 64, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(self.conv(jnp.moveaxis(x, 1, -1)).reshape(len(x), -1))


class ChannelsLastNet(ChannelsFirstNet):
    def __call__(self, x):
        return self.head(self.conv(x).reshape(len(x), -1))


@pytest.mark.slow
def test_images_with_channels_last_meet_a_network_with_channels_first():
    """It learns and predicts exactly what the same network with channels last does, and the change is said once."""
    tasks, settings = Squares(jnp.ones(())), SETTINGS | {"meta_batch": 2, "inner_steps": 1, "loss": "cross-entropy"}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        first = mtnets.meta_train(mtnets.wrap(ChannelsFirstNet, (1, 8, 8)), mtnets.maml(0.1), tasks, **settings)
    assert len({str(w.message) for w in said}) == 1
    assert "transposed to channels first" in str(said[0].message)
    assert str(said[0].message).endswith("make them so to be sure: np.moveaxis(x, -1, 1).")
    last = mtnets.meta_train(mtnets.wrap(ChannelsLastNet, (8, 8, 1)), mtnets.maml(0.1), tasks, **settings)
    task = tasks.sample(jax.random.key(5))
    x, y, query = np.asarray(task.support.x), np.asarray(task.support.y), np.asarray(task.query.x)
    np.testing.assert_allclose(first.adapt(x, y)(query), last.adapt(x, y)(query), rtol=1e-5)
    turned = first.adapt(np.moveaxis(x, -1, 1), y)(np.moveaxis(query, -1, 1))
    np.testing.assert_array_equal(turned, first.adapt(x, y)(query))


def test_images_that_the_library_has_read_are_transposed_without_a_word():
    """Of raw pixels it makes channels last itself: nobody can have meant anything else."""
    x = np.arange(12 * 64, dtype=np.uint8).reshape(12, 8, 8, 1)
    splits = {"train": [0, 1], "validation": [2, 3], "test": [4, 5]}
    images = mtnets.tasks.Images(8, 1)
    tasks = mtnets.tasks.arrays(x, np.arange(12) // 2, inputs=images, ways=2, queries=1, splits=splits)
    model, judges = mtnets.wrap(ChannelsFirstNet, (1, 8, 8)), criterion("cross-entropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        turned = fitted(model, judges, tasks.train, "The tasks")
    assert isinstance(turned, ChannelsFirst)


class Softmax(nnx.Module):
    def __init__(self, rngs):
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x):
        return nnx.softmax(self.head(x))


def test_outputs_that_sum_to_one_meet_cross_entropy():
    with pytest.warns(UserWarning, match="sum to one"):
        mtnets.meta_train(mtnets.wrap(Softmax, (8,)), mtnets.maml(0.1), classes(5), **SETTINGS)


def test_logits_do_not_warn():
    mtnets.meta_train(network(5, 8), mtnets.maml(0.1), classes(5), **SETTINGS)  # warnings are errors in these tests


def test_a_network_that_returns_nan_for_the_inputs():
    def apply(params, x):
        return jnp.log(x @ params["w"] + 3)  # x from −2 to 2 times a weight of 2

    ordinary = mtnets.Model(lambda key: ({"w": 2 * jnp.ones((1, 1))}, {}), lambda p, s, x, k: (apply(p, x), s), (1,))
    with pytest.raises(OptionError, match="NaN or infinity for the inputs of a training task at its starting weights"):
        mtnets.meta_train(ordinary, mtnets.maml(0.1), numbers(1), **SETTINGS)


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (lambda p, s, x, k: ((x @ p["w"], x), s), "returns tuple"),
        (lambda p, s, x, k: ({"y": x @ p["w"]}, s), "returns dict"),
        (lambda p, s, x, k: ((x @ p["w"])[:, 0], s), r"returns \[10\]"),
        (lambda p, s, x, k: ((x @ p["w"]).astype(jnp.complex64), s), "returns complex64"),
        (lambda p, s, x, k: (jnp.round(x @ p["w"]).astype(jnp.int32), s), "returns int32"),
        (lambda p, s, x, k: (x @ p["w"].T @ p["w"], s), r"cannot take inputs \[10, 1\]"),
    ],
)
def test_models_by_hand_are_checked_too(apply, message):
    model = mtnets.Model(lambda key: ({"w": jnp.ones((1, 2))}, {}), apply, (1,))
    with pytest.raises(OptionError, match=message):
        mtnets.meta_train(model, mtnets.maml(0.1), numbers(1), **SETTINGS)


def test_a_distribution_must_be_a_pytree_of_tasks():
    class Plain:
        def sample(self, key):
            return Task(Batch(key, key), Batch(key, key))

    class NoTask:
        def sample(self, key):
            return 1.0

    jax.tree_util.register_static(NoTask)
    with pytest.raises(OptionError, match=r"cannot be drawn.*must be a pytree"):
        fitted(network(1), criterion("mse"), Plain(), "The tasks")
    with pytest.raises(OptionError, match=r"sample\(key\) returns .*; it must return a mtnets\.Task"):
        fitted(network(1), criterion("mse"), NoTask(), "The tasks")


def test_a_training_of_no_step_is_told():
    with pytest.warns(UserWarning, match="meta_steps is 0: nothing is meta-trained"):
        mtnets.meta_train(network(1), mtnets.maml(0.1), numbers(1), **SETTINGS | {"meta_steps": 0})


@pytest.fixture(scope="module")
def curves():
    return mtnets.meta_train(network(1), mtnets.maml(0.1), numbers(1), **SETTINGS)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0], [2.0, 3.0]], "x cannot be read as an array of numbers"),
        (np.ones((2, 1)) * 1j, "x has type complex128; it must be real numbers"),
        (np.ma.masked_array(np.ones((2, 1)), [[True], [False]]), "x is a masked array"),
        (np.ones((2, 10, 1)), r"x has shape \(2, 10, 1\).*For several tasks at once, use adapt_many"),
        (np.array([["a"], ["b"]]), "x has type <U1"),
        (np.array([[None], [None]]), "x has type object"),
    ],
)
def test_examples_that_are_no_numbers(curves, x, message):
    with pytest.raises(DataError, match=message):
        curves.adapt(x, np.ones((2, 1)))
    with pytest.raises(DataError, match="x"):
        curves.adapt_many(x, np.ones((2, 1)))


def test_paths_are_not_what_files_hold(curves):
    model = curves.adapt(np.ones((2, 1)), np.ones((2, 1)))
    for use in (curves.adapt, model, model.update, lambda x: curves.adapt_many(x, x)):
        with pytest.raises(DataError, match=r"x is 'a.csv', .* pandas.read_csv\('a.csv'\), .*predict_files\(learner"):
            use("a.csv")
    for use in (mtnets.evaluate, mtnets.diagnose, mtnets.conformal):
        with pytest.raises(OptionError, match=r"learner is 'runs/a'; it must be a learner, .* mtnets\.load\(path\)"):
            use("runs/a", numbers(1))
        with pytest.raises(OptionError, match=r"tasks are 'sinusoid', .*: mtnets\.tasks\.sinusoid\(\.\.\.\)"):
            use(curves, "sinusoid")


def test_probabilities_of_a_regression(curves, tmp_path):
    model = curves.adapt(np.ones((2, 1)), np.ones((2, 1)))
    model.save(tmp_path / "model")
    for each in (model, mtnets.load_adapted(tmp_path / "model", model=curves.model)):
        with pytest.raises(OptionError, match=r"trained with mse: its outputs are numbers"):
            each.probabilities(np.ones((2, 1)))
