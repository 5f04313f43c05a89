"""The same network, weights and task in every library: the same layers, meta-gradient and adapted predictions."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import mtnets
from mtnets import METHODS, OptionError, wrap
from mtnets.inner import Meta, criterion
from mtnets.inner.loop import Inner
from mtnets.trees import leaves_by_path
from problems import adapt_at, gradient_at, tasks_for, to_float64

SIZES = (3, 6, 5, 2)
ALPHA = 0.1


def weights():
    """The weight `[inputs, outputs]` and bias of each layer."""
    random = np.random.default_rng(0)
    return [(random.normal(size=(a, b)) / a**0.5, random.normal(size=b) / 4) for a, b in itertools.pairwise(SIZES)]


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(SIZES)])

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = jnp.tanh(layer(x))
        return self.layers[-1](x)


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x):
        for size in SIZES[1:-1]:
            x = jnp.tanh(linen.Dense(size)(x))
        return linen.Dense(SIZES[-1])(x)


def of_nnx():
    module = Nnx(nnx.Rngs(0))
    for layer, (weight, bias) in zip(module.layers, weights(), strict=True):
        layer.kernel, layer.bias = nnx.Param(jnp.asarray(weight)), nnx.Param(jnp.asarray(bias))
    return wrap(module, (3,), norm="none")


def of_linen():
    params = {f"Dense_{i}": {"kernel": w, "bias": b} for i, (w, b) in enumerate(weights())}
    return wrap(Linen(), (3,), variables={"params": params})


def of_equinox():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 3)
    layers = [eqx.nn.Linear(a, b, key=key) for (a, b), key in zip(itertools.pairwise(SIZES), keys, strict=True)]
    for i, (w, b) in enumerate(weights()):
        layers[i] = eqx.tree_at(lambda l: (l.weight, l.bias), layers[i], (jnp.asarray(w.T), jnp.asarray(b)))
    tanh = eqx.nn.Lambda(jnp.tanh)
    return wrap(eqx.nn.Sequential([layers[0], tanh, layers[1], tanh, layers[2]]), (3,))


def of_haiku():
    hk = pytest.importorskip("haiku")
    network = hk.transform(lambda x: hk.nets.MLP(SIZES[1:], activation=jnp.tanh)(x))  # noqa: PLW0108
    params = {f"mlp/~/linear_{i}": {"w": jnp.asarray(w), "b": jnp.asarray(b)} for i, (w, b) in enumerate(weights())}
    return wrap(network, (3,), params=params)


def of_functions():
    (w1, b1), (w2, b2), (w3, b3) = weights()
    params = {"w1": w1, "b1": b1, "w2": w2, "b2": b2, "w3": w3, "b3": b3}

    def apply(p, x):
        return jnp.tanh(jnp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]) @ p["w3"] + p["b3"]

    return wrap((apply, params), (3,), layers={f"layer{i}": (f"w{i}", f"b{i}") for i in (1, 2, 3)})


def of_torch():
    torch = pytest.importorskip("torch")
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(SIZES)]
    for layer, (w, b) in zip(layers, weights(), strict=True):
        layer.load_state_dict({"weight": torch.tensor(w.T), "bias": torch.tensor(b)})
    tanh = torch.nn.Tanh()
    return wrap(torch.nn.Sequential(layers[0], tanh, layers[1], tanh, layers[2]), (3,))


BUILDERS = {"linen": of_linen, "equinox": of_equinox, "haiku": of_haiku, "functions": of_functions, "torch": of_torch}


def learned(model, method):
    """Everything that is compared: by layer, not by the names of the library."""
    params, state = (to_float64(tree) for tree in model.init(jax.random.key(0)))
    layers = method.choose(model.layers)
    meta = method.init(model, params, jax.random.key(1), inner_lr=ALPHA, inner_steps=2)
    # away from the identity, the same for all
    random = np.random.default_rng(1)
    noise = [0.1 * random.normal(size=(layer.units, layer.units)) for layer in layers]
    meta = Meta(params, {layer.name: np.eye(layer.units) + n for layer, n in zip(layers, noise, strict=True)}, {})
    inner = Inner(model, method, criterion("mse"), 2)
    tasks = tasks_for(model)
    keys = jax.random.split(jax.random.key(2), 3)
    found = gradient_at(inner, meta, state, ALPHA, tasks, keys)
    task = tasks.sample(keys[0])
    adapted = adapt_at(inner, meta, state, ALPHA, task.support, keys[1])
    prediction = model.apply(adapted.params, adapted.state, task.query.x, None)[0]
    leaves = leaves_by_path(found.gradient.params)
    matrices = [np.asarray(layer.matrix(leaves)) for layer in layers]
    metrics = [np.asarray(found.gradient.fold[layer.name]) for layer in layers]
    return [*matrices, *metrics, np.asarray(prediction)]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("library", BUILDERS)
def test_the_same_in_every_library(library) -> None:
    method = METHODS["t_net"](ALPHA)
    model = BUILDERS[library]()
    assert [layer.shape for layer in model.layers if layer.bias is None] == []
    assert model.own_weights
    expected, found = learned(of_nnx(), method), learned(model, method)
    tolerance = 1e-5 if library == "torch" else 1e-10
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_a_starting_point_of_its_own_for_each_seed() -> None:
    hk = pytest.importorskip("haiku")

    def apply(p, x):
        return x @ p["w"]

    for model in (
        wrap(Linen(), (3,)),
        wrap(hk.transform(lambda x: hk.Linear(2)(x)), (3,)),  # noqa: PLW0108
        wrap((apply, {"w": np.ones((3, 2))}), (3,), init=lambda key: {"w": jax.random.normal(key, (3, 2))}),
        wrap(Nnx, (3,), norm="none"),
    ):
        assert not model.own_weights
        a, b, c = (jax.tree.leaves(model.init(jax.random.key(seed))[0]) for seed in (0, 1, 0))
        assert not all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        assert all(np.array_equal(x, y) for x, y in zip(a, c, strict=True))


class LinenNorm(linen.Module):
    """With batch norm and dropout."""

    momentum: float = 0.0

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.BatchNorm(use_running_average=not train, momentum=self.momentum)(linen.Dense(8)(x))
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(jnp.tanh(x)))


def haiku_norm():
    hk = pytest.importorskip("haiku")

    def network(x, is_training=False):
        x = hk.BatchNorm(True, True, decay_rate=0.0)(hk.Linear(8)(x), is_training)
        x = hk.dropout(hk.next_rng_key(), 0.5, jnp.tanh(x)) if is_training else jnp.tanh(x)
        return hk.Linear(2)(x)

    return hk.transform_with_state(network)


def equinox_norm():
    eqx = pytest.importorskip("equinox")

    class Network(eqx.Module):
        first: Any
        norm: Any
        dropout: Any
        last: Any

        def __init__(self, key):
            a, b = jax.random.split(key)
            self.first, self.last = eqx.nn.Linear(3, 8, key=a), eqx.nn.Linear(8, 2, key=b)
            self.norm = eqx.nn.BatchNorm(8, axis_name="batch", momentum=0.0, mode="batch")
            self.dropout = eqx.nn.Dropout(0.5)

        def __call__(self, x, state, key=None):
            x, state = self.norm(self.first(x), state)
            return self.last(self.dropout(jnp.tanh(x), key=key)), state

    return eqx.nn.make_with_state(Network)(jax.random.key(0))


def torch_norm():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2))


NORMED = {
    "linen": lambda norm: wrap(LinenNorm(), (3,), norm=norm, learning={"train": True}, predicting={"train": False}),
    "haiku": lambda norm: wrap(haiku_norm(), (3,), norm=norm, learning={"is_training": True}),
    "equinox": lambda norm: wrap(equinox_norm(), (3,), norm=norm),
    "torch": lambda norm: wrap(torch_norm(), (3,), norm=norm),
}


@pytest.mark.parametrize("norm", ["support", "running"])
@pytest.mark.parametrize("library", NORMED)
def test_batch_norm_and_dropout(library, norm) -> None:
    """Learning is random and takes statistics, predicting is neither; support statistics forget what was before."""
    model = NORMED[library](norm)
    params, state = model.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(1.0, 2.0, size=(16, 3)).astype(np.float32)
    learn = jax.jit(lambda x, state, key: model.apply(params, state, x, key))
    (a, after), (b, _) = (learn(x, state, jax.random.key(seed)) for seed in (0, 1))
    assert not np.allclose(a, b)
    predict = jax.jit(lambda x, state: model.apply(params, state, x, None))
    y, kept = predict(x, after)
    jax.tree.map(np.testing.assert_array_equal, kept, after)
    np.testing.assert_allclose(y[:1], predict(x[:1], after)[0], rtol=1e-4, atol=1e-5)  # not of its neighbours
    if norm == "support":
        again = learn(x, learn(10 * x, state, jax.random.key(0))[1], jax.random.key(0))[1]
        for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(after), strict=True):
            if one.dtype == np.float32 and one.size > 1:  # not counts of batches
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("library", NORMED)
def test_statistics_must_be_named(library) -> None:
    with pytest.raises(OptionError, match="batch statistics and norm='none'; say what they are"):
        NORMED[library]("none")
    with pytest.raises(OptionError, match="norm is 'batch'"):
        NORMED[library]("batch")


def test_a_model_of_another_library_is_meta_trained_saved_and_loaded(tmp_path) -> None:
    model = of_linen()
    family = mtnets.tasks.sinusoid(shots=5)
    model = wrap((lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], {"a": np.ones((1, 4)), "b": np.ones((4, 1))}), (1,))
    learner = mtnets.meta_train(model, mtnets.mt_net(0.01), family, meta_steps=2, validate_every=0, progress=False)
    learner.save(tmp_path)
    with pytest.raises(mtnets.RunError, match=r"pass it, in Python: mtnets\.load\(path, model"):
        mtnets.load(tmp_path)
    again = mtnets.load(tmp_path, model=model)
    x, y = np.linspace(-1, 1, 5)[:, None], np.ones((5, 1))
    np.testing.assert_array_equal(learner.adapt(x, y)(x), again.adapt(x, y)(x))
