"""Two CPU devices for all tests, and float64 where a test asks for it."""

from collections.abc import Iterator

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)  # before JAX looks for devices


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision within a test."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)
