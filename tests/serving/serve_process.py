"""`mtnets serve` as a process of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

STOP_SECONDS = 60


@contextlib.contextmanager
def serving(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address; it is killed at the end where it still runs.

    Args:
      options: of the command.
      environment: variables beside those of the tests.
    """
    command = [sys.executable, "-m", "mtnets", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
        try:
            assert process.stderr is not None
            address = next((line.strip() for line in process.stderr if line.startswith("http")), None)
            assert address is not None, f"the server ended with status {process.wait(STOP_SECONDS)}"
            yield process, address
        finally:
            process.kill()  # nothing where it has ended


def stopped(process: subprocess.Popen[str]) -> int:
    """The status of the process after SIGTERM."""
    process.terminate()
    return process.wait(STOP_SECONDS)
