"""Estimators: how the meta-gradient is taken from the loss of an adapted task.

An estimator turns `objective(meta, hold) -> (loss, aux)` into a function `meta -> ((loss, aux), gradient)`. `hold` is
applied to the gradients of the inner loop before they enter the rule.
"""

from collections.abc import Callable
from typing import Any

import jax

Hold = Callable[[Any], Any]
Objective = Callable[[Any, Hold], tuple[jax.Array, Any]]
Estimator = Callable[[Objective], Callable[[Any], tuple[tuple[jax.Array, Any], Any]]]


def exact(objective: Objective) -> Callable[[Any], tuple[tuple[jax.Array, Any], Any]]:
    """Differentiates through the whole inner loop (Finn et al. 2017, arXiv 1703.03400)."""
    return jax.value_and_grad(lambda meta: objective(meta, lambda gradient: gradient), has_aux=True)


def first_order(objective: Objective) -> Callable[[Any], tuple[tuple[jax.Array, Any], Any]]:
    """Holds the gradients that enter the rule constant (Finn et al. 2017, section 5.2).

    For weights without a fold this is the query gradient at the adapted weights. A metric, masks and rates still learn,
    since the rule and the fold are differentiated.
    """
    return jax.value_and_grad(lambda meta: objective(meta, jax.lax.stop_gradient), has_aux=True)


ESTIMATORS: dict[str, Estimator] = {"exact": exact, "first-order": first_order}
