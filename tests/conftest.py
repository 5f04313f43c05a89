"""Two CPU devices for all tests, quick compilation, and float64 where a test asks for it."""

import os
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

# Nearly all the time of these tests is compilation. Each program is compiled only once, for child processes too, and by
# JAX 0.10 without optimisation; both must be said before JAX starts. The second flag takes nearly half of the time.
# (XLA of JAX 0.12 was wrong about max-pooling at levels 1 and 2 when its derivative still compared floats,
# mtnets/networks/greatest.py; whether it is right now has not been looked at.)
if metadata.version("jax").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="mtnets-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

# Reports at the end of each training, here and in child processes, would take much of the time of these tests; those of
# reports switch them on.
os.environ.setdefault("MTNETS_REPORT", "0")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision within a test, and programs that compile faster than they run."""
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.enable_x64(True):
        yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps() -> Iterator[None]:
    """Compiled programs are let go before the process has as many memory maps as Linux allows (65 530), where JAX would
    end in a segmentation fault."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
