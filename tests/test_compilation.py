"""Programs of use: shared by what is equal, and let go when many others have been used since."""

import functools
import gc
import os
import subprocess
import sys
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


COMPILE = """
import sys, warnings
from pathlib import Path
import jax
from mtnets import compilation
compilation.WORTH = 0.0
folder = Path(sys.argv[1])
compilation.keep_programs(folder)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    assert jax.jit(lambda x: jax.numpy.sin(x) @ x)(jax.numpy.ones((3, 3))).shape == (3, 3)
print([compilation.forget_damaged_programs(str(warning.message)) for warning in said])
"""


def test_programs_are_kept_for_other_processes_and_damaged_ones_forgotten(tmp_path) -> None:
    folder = tmp_path / "cache" / "programs"
    unset = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}

    def compile_there() -> tuple[str, dict[str, int]]:
        command = [sys.executable, "-c", COMPILE, str(folder)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return ran.stdout, {path.name: path.stat().st_size for path in folder.glob("*-cache")}

    said, first = compile_there()
    assert (said, len(first) > 0) == ("[]\n", True)
    assert compile_there() == ("[]\n", first)
    for path in folder.glob("*-cache"):
        path.write_bytes(path.read_bytes()[:100])
    said, _ = compile_there()
    assert "True" in said
    assert "False" not in said
    said, again = compile_there()
    assert (said, again.keys()) == ("[]\n", first.keys())


def test_a_folder_that_jax_was_told_counts(tmp_path) -> None:
    """As in these tests."""
    compilation.keep_programs(tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert not compilation.forget_damaged_programs(compilation.DAMAGED)
