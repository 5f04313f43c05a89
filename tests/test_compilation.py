"""Programs of use: shared by what is equal, and let go when many others have been used since."""

import functools
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets import compilation
from mtnets.compilation import KEPT, compiled


class Scale:
    """A static argument that compares by value."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scale) and other.factor == self.factor

    def __hash__(self) -> int:
        return hash(self.factor)


traces = []


@compiled(static=1)
def scaled(scale: Scale, x: jax.Array) -> jax.Array:
    traces.append((scale.factor, x.shape))
    return scale.factor * x


def test_equal_arguments_share_a_program() -> None:
    traces.clear()
    for factor in (2.0, 3.0, 2.0):
        np.testing.assert_array_equal(scaled(Scale(factor), jnp.ones(3)), factor * np.ones(3))
    scaled(Scale(2.0), np.ones(3, np.float32))
    scaled(Scale(2.0), jnp.ones((3, 1)))
    assert traces == [(2.0, (3,)), (3.0, (3,)), (2.0, (3, 1))]


@pytest.mark.slow
def test_programs_are_let_go(monkeypatch) -> None:
    """With everything that they hold on to."""
    monkeypatch.setattr(compilation, "program", functools.lru_cache(maxsize=4)(compilation.program.__wrapped__))
    first = Scale(-1.0)
    alive = weakref.ref(first)
    scaled(first, jnp.ones(3))
    del first
    traces.clear()
    for factor in range(4):
        gc.collect()
        assert alive() is not None
        scaled(Scale(float(factor)), jnp.ones(3))
    gc.collect()
    assert alive() is None
    assert compilation.program.cache_info().currsize == 4


def test_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda i: float(scaled(Scale(float(i % 7)), jnp.ones(()))), range(200))
        assert list(results) == [float(i % 7) for i in range(200)]
    assert compilation.program.cache_info().currsize <= KEPT
