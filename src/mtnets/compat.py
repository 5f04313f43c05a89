"""What differs among the versions of the libraries that are supported, all of it in this file.

The lower bounds are in `pyproject.toml`; `make test-oldest` installs them.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import jax


def sub_programs(equation: Any) -> list[Any]:
    """The programs among the parameters of an operation: closed ones before JAX 0.12, plain ones since."""
    values = [v for value in equation.params.values() for v in (value if isinstance(value, tuple | list) else [value])]
    programs = [getattr(value, "jaxpr", value) for value in values]
    return [program for program in programs if hasattr(program, "eqns")]


def is_condition(equation: Any, program: Any) -> bool:
    """Whether a program is the condition of a `while` loop, not its body."""
    condition = equation.params["cond_jaxpr"]
    return program is getattr(condition, "jaxpr", condition)


def scanned(equation: Any, program: Any) -> Iterator[bool]:
    """For each operand of a `scan`, whether its passes take slices of it. Constants and carried values, which enter
    whole, have the same rank inside. (How many there are is a parameter with another name in JAX 0.12.)"""
    for outside, inside in zip(equation.invars, program.invars, strict=True):
        yield len(outside.aval.shape) != len(inside.aval.shape)


def jax_has_started() -> bool:
    """Whether JAX has devices, and threads, in this process. There is no public way to ask without starting it."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def leave_signals_alone() -> None:
    """Keeps a process that joins others from taking SIGTERM for JAX's preemption service, where JAX has one: Python
    would not hear of the signal."""
    with contextlib.suppress(AttributeError):
        jax.config.update("jax_enable_preemption_service", False)


def orbax_v1() -> Any:
    """Orbax's API that will stay; `experimental.v1` in the versions that do not have `orbax.checkpoint.v1` yet."""
    try:
        from orbax.checkpoint import v1  # pyright: ignore[reportAttributeAccessIssue]
    except ImportError:
        from orbax.checkpoint.experimental import v1
    return v1
