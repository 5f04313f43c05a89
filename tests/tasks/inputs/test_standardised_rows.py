"""Rows standardised by the support rows of their own task."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets.errors import DataError
from mtnets.tasks.inputs import StandardisedRows, scale_of, standardise


def test_scale_keeps_units_apart_and_pools_chance() -> None:
    rng = np.random.default_rng(0)
    alike = rng.normal(size=(5, 40))
    own = alike.std(0, ddof=1)
    pooled = scale_of(alike).spread
    assert pooled.std() < own.std() / 3
    units = np.array([1e-6, 1.0, 1e6])
    unlike = rng.normal(size=(500, 3)) * units
    np.testing.assert_allclose(scale_of(unlike).spread, unlike.std(0, ddof=1), rtol=0.01)
    np.testing.assert_allclose(scale_of(1000 * alike).spread, 1000 * pooled)


def test_scale_of_weighted_rows_is_that_of_the_rows_that_count() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4))
    whole, part = scale_of(x[:4]), scale_of(x, np.array([1.0, 1, 1, 1, 0, 0]))
    np.testing.assert_allclose(part.mean, whole.mean)
    np.testing.assert_allclose(part.spread, whole.spread)


def test_columns_that_do_not_vary_become_zero() -> None:
    x = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]])
    made = standardise(np.array([[7.0, 2.0]]), scale_of(x), 2)
    assert made[0, 0] == 0
    assert made[0, 1] != 0
    assert not standardise(x[:1], scale_of(x[:1]), 2).any()  # a single row


def test_standardise_pads_presses_and_keeps_the_length() -> None:
    x = np.random.default_rng(0).normal(size=(400, 16))
    made = standardise(x, scale_of(x), 64)
    assert made.shape == (400, 64)
    assert not made[:, 16:].any()
    assert np.square(made).sum(1).mean() == pytest.approx(64, rel=0.15)
    far = standardise(np.full((1, 16), 1e30), scale_of(x), 64)
    np.testing.assert_allclose(far[0, :16], 8)  # 4 × √(64 / 16)
    single = standardise(jnp.asarray(x, jnp.float32), scale_of(jnp.asarray(x, jnp.float32)), 64)
    np.testing.assert_allclose(single, made, atol=1e-4)


def test_a_table_wider_than_the_network_is_refused() -> None:
    x = np.ones((2, 65))
    for refused in (
        lambda: standardise(x, scale_of(x), 64),
        lambda: StandardisedRows(64).for_task(x, [0, 1]),
        lambda: StandardisedRows(64).from_rows(x, (64,)),
    ):
        with pytest.raises(DataError, match=r"65 features, more than the 64"):
            refused()


def test_a_support_set_fixes_the_scale() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(5, 3, (6, 4)), rng.normal(100, 20, 6)
    inputs = StandardisedRows(8, scales_targets=True)
    task = inputs.for_task(x, y)
    assert task.for_task(2 * x, y) is task
    np.testing.assert_allclose(task.scale(task.prepare(x)), standardise(x, scale_of(x), 8), rtol=1e-12)
    targets = task.prepare_targets(y)
    assert targets.shape == (6, 1)
    assert abs(targets.mean()) < 1e-12
    np.testing.assert_allclose(task.unscale(targets)[:, 0], y)
    with pytest.raises(DataError, match="X has 3 features and the support set of this task 4"):
        task.prepare(x[:, :3])
    compiled = jax.jit(task.scale)(jnp.asarray(task.prepare(x), jnp.float32))
    np.testing.assert_allclose(compiled, standardise(x, scale_of(x), 8), atol=1e-5)


def test_without_a_scale_rows_and_targets_stay_as_they_are() -> None:
    inputs, x = StandardisedRows(4, scales_targets=True), np.ones((2, 4))
    assert inputs.prepare(x) is x
    assert inputs.scale(x) is x
    assert inputs.unscale(x) is x
    assert not inputs.learned


def test_labels_are_not_scaled() -> None:
    task = StandardisedRows(4).for_task(np.eye(4), [0, 1, 2, 3])
    np.testing.assert_array_equal(task.prepare_targets([3, 0]), [3, 0])


def test_a_constant_target_stays_what_it_is() -> None:
    task = StandardisedRows(4, scales_targets=True).for_task(np.eye(4), np.full(4, 1 / 3))
    np.testing.assert_array_equal(task.prepare_targets(np.full(4, 1 / 3)), 0)
    np.testing.assert_array_equal(task.unscale(np.array([[5.0]])), 1 / 3)


def test_a_known_scale_survives_its_file() -> None:
    x = np.array([[1.0, 7.0], [2.0, 7.0], [4.0, 7.0]])
    inputs = StandardisedRows(2, True, shared_classes=True).with_scale(x, x[:, :1])
    assert inputs.learned
    text = json.dumps(inputs.to_json(), allow_nan=False)
    values = json.loads(text)
    assert values.pop("kind") == "standardised-rows"
    assert StandardisedRows.from_json(values) == inputs
    assert np.isinf(inputs.row_scale.spread[1])


def test_rows_without_columns_are_refused() -> None:
    with pytest.raises(DataError, match="X has no features; give at least one"):
        StandardisedRows(4).for_task(np.zeros((3, 0)), [0, 1, 2])


def test_numbers_that_are_not_finite_raise_no_warning() -> None:
    inputs = StandardisedRows(2).for_task(np.array([[np.nan, 1.0], [np.inf, 2.0]]), [0, 1])
    assert not np.isfinite(inputs.prepare(np.array([[np.inf, 1.0]]))).all()
