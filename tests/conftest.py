"""Two CPU devices for all tests, and float64 where a test asks for it."""

from collections.abc import Iterator

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)  # before JAX looks for devices


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision within a test, and programs that compile faster than they run."""
    for setting in ("jax_enable_x64", "jax_disable_most_optimizations"):
        jax.config.update(setting, True)
    yield
    for setting in ("jax_enable_x64", "jax_disable_most_optimizations"):
        jax.config.update(setting, False)
