"""Estimators, on an objective whose derivatives are known."""

import jax.numpy as jnp
import pytest

from mtnets.estimators import ESTIMATORS, exact, first_order


def objective(meta, hold):
    """`(θ − α g)²` with `g = hold(3 θ²)`: one step of gradient descent on θ³."""
    adapted = meta["theta"] - meta["rate"] * hold({"g": 3 * meta["theta"] ** 2})["g"]
    return adapted**2, {"adapted": adapted}


META = {"theta": jnp.float32(2.0), "rate": jnp.float32(0.25)}  # g = 12, adapted = −1


@pytest.mark.parametrize(
    ("estimator", "theta"),
    [
        (exact, 2 * -1 * (1 - 0.25 * 6 * 2)),  # 2 (θ − α g) (1 − α dg/dθ)
        (first_order, 2 * -1),  # 2 (θ − α g)
    ],
)
def test_gradients(estimator, theta) -> None:
    (loss, aux), gradient = estimator(objective)(META)
    assert float(loss) == 1
    assert float(aux["adapted"]) == -1
    assert float(gradient["theta"]) == theta
    assert float(gradient["rate"]) == 2 * -1 * -12  # what the rule does with a gradient is differentiated by both


def test_names() -> None:
    assert {"exact": exact, "first-order": first_order} == ESTIMATORS
