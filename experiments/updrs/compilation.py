"""A temporary cache of compiled programs."""

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

CACHE = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """Compiles programs once that are the same in all folds but for their data; else that takes most of the time.

    A cache that the user has set is left as it is.
    """
    if getattr(jax.config, CACHE[0]):
        yield
        return
    before = [getattr(jax.config, name) for name in CACHE]
    with tempfile.TemporaryDirectory(prefix="mtnets-") as folder:
        try:
            configure(folder, 0.2)
            yield
        finally:
            configure(*before)


def configure(*values: Any) -> None:
    """Sets the options named in `CACHE`."""
    for name, value in zip(CACHE, values, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX reads the folder only once
