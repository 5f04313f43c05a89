"""Flax NNX modules as models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mtnets import OptionError, from_nnx
from mtnets.networks.models import BatchNorm
from problems import gradient_at

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


class Net(nnx.Module):
    """Linear, batch norm, dropout, linear, as asked for."""

    def __init__(self, rngs, *, norm=None, rate=0.0):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = norm(4, rngs=rngs) if norm else None
        self.dropout = nnx.Dropout(rate, rngs=rngs) if rate else None
        self.last = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        x = self.first(x)
        x = self.norm(x) if self.norm else x
        return self.last(self.dropout(x) if self.dropout else x)


def with_norm(momentum):
    return lambda rngs: Net(rngs, norm=lambda size, rngs: BatchNorm(size, momentum=momentum, rngs=rngs))


def predict(params, x):
    """`Net` without norm or dropout."""
    return (x @ params["first"]["kernel"] + params["first"]["bias"]) @ params["last"]["kernel"] + params["last"]["bias"]


def test_a_module_is_its_functions() -> None:
    model = from_nnx(Net, (3,), norm="none")
    params, state = model.init(jax.random.key(0))
    assert state == {}
    assert not model.own_weights
    for key in (None, jax.random.key(1)):
        y, after = model.apply(params, state, X, key)
        np.testing.assert_allclose(y, predict(params, X), rtol=1e-5)
        assert after == {}
    other = model.init(jax.random.key(1))[0]
    assert not np.allclose(params["first"]["kernel"], other["first"]["kernel"])
    again = model.init(jax.random.key(0))[0]
    np.testing.assert_array_equal(params["first"]["kernel"], again["first"]["kernel"])
    module = Net(nnx.Rngs(jax.random.key(0)))  # the weights are those of the library's own initialisation
    np.testing.assert_array_equal(params["first"]["kernel"], module.first.kernel[...])


@pytest.mark.parametrize("norm", ["none", "support", "running", "transductive"])
@pytest.mark.parametrize(
    "build", [Net, lambda rngs: Net(rngs, rate=0.5), with_norm(0.0)], ids=["plain", "dropout", "batch norm"]
)
def test_a_built_module_keeps_its_weights(build, norm: str) -> None:
    module = build(nnx.Rngs(7))
    if norm == "none" and module.norm is not None:
        with pytest.raises(OptionError, match="has batch statistics and norm='none'"):
            from_nnx(module, (3,), norm=norm)
        return
    model = from_nnx(module, (3,), norm=norm)
    assert model.own_weights
    assert [layer.name for layer in model.layers] == ["first", "last"]
    for seed in (0, 1):
        params, state = model.init(jax.random.key(seed))
        np.testing.assert_array_equal(params["last"]["kernel"], module.last.kernel[...])
        y = jax.jit(model.apply)(params, state, X, None)[0]
        assert np.isfinite(y).all()


@pytest.mark.parametrize("norm", ["none", "support", "running", "transductive"])
def test_dropout_is_on_with_a_key_and_off_without(norm: str) -> None:
    model = from_nnx(lambda rngs: Net(rngs, rate=0.5), (3,), norm=norm)
    params, state = model.init(jax.random.key(0))
    apply = jax.jit(model.apply)
    learning = [np.asarray(apply(params, state, X, jax.random.key(seed))[0]) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(learning[0], learning[1])
    assert not np.allclose(learning[0], learning[2])
    np.testing.assert_allclose(apply(params, state, X, None)[0], predict(params, X), rtol=1e-4, atol=1e-5)
    # each element apart: rows of one batch are masked differently
    rows = np.asarray(apply(params, state, np.ones((50, 3), np.float32), jax.random.key(1))[0])
    assert len(np.unique(rows.round(4), axis=0)) > 5


def normalised(params, x, mean, var):
    h = x @ params["first"]["kernel"] + params["first"]["bias"]
    h = (h - mean) / np.sqrt(var + 1e-3) + params["norm"]["bias"]
    return h @ params["last"]["kernel"] + params["last"]["bias"]


def test_transductive() -> None:
    """Always the current batch; no state."""
    model = from_nnx(with_norm(0.99), (3,), norm="transductive")
    params, state = model.init(jax.random.key(0))
    assert state == {}
    h = X @ params["first"]["kernel"] + params["first"]["bias"]
    for key in (None, jax.random.key(1)):
        y, after = model.apply(params, state, X, key)
        np.testing.assert_allclose(y, normalised(params, X, h.mean(0), h.var(0)), rtol=1e-4, atol=1e-5)
        assert after == {}
    half = model.apply(params, state, X[:3], None)[0]
    assert np.abs(half - y[:3]).max() > 0.05


@pytest.mark.parametrize(("norm", "momentum"), [("support", 0.0), ("running", 0.75)])
def test_statistics_are_carried_by_the_state(norm: str, momentum: float) -> None:
    """With a key the current batch is used and remembered; without one what is remembered is used."""
    model = from_nnx(with_norm(momentum), (3,), norm=norm)
    params, state = model.init(jax.random.key(0))
    h = X @ params["first"]["kernel"] + params["first"]["bias"]
    y, after = model.apply(params, state, X, jax.random.key(1))
    np.testing.assert_allclose(y, normalised(params, X, h.mean(0), h.var(0)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["norm"]["mean"], (1 - momentum) * h.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after["norm"]["var"], momentum + (1 - momentum) * h.var(0), rtol=1e-4)
    y, same = model.apply(params, after, X, None)
    expected = normalised(params, X, after["norm"]["mean"], after["norm"]["var"])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert same is after
    np.testing.assert_allclose(model.apply(params, after, X[:2], None)[0], y[:2], rtol=1e-4, atol=1e-5)


class Constant(nnx.Module):
    """A table that is neither trained nor remembered."""

    def __init__(self, rngs, wrap=nnx.Variable):
        self.linear = nnx.Linear(3, 2, rngs=rngs)
        self.shift = wrap(jnp.array([10.0, 20.0]))

    def __call__(self, x):
        return self.linear(x) + self.shift[...]


@pytest.mark.parametrize("norm", ["none", "transductive", "support", "running"])
def test_constants_of_a_module_stay(norm: str) -> None:
    model = from_nnx(Constant, (3,), norm=norm)
    params, state = model.init(jax.random.key(0))
    expected = X @ params["linear"]["kernel"] + params["linear"]["bias"] + np.array([10.0, 20.0])
    for key in (None, jax.random.key(1)):
        np.testing.assert_allclose(model.apply(params, state, X, key)[0], expected, rtol=1e-5)


def test_plain_arrays_in_a_module_are_refused() -> None:
    with pytest.raises(OptionError, match=r"no nnx\.Variable, at shift; wrap it"):
        from_nnx(lambda rngs: Constant(rngs, lambda array: array), (3,))


def test_the_state_may_hold_integers() -> None:
    """A counter is still one after a mean over tasks."""
    from mtnets import METHODS
    from mtnets.inner import criterion
    from mtnets.inner.loop import Inner
    from mtnets.inner.task import Batch, Task

    class Counter(nnx.Module):
        def __init__(self, rngs):
            self.linear, self.calls = nnx.Linear(3, 2, rngs=rngs), nnx.Variable(jnp.zeros((), jnp.int32))

        def __call__(self, x):
            self.calls[...] += 1
            return self.linear(x)

    class Fixed:
        def sample(self, key):
            return Task(Batch(X, X[:, :2]), Batch(X, X[:, :2]))

    model = from_nnx(Counter, (3,), norm="running")
    params, state = model.init(jax.random.key(0))
    method = METHODS["maml"]()
    meta = method.init(model, params, jax.random.key(0), inner_lr=0.1, inner_steps=1)
    jax.tree_util.register_pytree_node(Fixed, lambda tasks: ((), None), lambda aux, children: Fixed())
    keys = jax.random.split(jax.random.key(0), 2)
    after = gradient_at(Inner(model, method, criterion("mse"), 1), meta, state, 0.1, Fixed(), keys).state
    assert after["calls"].dtype == state["calls"].dtype


def test_defaults() -> None:
    model = from_nnx(Net, (3,))
    assert model.config is None
    assert model.input_shape == (3,)
    assert model.norm == "support"


def test_an_attribute_that_cannot_be_compared_is_named() -> None:
    class Network(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.conv = nnx.Conv(1, 2, (3, 3), padding=[(1, 1), (1, 1)], rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.conv(x).mean((1, 2))

    with pytest.raises(OptionError, match=r"unhashable type: 'list'\); give it a tuple"):
        from_nnx(Network(nnx.Rngs(0)), (8, 8, 1))
