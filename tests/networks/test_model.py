"""A network of plain functions is a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets import Model, OptionError
from mtnets.trees import leaves_by_path


def init(key):
    return {"zebra": {"w": jax.random.normal(key, (3, 4)), "b": jnp.zeros(4)}, "ant": {"w": jnp.ones((4, 2))}}, {
        "seen": jnp.zeros(())
    }


def apply(params, state, x, key):
    h = jnp.tanh(x @ params["zebra"]["w"] + params["zebra"]["b"])
    return h @ params["ant"]["w"], state


def test_layers_are_found_once_and_without_running_the_network() -> None:
    calls = []

    def traced(params, state, x, key):
        calls.append((x.shape, key, state["seen"].shape))
        assert isinstance(params["ant"]["w"], jax.core.Tracer)
        return apply(params, state, x, key)

    model = Model(init, traced, (3,))
    assert [(layer.name, layer.bias) for layer in model.layers] == [("zebra", "zebra.b"), ("ant", None)]
    assert model.layers is model.layers
    assert calls == [((2, 3), None, ())]
    paths = leaves_by_path(init(jax.random.key(0))[0])
    for layer in model.layers:
        assert layer.shape == paths[layer.weight].shape


def test_models_are_told_apart_by_identity() -> None:
    """So that they can be static arguments of compiled functions."""
    a, b = Model(init, apply, (3,)), Model(init, apply, (3,))
    assert a != b
    assert len({a, b}) == 2
    assert (a.norm, a.config, a.own_weights, a.fixed) == ("none", None, False, ())


def test_a_model_without_layers() -> None:
    model = Model(lambda key: ({"shift": jnp.zeros(3)}, {}), lambda p, s, x, key: (x + p["shift"], s), (3,))
    with pytest.raises(OptionError, match="shift"):
        _ = model.layers


def test_integer_inputs() -> None:
    """Token sequences go into a table."""

    def look_up(params, state, x, key):
        return params["table"][x].mean(1) @ params["head"], state

    model = Model(
        lambda key: ({"table": jnp.ones((7, 4)), "head": jnp.ones((4, 2))}, {}), look_up, (5,), input_dtype=jnp.int32
    )
    assert [layer.name for layer in model.layers] == ["table", "head"]


def test_a_model_is_its_functions() -> None:
    model = Model(init, apply, (3,))
    params, state = model.init(jax.random.key(0))
    x = np.ones((5, 3), np.float32)
    y, same = model.apply(params, state, x, None)
    np.testing.assert_allclose(y, np.tanh(x @ params["zebra"]["w"]) @ np.ones((4, 2)), rtol=1e-5)
    assert same is state
