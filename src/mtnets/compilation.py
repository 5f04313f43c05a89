"""Programs that are compiled for use: the process keeps those that were used last, a folder those of other processes.

A program takes some megabytes, and over a hundred of the memory maps of which Linux allows a process 65 530. There is
one for each network, method and number of examples, so that a process that serves for long would gather ever more.
"""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from mtnets.forks import check_process

P = ParamSpec("P")
T = TypeVar("T")
KEPT = 128  # programs
MOST_BYTES = 2**30  # of programs in a folder; those that were not used for longest make room
WORTH = 0.3  # seconds of compilation from which a program is written down
SETTINGS: Any = jax.config
_kept_in: set[str] = set()  # folders of ours
DAMAGED = "Error reading persistent compilation cache entry"  # as JAX begins its warning


def compiled(*, static: int = 0) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorates a function, which is then compiled as by `jax.jit`; its programs are let go when `KEPT` others have
    been used since.

    Args:
      static: how many of the first arguments are no arrays, and compare by value.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            check_process()
            arrays: Any = args[static:]
            leaves, structure = jax.tree.flatten(arrays)
            shapes = tuple((np.shape(leaf), getattr(leaf, "dtype", None)) for leaf in leaves)
            return program(function, args[:static], structure, shapes)(*arrays, **kwargs)

        return call

    return decorate


@functools.lru_cache(maxsize=KEPT)
def program(function: Callable[..., Any], static: tuple[Any, ...], *_: Any) -> Callable[..., Any]:
    """A program of a function for some values of its static arguments and some shapes of the others.

    JAX keeps programs for as long as the function that it compiles lives, which here is one for each program.
    """
    return jax.jit(functools.partial(function, *static))


def keep_programs(folder: Path) -> None:
    """Compiled programs are read from this folder and written to it, so that the next process need not compile them.

    Where JAX was told of a folder (`JAX_COMPILATION_CACHE_DIR`), or to have none, that counts.
    """
    if SETTINGS.jax_compilation_cache_dir is not None or not SETTINGS.jax_enable_compilation_cache:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a cache is no condition of anything
        return
    _kept_in.add(str(folder))
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH)


def forget_damaged_programs(warning: str) -> bool:
    """Whether JAX warns of a program that it could not read, as a kill may leave, in a folder of `keep_programs`; it is
    then emptied, since JAX would neither read that program nor write it again."""
    folder = SETTINGS.jax_compilation_cache_dir
    if not warning.startswith(DAMAGED) or folder not in _kept_in:
        return False
    for path in Path(folder).glob("*-cache"):
        with contextlib.suppress(OSError):
            path.unlink()
    return True
