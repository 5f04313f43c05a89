"""Leaves that lie in no layer: they move where a method's equation says so, and are named where it says nothing."""

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtnets
from mtnets import METHODS
from mtnets.arrays import to_bytes
from mtnets.inner import criterion
from mtnets.inner.loop import Inner
from mtnets.learner.tensors import read_tensors
from mtnets.trees import leaves_by_path
from problems import (
    adapt_at,
    add,
    dot,
    gradient_at,
    like,
    naive_offset_mlp,
    offset_mlp,
    pair,
    slope,
    tasks_for,
    to_float64,
)

ALPHA, STEPS = 0.1, 2
LOOSE = {"in_between": (4,), "position": (1, 3), "temperature": ()}
# by their equations: α, a rate or a mask for every weight
MOVES = {"maml", "fomaml", "reptile", "imaml", "meta_sgd", "sparse_maml", "l2f", "t_net", "warp_grad"}
PARTS = {"anil", "cavia"}  # of the network, chosen by their definition


def apply(p: Any, x: Any) -> Any:
    h = jnp.tanh((x + p["position"]) @ p["first"]["w"] * p["in_between"] + p["first"]["b"])
    return (h @ p["second"]["w"] + p["offsets"]) * p["temperature"]


def network() -> mtnets.Model:
    random = np.random.default_rng(0)
    params = {
        "first": {"w": random.normal(size=(3, 4)), "b": random.normal(size=4)},
        "second": {"w": random.normal(size=(4, 2))},
        "offsets": random.normal(size=2),
        **{name: random.normal(size=shape) for name, shape in LOOSE.items()},
    }
    return mtnets.wrap((apply, params), (3,))


def method_of(name: str, **options: Any) -> mtnets.Method:
    per_step = {"per_step_offsets": False} if name == "maml_plus_plus" else {}
    return METHODS[name](ALPHA, **per_step, **options)


def start_of(model: mtnets.Model, method: mtnets.Method) -> Any:
    params, state = (to_float64(tree) for tree in model.init(jax.random.key(0)))
    meta = method.init(model, params, jax.random.key(1), inner_lr=ALPHA, inner_steps=STEPS)
    if meta.start is not None:  # nothing is forgotten
        meta = meta._replace(start=meta.start | {"b": np.full(meta.start["b"].shape, 100.0)})
    return to_float64(meta), state


def adapted(name: str, **options: Any) -> Any:
    model, method = network(), method_of(name, **options)
    meta, state = start_of(model, method)
    support = tasks_for(model).sample(jax.random.key(2)).support
    learn = jax.jit(functools.partial(adapt_at, Inner(model, method, criterion("mse"), STEPS)))
    return meta, learn(meta, state, ALPHA, support, jax.random.key(3)), support


@pytest.mark.usefixtures("float64")
def test_maml_is_gradient_descent_on_everything() -> None:
    meta, result, support = adapted("maml")
    params = meta.params
    for _ in range(STEPS):
        gradient = jax.grad(lambda p: jnp.mean((apply(p, support.x) - support.y) ** 2))(params)
        params = jax.tree.map(lambda a, g: a - ALPHA * g, params, gradient)
    for found, expected in zip(jax.tree.leaves(result.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert result.weights.keys() == leaves_by_path(params).keys()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", METHODS)
def test_every_method_moves_them_or_names_them(name: str) -> None:
    model, method = network(), method_of(name)
    assert model.loose == LOOSE  # "offsets" is a bias
    meta, result, _ = adapted(name)
    before, after = leaves_by_path(meta.params), leaves_by_path(result.params)
    moved = {path for path in model.loose if np.abs(after[path] - before[path]).max() > 1e-9}
    assert moved == set(method.loose(model))
    if name in MOVES | {"maml_plus_plus"}:
        assert moved == set(model.loose)
        assert method.unmoved(model) == ()
    else:
        assert moved == set()
        assert set(method.unmoved(model)) == (set() if name in PARTS else set(model.loose))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", [*sorted(MOVES - {"imaml", "maml"}), "maml_plus_plus"])
def test_at_its_neutral_point_a_method_that_moves_them_is_maml(name: str) -> None:
    maml, other = (leaves_by_path(adapted(each)[1].params) for each in ("maml", name))
    for path, leaf in maml.items():
        np.testing.assert_allclose(other[path], leaf, rtol=1e-12, err_msg=path)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "options"), [("maml", {}), ("meta_sgd", {}), ("t_net", {"rates": "layer-step"})])
