"""Transformations within a task: what they do, and that their derivatives are finite at a gradient of zero."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rule_problems import WEIGHTS, noise, updates_of

from mtnets import OptionError
from mtnets.inner.rules import INNER_OPTIMISERS, clip_norm, proximal

pytestmark = pytest.mark.usefixtures("float64")


def norm(tree):
    return np.sqrt(sum(np.sum(leaf**2) for leaf in tree.values()))


def test_clipping_leaves_what_is_short_enough() -> None:
    g = noise(0)
    length = norm(g)
    (same,) = updates_of(clip_norm(1.01 * length), [g])
    (short,) = updates_of(clip_norm(0.2), [g])
    for path in g:
        np.testing.assert_array_equal(same[path], g[path])
        np.testing.assert_allclose(short[path], g[path] * 0.2 / length, rtol=1e-12)


def test_clipping_of_gradients_whose_squares_overflow() -> None:
    """In single precision, from 2e19 on."""
    g = {"w": np.array([3e30, -4e30], np.float32)}
    (short,) = updates_of(clip_norm(1.0), [g])
    np.testing.assert_allclose(short["w"], [0.6, -0.8], rtol=1e-5)


@pytest.mark.parametrize(
    "transformation",
    [clip_norm(0.5), proximal(0.5), *(make() for make in INNER_OPTIMISERS.values())],
    ids=["clip", "proximal", *INNER_OPTIMISERS],
)
def test_derivatives_are_finite_at_a_gradient_of_zero(transformation) -> None:
    """First and second ones, after two steps; where all ReLUs are off there is no gradient."""

    def after(g):
        state, update = transformation.init(g), g
        for _ in range(2):
            update, state = transformation.update(g, state, g)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in update.values())

    zeros = jax.tree.map(np.zeros_like, {"w": WEIGHTS["a.b"]})
    for derivative in (jax.grad(after)(zeros), jax.jit(jax.grad(lambda g: jax.grad(after)(g)["w"].sum()))(zeros)):
        assert np.isfinite(derivative["w"]).all()
    assert np.abs(jax.grad(after)(zeros)["w"]).min() > 0


def test_a_pull_toward_the_start() -> None:
    """`G + λ (w − θ)`, as the weights move."""
    gradients, params = [noise(seed) for seed in range(3)], noise(5)
    actual = updates_of(optax.chain(proximal(0.7), optax.scale(-0.1)), gradients, params, move=True)
    w = params
    for g, update in zip(gradients, actual, strict=True):
        for path in WEIGHTS:
            expected = -0.1 * (g[path] + 0.7 * (w[path] - params[path]))
            np.testing.assert_allclose(update[path], expected, rtol=1e-12, atol=1e-14)
        w = {path: w[path] + update[path] for path in w}


@pytest.mark.parametrize(
    ("name", "optax_s"),
    [
        ("sgd", optax.sgd(0.1)),
        ("momentum", optax.sgd(0.1, momentum=0.9)),
        ("adam", optax.adam(0.1, eps=0, eps_root=1e-8)),
    ],
)
def test_optimisers_are_those_of_optax(name, optax_s) -> None:
    gradients = [noise(seed) for seed in range(4)]
    ours = updates_of(optax.chain(INNER_OPTIMISERS[name](), optax.scale(-0.1)), gradients)
    for actual, expected in zip(ours, updates_of(optax_s, gradients), strict=True):
        for path in WEIGHTS:
            np.testing.assert_allclose(actual[path], expected[path], rtol=1e-12)


def test_bad_options() -> None:
    for most in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match=f"inner_clip is {most}"):
            clip_norm(most)
