"""Wrapping by kind, models made from models, and what cannot be wrapped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtnets
from mtnets import OptionError, frozen, in_precision, wrap
from mtnets.trees import leaves_by_path

W1, W2 = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)


def apply(params, x):
    return jnp.tanh(x @ params["body"]["w"] + params["body"]["b"]) @ params["head"]["w"]


def params():
    return {"body": {"w": W1, "b": np.zeros(4, np.float32)}, "head": {"w": W2}}


def test_a_pair_and_its_names() -> None:
    found = {layer.name: (layer.weight, layer.bias) for layer in wrap((apply, params()), (4,)).layers}
    assert found == {"body": ("body.w", "body.b"), "head": ("head.w", None)}
    named = wrap((apply, params()), (4,), layers={"last": ("head.w", None)})
    assert [(layer.name, layer.weight) for layer in named.layers] == [("last", "head.w")]
    assert wrap((apply, params()), (4,), layers={"last": "head.w"}).layers == named.layers
    assert wrap((apply, params()), (4,), layers={"first": ("body.w", "body.b")}).layers[0].bias == "body.b"
    for wrong in (("body.w", "body.b", "head.w"), (), 3, (None, "body.w")):
        with pytest.raises(OptionError, match=r"Layer a is .*; it must be the path of its weight"):
            wrap((apply, params()), (4,), layers={"a": wrong})
    with pytest.raises(OptionError, match=r"Layer a: body.x is no weight of a layer; there are body.w, head.w"):
        _ = wrap((apply, params()), (4,), layers={"a": ("body.x", None)}).layers
    with pytest.raises(OptionError, match=r"Layer a: the bias head.w is \(4, 4\); body.w needs \(4,\)"):
        _ = wrap((apply, params()), (4,), layers={"a": ("body.w", "head.w")}).layers


def test_randomness_of_a_pair() -> None:
    def noisy(params, x, key):
        return apply(params, x) + (0 if key is None else jax.random.normal(key, (len(x), 4)))

    model = wrap((noisy, params()), (4,), random=True)
    x = jnp.ones((2, 4))
    weights, state = model.init(jax.random.key(0))
    quiet = model.apply(weights, state, x, None)[0]
    assert not np.allclose(model.apply(weights, state, x, jax.random.key(1))[0], quiet)
    np.testing.assert_allclose(quiet, apply(params(), x), rtol=1e-6)


@pytest.mark.parametrize("build", [lambda rngs: nnx.Linear(3, 2, rngs=rngs), nnx.Linear(3, 2, rngs=nnx.Rngs(0))])
def test_nnx_modules_and_builders(build) -> None:
    assert wrap(build, (3,), norm="none").own_weights is isinstance(build, nnx.Module)


def test_frozen_parts_never_move() -> None:
    """Neither in a task nor in meta-training; the rest does both."""
    model = frozen(wrap((apply, params()), (4,)), ["body"])
    assert [layer.name for layer in model.layers] == ["head"]
    tasks = mtnets.tasks.Rows.of({str(i): (np.eye(4) + i, np.eye(4)) for i in range(2)}, shots=2, queries=2)
    learner = mtnets.meta_train(
        model, mtnets.mt_net(0.1), tasks, loss="mse", meta_steps=2, meta_batch=2, inner_steps=1, validate_every=0,
        progress=False,
    )  # fmt: skip
    assert list(leaves_by_path(learner.meta.params)) == ["head.w"]
    assert not np.array_equal(learner.meta.params["head"]["w"], W2)
    np.testing.assert_array_equal(learner.state["frozen"]["body.w"], W1)
    adapted = learner.adapt(np.eye(4), np.eye(4))
    expected = np.tanh(np.eye(4) @ W1) @ np.asarray(adapted.params["head"]["w"])
    np.testing.assert_allclose(adapted(np.eye(4)), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(OptionError, match=r"no 'foot' to freeze; it has body.b, body.w, head.w"):
        frozen(wrap((apply, params()), (4,)), ["foot"])
    with pytest.raises(OptionError, match="which is all of the network"):
        frozen(wrap((apply, params()), (4,)), ["body", "head"])


def test_another_precision_computes_in_it_and_learns_in_float32() -> None:
    whole = wrap((apply, params()), (4,))
    half = in_precision(whole, jnp.bfloat16)
    weights, state = half.init(jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)), jnp.float32)
    y, _ = half.apply(weights, state, x, None)
    assert y.dtype == jnp.float32
    exact = whole.apply(weights, state, x, None)[0]
    assert not np.array_equal(y, exact)
    np.testing.assert_allclose(y, exact, rtol=0.05, atol=0.05)
    gradient = jax.grad(lambda p: half.apply(p, state, x, None)[0].sum())(weights)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}
    assert "bfloat16" in str(jax.make_jaxpr(lambda p: half.apply(p, state, x, None)[0])(weights))
    with pytest.raises(OptionError, match="must be of floating point"):
        in_precision(whole, jnp.int8)


class Foreign:
    """An array of another library."""

    shape, dtype = (4, 4), "torch.float32"


def test_networks_that_cannot_be_wrapped() -> None:
    with pytest.raises(OptionError, match="no way to wrap a str"):
        wrap("network", (3,))
    with pytest.raises(OptionError, match="no parameters"):
        wrap((lambda p, x: x, {}), (3,))
    with pytest.raises(OptionError, match="The parameter table is int32"):
        wrap((lambda p, x: x @ p["w"], {"w": W1, "table": np.ones(3, np.int32)}), (4,))
    with pytest.raises(
        OptionError, match=r"params is str; parameters must be arrays of floating point, of NumPy or JAX"
    ):
        wrap((lambda p, x: x, "weights"), (3,))
    with pytest.raises(OptionError, match="The parameter w is Foreign; parameters must be arrays"):
        wrap((lambda p, x: x @ p["w"], {"w": Foreign()}), (4,))
    with pytest.raises(OptionError, match=r"returns str; it must return one array \[examples, outputs\]"):
        wrap((lambda p, x: "outputs", {"w": W1}), (4,))
    with pytest.raises(OptionError, match=r"returns \[3, 0\]; it must return one array \[examples, outputs\]"):
        wrap((lambda p, x: (x @ p["w"])[:, :0], {"w": W1}), (4,))
    with pytest.raises(OptionError, match=r"returns numbers of int32, which have no gradient"):
        wrap((lambda p, x: (x @ p["w"]).astype(int), {"w": W1}), (4,))
    with pytest.raises(OptionError, match=r"returns \[3\]; it must return one array \[examples, outputs\]"):
        wrap((lambda p, x: (x @ p["w"]).sum(1), {"w": W1}), (4,))
    with pytest.raises(OptionError, match="returns NaN or infinity"):
        wrap((lambda p, x: jnp.log(-1.0 - jnp.abs(x @ p["w"])), {"w": W1}), (4,))
    with pytest.raises(OptionError, match=r"cannot take inputs \[examples, 5\]"):
        wrap((apply, params()), (5,))
    with pytest.raises(OptionError, match="no layer to adapt"):
        _ = wrap((lambda p, x: x * p["scale"], {"scale": np.ones(4, np.float32)}), (4,)).layers
