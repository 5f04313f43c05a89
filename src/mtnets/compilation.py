"""Programs that are compiled for use, of which the process keeps those that were used last.

A program takes some megabytes, and over a hundred of the memory maps of which Linux allows a process 65 530. There is
one for each network, method and number of examples, so that a process that serves for long would gather ever more.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from mtnets.forks import check_process

P = ParamSpec("P")
T = TypeVar("T")
KEPT = 128  # programs


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
