"""Learned maps of gradients, against their definitions in NumPy; GAP's meta-gradient, with singular vectors held."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rule_problems import LAYERS, WEIGHTS, begun, noise, setting_of, updates_of

from mtnets import OptionError, gap
from mtnets.inner.rules import context_bias, kronecker_factors, singular_scale, unit_scale
from mtnets.networks.layers import Layer
from problems import INNER_LR, assert_trees_close, gradient_of, naive_mlp, pair, small_mlp, start, task_of, tasks_for

pytestmark = pytest.mark.usefixtures("float64")


def softplus(x, beta=1.0):
    return np.log1p(np.exp(beta * x)) / beta


def test_a_scale_per_unit() -> None:
    rule = unit_scale()
    arrays = rule.init(setting_of())
    for zeta in arrays.values():
        np.testing.assert_allclose(softplus(zeta), 1, rtol=1e-6)
    zeta = {"a": noise(0)["a.b"], "b": noise(0)["b.w"][0, 0, 0]}
    (update,) = updates_of(begun(rule, zeta), [noise(1)])
    for path, g in noise(1).items():  # units are the last axis of all
        np.testing.assert_allclose(update[path], g * softplus(zeta[path[0]]), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 4), (3, 4), (5, 4)])
def test_a_scale_per_singular_value(shape) -> None:
    """Wide, square and tall gradients of full rank, the bias being one more row, against NumPy's decomposition."""
    layer = Layer("a", "a.w", "a.b", shape, (1,))
    weights = {"a.w": np.ones(shape), "a.b": np.ones(4)}
    random = np.random.default_rng(0)
    zeta = {"a": random.normal(size=min(shape[0] + 1, 4))}
    start = singular_scale().init(setting_of((layer,), weights))
    assert start["a"].shape == zeta["a"].shape
    np.testing.assert_allclose(softplus(start["a"]), 1, rtol=1e-6)
    gradient = {path: random.normal(size=leaf.shape) for path, leaf in weights.items()}
    (update,) = updates_of(singular_scale().begin((layer,), zeta, 0.5, jax.random.key(0)), [gradient], weights)
    u, sigma, v = np.linalg.svd(np.concatenate([gradient["a.w"], gradient["a.b"][None]]), full_matrices=False)
    expected = u @ np.diag(softplus(zeta["a"]) * sigma) @ v
    np.testing.assert_allclose(update["a.w"], expected[:-1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(update["a.b"], expected[-1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 4), (3, 4), (5, 4)])
@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_a_scale_per_singular_value_of_weights_alone(shape, beta) -> None:
    """The gradient of the bias stays as it is; a softplus of another β, which is 1 at the start too."""
    layer = Layer("a", "a.w", "a.b", shape, (1,))
    weights = {"a.w": np.ones(shape), "a.b": np.ones(4)}
    random = np.random.default_rng(0)
    rule = singular_scale(biases=False, beta=beta)
    start = rule.init(setting_of((layer,), weights))["a"]
    assert start.shape == (min(shape),)
    np.testing.assert_allclose(softplus(start, beta), 1, rtol=1e-6)
    zeta = {"a": random.normal(size=min(shape))}
    gradient = {path: random.normal(size=leaf.shape) for path, leaf in weights.items()}
    (update,) = updates_of(rule.begin((layer,), zeta, 0.5, jax.random.key(0)), [gradient], weights)
    u, sigma, v = np.linalg.svd(gradient["a.w"], full_matrices=False)
    expected = u @ np.diag(softplus(zeta["a"], beta) * sigma) @ v
    np.testing.assert_allclose(update["a.w"], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(update["a.b"], gradient["a.b"])


def test_softplus_of_any_beta() -> None:
    """Also of one whose exponential overflows, and layers without a bias."""
    (zeta,) = np.unique(singular_scale(beta=1e4, biases=False).init(setting_of())["b"])
    np.testing.assert_allclose(zeta, 1, rtol=1e-12)
    for beta in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(OptionError, match=f"beta is {beta}; it must be a number above 0"):
            gap(beta=beta)


def test_no_gradient_has_no_singular_vectors() -> None:
    """Updates and derivatives are finite at a gradient of zero and where singular values coincide."""
    zeta = singular_scale().init(setting_of())
    for g in (0.0, 1.0):
        gradient = {path: np.full(leaf.shape, g) for path, leaf in WEIGHTS.items()}
        update: Any
        update, pullback = jax.vjp(lambda z, g: begun(singular_scale(), z).update(g, None, None)[0], zeta, gradient)
        for leaf in jax.tree.leaves((update, pullback(update))):
            assert np.isfinite(leaf).all()
        np.testing.assert_allclose(update["b.w"], gradient["b.w"], rtol=1e-6, atol=1e-9)


def test_meta_gradient_of_gap_with_singular_vectors_held() -> None:
    """That of a naive network whose singular vectors at each step are constants, taken from NumPy's decomposition."""
    model, steps, key = small_mlp(), 2, jax.random.key(5)
    meta, state = start(model, "gap", spread=0.2)
    tasks = tasks_for(model)
    task = task_of(tasks, key)

    def loss(weights, batch):
        return jnp.mean((naive_mlp(meta, weights, batch.x) - batch.y) ** 2)

    def adapt(changed, vectors):
        """With the vectors given for each step and layer; without, they are found, in NumPy."""
        weights, held = [pair(changed.params, f"layers.{i}") for i in range(2)], []
        for step in range(steps):
            gradients = (grad if vectors is None else jax.grad(loss))(weights, task.support)
            moved, now = [], []
            for i, ((w, b), (gw, gb)) in enumerate(zip(weights, gradients, strict=True)):
                g = jnp.concatenate([gw, gb[None]])
                v = np.linalg.svd(np.asarray(g))[2].T if vectors is None else vectors[step][i]
                scale = jax.nn.softplus(changed.rule["scale"][f"layers.{i}"])
                update = -INNER_LR * (g @ v * scale) @ v.T
                moved.append((w + update[:-1], b + update[-1]))
                now.append(v)
            weights = moved
            held.append(now)
        return loss(weights, task.query), held

    grad = jax.jit(jax.grad(loss))
    expected_loss, vectors = adapt(meta, None)
    expected = jax.jit(jax.grad(lambda changed: adapt(changed, vectors)[0]))(meta)
    actual = gradient_of(model, "gap", steps)(meta, state, INNER_LR, tasks, key[None])
    np.testing.assert_allclose(actual.metrics["post_loss"], expected_loss, rtol=1e-10)
    assert_trees_close(actual.gradient, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("factors", ["oif", "o", "if"])
def test_factors_of_a_convolution(factors) -> None:
    """A weight `[kh, kw, inputs, units]` has three axes, its filter positions being one; a bias is scaled."""
    rule = kronecker_factors(factors)
    start = rule.init(setting_of())
    assert {f for f in start["b"] if f != "bias"} == set(factors)
    assert {f for f in start["a"] if f != "bias"} == set(factors) - {"f"}  # one position only
    for arrays in start.values():
        for name, a in arrays.items():
            np.testing.assert_array_equal(a, np.ones(4) if name == "bias" else np.eye(len(a)))
    random = np.random.default_rng(0)
    learned = jax.tree.map(lambda a: random.normal(size=a.shape), start)
    (update,) = updates_of(begun(rule, learned), [noise(1)])
    identities = {"a": {"o": np.eye(4), "i": np.eye(2)}, "b": {"o": np.eye(2), "i": np.eye(4), "f": np.eye(9)}}
    of = {name: eyes | learned[name] for name, eyes in identities.items()}
    conv = noise(1)["b.w"].reshape(9, 4, 2)
    expected = np.einsum("fio,fg,ij,op->gjp", conv, of["b"]["f"], of["b"]["i"], of["b"]["o"])
    np.testing.assert_allclose(update["b.w"].reshape(9, 4, 2), expected, rtol=1e-10, atol=1e-12)
    expected = np.einsum("io,ij,op->jp", noise(1)["a.w"], of["a"]["i"], of["a"]["o"])
    np.testing.assert_allclose(update["a.w"], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(update["a.b"], noise(1)["a.b"] * learned["a"]["bias"], rtol=1e-12)


def test_a_context() -> None:
    """Moves the first bias along the rows of C, and nothing else."""
    rule = context_bias(3)
    c = np.asarray(rule.init(setting_of()))
    assert c.shape == (3, 4)
    assert np.abs(c).max() <= 1 / np.sqrt(2 + 3)  # two inputs and three more
    assert np.std(c) > 0.1
    (update,) = updates_of(begun(rule, c), [noise(1)])
    np.testing.assert_allclose(update["a.b"], noise(1)["a.b"] @ c.T @ c, rtol=1e-12)
    for path in ("a.w", "b.w"):
        np.testing.assert_array_equal(update[path], np.zeros_like(WEIGHTS[path]))


def test_bad_options() -> None:
    for factors in ("", "x", "oix"):
        with pytest.raises(OptionError, match=f"factors is {factors!r}"):
            kronecker_factors(factors)
    with pytest.raises(OptionError, match="context is -2"):
        context_bias(-2)
    with pytest.raises(OptionError, match="b has no bias"):
        context_bias(2).init(setting_of(LAYERS[1:]))