def test_finite_differences(name: str, options: dict) -> None:
    model, method = network(), method_of(name, **options)
    meta, state = start_of(model, method)
    meta, tasks, keys = add(meta, like(meta, 4), 0.1), tasks_for(model), jax.random.split(jax.random.key(5), 2)
    step = jax.jit(
        lambda meta: gradient_at(Inner(model, method, criterion("mse"), STEPS), meta, state, ALPHA, tasks, keys)
    )
    direction = like(meta, 6)
    derivative = slope(lambda meta: step(meta).metrics["post_loss"], meta, direction)
    np.testing.assert_allclose(dot(step(meta).gradient, direction), derivative, rtol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"cavia", "maml_plus_plus"}))
def test_offsets_of_batch_norm_move_where_a_method_says_so(name: str) -> None:
    """By `−α G` at the neutral point of all; without the option not at all."""
    model = offset_mlp()
    task = tasks_for(model).sample(jax.random.key(2))
    for adapts_norm in (True, False):
        method = METHODS[name](ALPHA, adapts_norm=adapts_norm)
        meta, state = start_of(model, method)
        learn = jax.jit(functools.partial(adapt_at, Inner(model, method, criterion("mse"), 1)))
        after = learn(meta, state, ALPHA, task.support, jax.random.key(3)).params["norms"][0]["bias"]
        before = meta.params["norms"][0]["bias"]

        def loss(offset: Any, meta: Any = meta) -> Any:
            weights = [pair(meta.params, f"layers.{i}") for i in range(2)]
            return jnp.mean((naive_offset_mlp(weights, offset, task.support.x) - task.support.y) ** 2)

        gradient = jax.grad(loss)(before)
        assert np.abs(gradient).min() > 1e-6
        np.testing.assert_allclose(after, before - adapts_norm * ALPHA * gradient, rtol=1e-10)


def test_offsets_that_cannot_move() -> None:
    with pytest.raises(mtnets.OptionError, match="adapts_norm is True, but the network has no scales and offsets"):
        start_of(network(), mtnets.maml(ALPHA, adapts_norm=True))
    with pytest.raises(mtnets.OptionError, match="adapts_norm is True, but with per_step_offsets"):
        mtnets.maml_plus_plus(adapts_norm=True)
    assert "norms.0.bias" in mtnets.summarise(offset_mlp(), mtnets.gap(adapts_norm=True)).loose


@pytest.mark.parametrize("adapts", ["layers", "head", ["first"]])
def test_layers_alone(adapts) -> None:
    method = mtnets.maml(ALPHA, adapts=adapts)
    assert method.loose(network()) == method.unmoved(network()) == ()


@pytest.mark.slow
def test_named_once_for_each_training() -> None:
    model, tasks = network(), mtnets.tasks.from_function(drawn, loss="mse")
    options = {"meta_steps": 1, "inner_steps": 1, "meta_batch": 1, "validate_every": 0, "progress": False}
    with pytest.warns(UserWarning, match=r"No task moves in_between, position, temperature: ") as said:
        mtnets.meta_train(model, mtnets.mt_net(ALPHA), tasks, **options)
    assert len(said) == 1
    assert "test_loose_leaves" in said[0].filename
    for method in (mtnets.maml(ALPHA), mtnets.mt_net(ALPHA, adapts="layers")):
        mtnets.meta_train(model, method, tasks, **options)  # warnings are errors


def drawn(random):
    x = random.normal(size=(6, 3)).astype(np.float32)
    return (x[:3], x[:3, :2]), (x[3:], x[3:, :2])


