from collections.abc import Iterator
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets.networks.aten.pooling import OPERATIONS
from mtnets.networks.greatest import greatest
from mtnets.networks.models.conv import max_pool

X = np.random.default_rng(0).normal(size=(3, 4, 5))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_it_is_the_maximum(axis: int, float64) -> None:
    np.testing.assert_array_equal(greatest(jnp.asarray(X), axis), X.max(axis))


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_derivatives_are_those_of_the_element_that_is_greatest(axis: int, float64) -> None:
    def squares(x: jax.Array) -> jax.Array:
        return jnp.sum(greatest(x, axis) ** 3)

    chosen = X.max(axis, keepdims=True) == X
    np.testing.assert_allclose(jax.grad(squares)(X), 3 * X**2 * chosen)
    directions = np.ones_like(X)
    slopes = jax.grad(lambda x: jnp.sum(jax.grad(squares)(x) * directions))(X)
    np.testing.assert_allclose(slopes, 6 * X * chosen)


def test_of_equals_the_first_is_chosen() -> None:
    gradient = jax.grad(lambda x: greatest(x, 0))(jnp.array([1.0, 2.0, 2.0]))
    np.testing.assert_array_equal(gradient, [0, 1, 0])


def comparisons(jaxpr: Any) -> Iterator[str]:
    """The types of what a program compares for equality, those of its functions included."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "eq":
            yield eqn.invars[0].aval.dtype.kind
        for inner in jax.extend.core.jaxprs_in_params(eqn.params):
            yield from comparisons(inner)


POOLS = {
    "ours": (max_pool, (2, 4, 6, 3)),
    "disjoint": (lambda x: OPERATIONS["max_pool2d"](x, 2, 2), (2, 3, 4, 6)),
    "dilated": (lambda x: OPERATIONS["max_pool2d"](x, 2, 1, 0, 2), (2, 3, 4, 6)),
    "overlapping": (lambda x: OPERATIONS["max_pool2d"](x, 3, 1, 1), (2, 3, 4, 6)),
    "adaptive": (lambda x: OPERATIONS["adaptive_max_pool2d"](x, 2)[0], (2, 3, 4, 6)),
}


@pytest.mark.parametrize("name", POOLS)
def test_no_derivative_of_a_pool_compares_numbers_that_a_compiler_may_round_twice(name: str) -> None:
    pool, shape = POOLS[name]

    def first(x: jax.Array) -> jax.Array:
        return jax.grad(lambda x: jnp.sum(pool(x) ** 2))(x)

    def second(x: jax.Array) -> jax.Array:
        return jax.grad(lambda x: jnp.sum(first(x) ** 2))(x)

    found = [*comparisons(jax.make_jaxpr(first)(jnp.ones(shape)).jaxpr)]
    found += comparisons(jax.make_jaxpr(second)(jnp.ones(shape)).jaxpr)
    assert "f" not in found
    assert [*comparisons(jax.make_jaxpr(jax.grad(jnp.max))(jnp.ones(3)).jaxpr)] == ["f"]  # as JAX's own does
