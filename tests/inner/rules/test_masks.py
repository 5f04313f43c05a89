"""Masks: how often, for how long and with what gradient."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rule_problems import LAYERS, WEIGHTS, begun, noise, setting_of, updates_of

from mtnets import OptionError, mt_net, sparse_maml
from mtnets.inner.rules import chain, element_mask, row_mask, sgd, sparse_mask, straight_through_mask
from mtnets.networks.layers import Layer

pytestmark = pytest.mark.usefixtures("float64")
LOGITS = {"a": np.array([-2.0, -0.5, 0.3, 1.5]), "b": np.array([0.0, 3.0])}
DRAWS = 4000


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def elements(logits):
    """The same ζ for all elements of a unit."""
    return {
        "a.w": np.broadcast_to(logits["a"], (2, 4)),
        "a.b": logits["a"],
        "b.w": np.broadcast_to(logits["b"], (3, 3, 4, 2)),
    }


def masks(rule, arrays, steps=1):
    """What a rule makes of gradients of one, at each inner step."""
    return updates_of(begun(rule, arrays), [WEIGHTS] * steps)


def assert_share(draws, probability):
    """Shares of ones within five standard errors of their probability."""
    assert np.isin(draws, [0, 1]).all()
    error = np.sqrt(probability * (1 - probability) / len(draws))
    np.testing.assert_array_less(np.abs(draws.mean(0) - probability), 5 * error)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 7.0])
def test_units_move_with_probability_sigmoid_of_the_logit(temperature: float) -> None:
    draw = jax.jit(jax.vmap(lambda key: straight_through_mask(jnp.asarray(LOGITS["a"]), key, temperature)))
    assert_share(np.asarray(draw(jax.random.split(jax.random.key(0), DRAWS))), sigmoid(LOGITS["a"]))


def test_masks_of_rows_and_elements() -> None:
    """Exactly 0 or 1, with the right frequency, units and layers independent of each other."""

    def draw(rule, arrays, key):
        transformation = rule.begin(LAYERS, arrays, 0.5, key)
        return transformation.update(WEIGHTS, transformation.init(WEIGHTS), WEIGHTS)[0]

    keys = jax.random.split(jax.random.key(1), DRAWS)
    for rule, logits in ((row_mask(), LOGITS), (element_mask(), elements(LOGITS))):
        drawn = jax.jit(jax.vmap(functools.partial(draw, rule, logits)))(keys)
        drawn = {path: np.asarray(a, np.float64) for path, a in drawn.items()}
        for path, draws in drawn.items():
            assert_share(draws, np.broadcast_to(sigmoid(elements(LOGITS)[path]), draws.shape[1:]))
        columns = np.concatenate([drawn["a.w"][:, 0], drawn["b.w"][:, 0, 0, 0]], axis=1)
        correlation = np.corrcoef(columns.T) - np.eye(6)
        assert np.abs(correlation).max() < 5 / np.sqrt(DRAWS)
        shared = all((drawn["a.w"][:, i] == drawn["a.b"]).all() for i in range(2))
        assert shared == (rule.init(setting_of()).keys() == LOGITS.keys())


def test_half_of_a_sparse_mask_may_start_closed() -> None:
    """ζ starts uniformly between −start and start; what is below 0 does not move."""
    weights = {"a.w": np.ones((50, 80)), "a.b": np.ones(80)}
    rule = sparse_mask(start=0.2, half_closed=True)
    zeta = rule.init(setting_of((), weights))
    drawn = np.concatenate([np.ravel(zeta[path]) for path in weights])
    assert -0.2 < drawn.min() < -0.199 < 0.199 < drawn.max() < 0.2
    assert_share((drawn > 0).astype(float)[:, None], np.array([0.5]))
    (update,) = updates_of(rule.begin((), zeta, 0.5, jax.random.key(0)), [weights], weights)
    for path, leaf in zeta.items():
        np.testing.assert_array_equal(update[path], np.asarray(leaf) > 0)
    with pytest.raises(OptionError, match=r"start is 0\.0"):
        sparse_maml(start=0.0, half_closed=True)


def test_a_row_mask_is_drawn_once_and_an_element_mask_at_each_step() -> None:
    first, *others = masks(row_mask(), {"a": np.zeros(4), "b": np.zeros(2)}, steps=4)
    for other in others:
        for path, mask in first.items():
            np.testing.assert_array_equal(mask, other[path])
    zeros = {path: np.zeros(leaf.shape) for path, leaf in WEIGHTS.items()}
    drawn = [np.asarray(step["b.w"]) for step in masks(element_mask(), zeros, steps=4)]
    for i in range(4):
        for j in range(i):
            assert 0.2 < (drawn[i] != drawn[j]).mean() < 0.8


def test_masks_depend_on_the_key_alone() -> None:
    zeros = {"a": np.zeros(400), "b": np.zeros(2)}
    layers = (Layer("a", "a.w", None, (1, 400), (1,)), LAYERS[1])

    def draw(key):
        updates = {"a.w": np.ones((1, 400)), "b.w": WEIGHTS["b.w"]}
        transformation = row_mask().begin(layers, zeros, 0.5, jax.random.key(key))
        moved: Any = transformation.update(updates, transformation.init(updates), None)[0]
        return np.asarray(moved["a.w"])

    np.testing.assert_array_equal(draw(0), draw(0))
    assert 0.3 < (draw(0) != draw(1)).mean() < 0.7


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_straight_through_gradient_is_that_of_the_soft_mask(temperature: float) -> None:
    logits, key = jnp.asarray(LOGITS["a"]), jax.random.key(3)
    noise = np.asarray(jax.random.logistic(key, (4,), jnp.float64))
    soft = sigmoid((LOGITS["a"] + noise) / temperature)
    mask, pullback = jax.vjp(lambda zeta: straight_through_mask(zeta, key, temperature), logits)
    np.testing.assert_array_equal(mask, soft > 0.5)
    cotangent = np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(pullback(jnp.asarray(cotangent))[0], cotangent * soft * (1 - soft) / temperature)


def test_three_ways_to_use_a_mask() -> None:
    """`E[Tᵀ D T] = Tᵀ diag(σ(ζ)) T`; the mean and the threshold are not random."""
    t = np.random.default_rng(0).normal(size=(4, 4))
    for rule, logits in ((row_mask, LOGITS), (element_mask, elements(LOGITS))):
        (mean,) = masks(rule(use="mean"), logits)
        (threshold,) = masks(rule(use="threshold"), logits)
        for path, zeta in elements(LOGITS).items():
            np.testing.assert_allclose(mean[path], np.broadcast_to(sigmoid(zeta), WEIGHTS[path].shape), rtol=1e-12)
            np.testing.assert_array_equal(threshold[path], np.broadcast_to(zeta > 0, WEIGHTS[path].shape))
    draw = jax.jit(jax.vmap(lambda key: straight_through_mask(jnp.asarray(LOGITS["a"]), key)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(2), DRAWS)))
    metrics = np.einsum("ki,nk,kj->nij", t, drawn, t)
    expected = t.T @ np.diag(sigmoid(LOGITS["a"])) @ t
    error = metrics.std(0) / np.sqrt(DRAWS)
    np.testing.assert_array_less(np.abs(metrics.mean(0) - expected), 5 * error)


def test_where_logits_start() -> None:
    """0 for rows; for elements a truncated normal of scale 0.1 in dense layers, 0.01 in convolutions."""
    rows = row_mask().init(setting_of())
    assert {name: zeta.tolist() for name, zeta in rows.items()} == {"a": [0.0] * 4, "b": [0.0] * 2}
    layers = (Layer("a", "a.w", "a.b", (40, 50), (1,)), Layer("b", "b.w", None, (3, 3, 20, 10), (3,)))
    weights = {"a.w": jnp.ones((40, 50)), "a.b": jnp.ones(50), "b.w": jnp.ones((3, 3, 20, 10))}
    zeta = element_mask().init(setting_of(layers, weights))
    assert {path: a.shape for path, a in zeta.items()} == {path: a.shape for path, a in weights.items()}
    truncated = 0.8796  # standard deviation of a standard normal truncated at ±2
    for path, scale in (("a.w", 0.1), ("b.w", 0.01)):
        assert np.abs(zeta[path]).max() <= 2 * scale
        assert np.std(zeta[path]) == pytest.approx(scale * truncated, rel=0.06)
        assert abs(np.mean(zeta[path])) < 5 * scale / np.sqrt(zeta[path].size)
    assert not np.allclose(zeta["a.w"][0], zeta["a.b"])


def test_share_that_moves() -> None:
    shares = row_mask().moving(LAYERS, LOGITS)
    assert shares.keys() == {"a", "b"}
    for name, share in shares.items():
        assert float(share) == pytest.approx(sigmoid(LOGITS[name]).mean())
    shares = element_mask().moving(LAYERS, elements(LOGITS))
    assert float(shares["a"]) == pytest.approx(sigmoid(LOGITS["a"]).mean())
    assert sgd().moving(LAYERS, {}) == {}
    assert chain(mask=row_mask(), rate=sgd()).moving(LAYERS, {"mask": LOGITS, "rate": {}}).keys() == {"a", "b"}


def test_sparse_masks() -> None:
    """`1[ζ > 0]` without noise, open at the start; the gradient of ζ is as if the step function were the identity."""
    rule = sparse_mask(start=0.2)
    zeta = rule.init(setting_of())
    assert {path: np.unique(a).tolist() for path, a in zeta.items()} == {path: [0.2] for path in WEIGHTS}
    zeta, gradient = noise(1), noise(2)
    update: Any
    update, pullback = jax.vjp(lambda z: begun(rule, z).update(gradient, None, WEIGHTS)[0], zeta)
    (actual,) = pullback(jax.tree.map(jnp.asarray, noise(3)))
    for path in WEIGHTS:
        np.testing.assert_array_equal(update[path], np.where(zeta[path] > 0, gradient[path], 0))
        np.testing.assert_allclose(actual[path], noise(3)[path] * gradient[path], rtol=1e-12)
    shares = rule.moving(LAYERS, zeta)
    assert {name: float(share) for name, share in shares.items()} == {
        "a": (zeta["a.w"] > 0).mean(),
        "b": (zeta["b.w"] > 0).mean(),
    }


@pytest.mark.parametrize("rule", [row_mask, element_mask, mt_net])
def test_bad_options(rule) -> None:
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match=f"temperature is {temperature}"):
            rule(temperature=temperature)
    option = "mask" if rule is mt_net else "use"
    with pytest.raises(OptionError, match=r"'sometimes'.*sample'?, '?mean'?, '?threshold"):
        rule(**{option: "sometimes"})