@pytest.mark.slow
def test_through_files(tmp_path) -> None:
    """A learner, a task file and an adapted model keep what moved."""
    model, tasks = network(), mtnets.tasks.from_function(drawn, loss="mse")
    options = {"meta_steps": 1, "inner_steps": 2, "meta_batch": 1, "validate_every": 0, "progress": False}
    learner = mtnets.meta_train(model, mtnets.meta_sgd(ALPHA), tasks, **options)
    learner.save(tmp_path / "learner")
    (x, y), _ = drawn(np.random.default_rng(0))
    result = learner.adapt(x, y)
    result.save_task(tmp_path / "task", precision="full")
    result.save(tmp_path / "adapted")
    again = mtnets.load(tmp_path / "learner", model=model)
    for other in (
        again.adapt(x, y),
        again.with_task(tmp_path / "task"),
        mtnets.load_adapted(tmp_path / "adapted", model=model),
        result.update(x, y, inner_steps=0),
        learner.adapt_many(x[None], y[None], key=jax.random.key(0))[0],
    ):
        assert leaves_by_path(other.params).keys() == leaves_by_path(result.params).keys()
        np.testing.assert_allclose(other(x), result(x), rtol=1e-5)
    assert np.abs(result.params["temperature"] - learner.meta.params["temperature"]) > 1e-4


class Normed(nnx.Module):
    def __init__(self, norm, rngs):
        self.first, self.head = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
        self.norm, self.temperature = norm(4, rngs=rngs), nnx.Param(jnp.ones(()))

    def __call__(self, x):
        return self.head(self.norm(self.first(x))) * self.temperature[...]


def test_scales_and_offsets_of_batch_norm_stay() -> None:
    """As in the code of MAML and MT-net; those of layer norm move, and so does a temperature beside either."""
    for norm in ("transductive", "running"):
        model = mtnets.wrap(lambda rngs: Normed(nnx.BatchNorm, rngs), (3,), norm=norm)
        assert set(model.loose) == {"temperature"}
    own = mtnets.wrap(
        lambda rngs: Normed(lambda n, rngs: mtnets.models.BatchNorm(n, momentum=0, rngs=rngs), rngs), (3,)
    )
    assert set(own.loose) == {"temperature"}
    for norm in ("support", "none"):  # "support" is the default of from_nnx, also for networks without batch norm
        model = mtnets.wrap(lambda rngs: Normed(nnx.LayerNorm, rngs), (3,), norm=norm)
        assert set(model.loose) == {"norm.bias", "norm.scale", "temperature"}


def test_built_in_networks_have_none() -> None:
    for norm in ("transductive", "support", "running", "none"):
        assert mtnets.models.conv4(5, norm=norm).loose == {}
        assert mtnets.models.mlp(1, 4, 4, 1, norm=norm).loose == {}
    assert mtnets.models.mlp(1, 4, 1, warp="residual").loose == {}


def test_a_learner_of_version_0_1_moves_layers_alone(tmp_path) -> None:
    model, tasks = network(), mtnets.tasks.from_function(drawn, loss="mse")
    options = {"meta_steps": 0, "inner_steps": 2, "validate_every": 0, "progress": False}
    learner = mtnets.meta_train(model, mtnets.maml(ALPHA), tasks, **options)
    learner.save(tmp_path)
    file = tmp_path / "learner.safetensors"
    arrays, card = read_tensors(file)
    file.write_bytes(to_bytes(arrays, {"mtnets": json.dumps(card | {"format": 1})}))  # which has no checksum
    old = mtnets.load(tmp_path, model=model)
    assert old.method == dataclasses.replace(learner.method, adapts="layers")
    (x, y), _ = drawn(np.random.default_rng(0))
    assert old.adapt(x, y).params["temperature"] == old.meta.params["temperature"]
    (adapted := learner.adapt(x, y)).save_task(tmp_path / "new")
    assert adapted.params["temperature"] != old.meta.params["temperature"]
    old.save(tmp_path / "again")  # in today's format it stays what it was
    assert mtnets.load(tmp_path / "again", model=model).method == old.method


def test_summary() -> None:
    text = str(mtnets.summarise(network(), mtnets.meta_sgd()))
    assert "In no layer; a task moves them too:\n  in_between  4\n" in text
    assert "for no layer alone rule 8." in text  # their rates
    assert "In no layer; no task moves them:" in str(mtnets.summarise(network(), mtnets.mt_net()))
