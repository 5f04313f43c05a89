"""Rules put together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rule_problems import WEIGHTS, begun, noise, setting_of, updates_of

from mtnets.inner.rules import chain, element_mask, fixed, row_mask, sgd, singular_scale, weight_rates
from mtnets.inner.seams import Rule

pytestmark = pytest.mark.usefixtures("float64")


def test_rules_in_a_chain() -> None:
    """In the order given, each with its own arrays and its own randomness."""
    rule = chain(first=row_mask(), second=row_mask(use="mean"), rate=sgd())
    arrays = rule.init(setting_of())
    assert arrays.keys() == {"first", "second", "rate"}
    opened = {"a": np.full(4, 100.0), "b": np.full(2, -100.0)}
    (update,) = updates_of(begun(rule, arrays | {"first": opened}), [WEIGHTS])
    np.testing.assert_allclose(update["a.w"], np.full((2, 4), -0.25), rtol=1e-6)  # 1 × σ(0) × −α
    assert np.abs(update["b.w"]).max() == 0
    both = chain(first=element_mask(), second=element_mask())
    zeros = jax.tree.map(np.zeros_like, WEIGHTS)
    (update,) = updates_of(begun(both, {"first": zeros, "second": zeros}), [WEIGHTS])
    assert 0.05 < np.mean(update["b.w"]) < 0.45  # ¼, were they drawn alike ½
    started = both.init(setting_of())
    assert not np.array_equal(started["first"]["b.w"], started["second"]["b.w"])


def test_what_a_chain_says_of_its_rules() -> None:
    assert not chain(a=sgd(), b=sgd()).learns
    assert chain(a=sgd(), b=weight_rates()).learns
    assert chain(a=weight_rates()).surrogate is None
    assert chain(a=row_mask(), b=sgd()).surrogate == "arrays"
    assert chain(a=row_mask(), b=singular_scale()).surrogate == "gradient"


def test_any_transformation_of_optax_is_a_rule() -> None:
    """Momentum and its state, for one."""
    rule = Rule(lambda setting: {}, lambda layers, arrays, inner_lr, key: optax.sgd(inner_lr, momentum=0.5))
    first, second = updates_of(begun(rule, {}), [WEIGHTS] * 2)
    assert first["a.b"].tolist() == [-0.5] * 4
    assert second["a.b"].tolist() == [-0.75] * 4


def test_layers_that_stay() -> None:
    rule = fixed(weight_rates(), ["b"])
    (update,) = updates_of(begun(rule, {path: jnp.full(a.shape, 2.0) for path, a in WEIGHTS.items()}), [noise(0)])
    np.testing.assert_array_equal(update["a.w"], -2 * noise(0)["a.w"])
    np.testing.assert_array_equal(update["a.b"], -2 * noise(0)["a.b"])
    np.testing.assert_array_equal(update["b.w"], np.zeros_like(WEIGHTS["b.w"]))
