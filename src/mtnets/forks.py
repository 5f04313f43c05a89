"""A process that was forked after JAX had started cannot compute: the threads of JAX are not in it, and it would wait
for them for ever."""

import os

from mtnets.compat import jax_has_started
from mtnets.errors import RunError

_forked = False  # whether this process is such a one


def _note_fork() -> None:
    global _forked  # noqa: PLW0603 – a fact about the process
    _forked = _forked or jax_has_started()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def check_process() -> None:
    """Raises RunError in a process that was forked after JAX had started."""
    if _forked:
        raise RunError(
            "This process was forked from one in which JAX had started, and would wait for threads that are not there; "
            'start processes with the "spawn" method: multiprocessing.get_context("spawn").'
        )
