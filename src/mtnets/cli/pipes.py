"""Output into a pipe whose reader, such as `head`, has read enough."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_pipes() -> Iterator[None]:
    """Ends the block in silence where nobody reads what it prints any more."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, since at exit nobody could answer
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # one that is no file
                os.dup2(nowhere, stream.fileno())  # nothing is left to flush at exit
