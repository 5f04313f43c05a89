"""Finite differences confirm right meta-gradients and find wrong ones."""

import dataclasses

import jax
import pytest
from doctor_problems import learner_of, small_tasks, texts

from mtnets import diagnose
from mtnets.analysis.derivatives import Check, check_derivatives
from problems import small_mlp


@pytest.mark.slow
def test_a_wrong_gradient_is_found() -> None:
    """A network that hides part of its computation from differentiation."""
    right = small_mlp()

    def apply(params, state, x, key):
        y, state = right.apply(params, state, x, key)
        return y + jax.lax.stop_gradient(y), state

    model = dataclasses.replace(right, apply=apply)
    report = diagnose(learner_of("maml", model), small_tasks(), 10)
    assert report.checks["params"].error > 0.1
    assert "finite differences say" in texts(report, "warning")
    assert "stop_gradient" in texts(report, "warning")


@pytest.mark.parametrize(("name", "parts"), [("imaml", {"params"}), ("meta_sgd", {"params", "rule"})])
def test_right_gradients_are_confirmed(name, parts) -> None:
    """Of the inner loop of the method, with its pull to the start."""
    keys = jax.random.split(jax.random.key(0), 2)
    checks, unchecked = check_derivatives(learner_of(name), small_tasks(), keys)
    assert checks.keys() == parts
    assert unchecked == {}
    assert max(check.error for check in checks.values()) < 1e-6
    if name == "imaml":
        plain, _ = check_derivatives(learner_of("maml"), small_tasks(), keys)
        assert abs(plain["params"].automatic - checks["params"].automatic) > 1e-6


@pytest.mark.slow
def test_a_method_of_held_vectors_is_not_asked() -> None:
    report = diagnose(learner_of("gap"), small_tasks(), 10)
    assert report.checks == {}
    assert report.unchecked.keys() == {"params", "rule"}


def test_relative_errors() -> None:
    assert Check(2.0, 1.0).error == 0.5
    assert Check(0.0, 0.0).error == 0.0
    assert Check(5e-36, 0.0, 1e-9).error == 0.0
    assert Check(2e-9, 0.0, 1e-9).error == 1.0
