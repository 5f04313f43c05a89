"""A network of plain functions is a model; built-in and registered ones compare by value, and are pickled."""

import copy
import dataclasses
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer

from mtnets import Model, OptionError, RunError, from_functions
from mtnets.networks import models
from mtnets.networks.model import NETWORKS, model_from_config
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
        assert isinstance(params["ant"]["w"], Tracer)
        return apply(params, state, x, key)

    model = Model(init, traced, (3,))
    assert [(layer.name, layer.bias) for layer in model.layers] == [("zebra", "zebra.b"), ("ant", None)]
    assert model.layers is model.layers
    assert calls == [((2, 3), None, ())]
    paths = leaves_by_path(init(jax.random.key(0))[0])
    for layer in model.layers:
        assert layer.shape == paths[layer.weight].shape


def test_models_of_plain_functions_are_told_apart_by_identity() -> None:
    """So that they can be static arguments of compiled functions."""
    a, b = Model(init, apply, (3,)), Model(init, apply, (3,))
    assert a != b
    assert a != "a"
    assert len({a, b}) == 2
    assert (a.norm, a.config, a.own_weights, a.fixed) == ("none", None, False, ())
    assert copy.copy(a) is copy.deepcopy(a) is a
    with pytest.raises(RunError, match=r"cannot be pickled; save the learner with save\(path\)"):
        pickle.dumps(a)


@pytest.mark.parametrize(
    "build",
    [
        lambda: models.conv4(3, image_size=16, filters=2, norm="none"),
        lambda: models.mlp(2, 3, 1, init_std=0.1, warp="residual"),
    ],
)
def test_built_in_models_are_their_config(build) -> None:
    """Equal ones share compiled programs; a pickle holds the config alone."""
    model, same = build(), build()
    assert model == same
    assert len({model, same}) == 1
    predict: Any = jax.jit(lambda model, params, x: model.apply(params, {}, x, None)[0], static_argnums=0)
    params, x = jax.jit(model.init)(jax.random.key(0))[0], jnp.ones((1, *model.input_shape))
    np.testing.assert_array_equal(predict(model, params, x), predict(same, params, x))
    assert predict._cache_size() == 1
    pickled = pickle.dumps(model)
    assert len(pickled) < 300
    assert pickle.loads(pickled) == model
    assert models.mlp(2, 3, 1) != models.mlp(2, 3, 1, norm="support")


def test_a_changed_copy_is_another_model() -> None:
    """Whatever is changed, programs of the original do not serve it, and a saved learner does not name the original."""
    model = models.mlp(2, 3, 1)
    changed = dataclasses.replace(model, apply=lambda params, state, x, key: (x, state))
    assert changed.config is None
    assert changed != model


def test_networks_of_the_user_are_registered() -> None:
    @models.register
    def affine(*sizes, scale=1.0):
        """An affine function."""
        return from_functions(lambda p, x: scale * (x @ p["w"]), {"w": jnp.ones(sizes)}, sizes[:1])

    try:
        model = affine(3, 2, scale=2.0)
        assert model.config == {"network": "affine", "sizes": [3, 2], "scale": 2.0}
        again = model_from_config(model.config)
        assert again == model
        np.testing.assert_array_equal(again.apply(*again.init(jax.random.key(0)), jnp.ones((1, 3)), None)[0], [[6, 6]])
        assert model_from_config({"network": "affine", "sizes": [3, 2]}).config == {
            **(model.config or {}),
            "scale": 1.0,
        }
        with pytest.raises(OptionError, match="affine has no option size; it has sizes, scale"):
            model_from_config({"network": "affine", "size": 3})
        with pytest.raises(OptionError, match=r"affine was called with .* must be plain values"):
            affine(3, 2, scale=jnp.ones(2))
        assert models.register(affine.__wrapped__)(3, 2, scale=2.0) != model  # type: ignore[attr-defined]  # as in a notebook, with other code
    finally:
        del NETWORKS["affine"]


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
