"""Ctrl-C and SIGTERM on the command line, also while a compiled program runs and Python cannot answer."""

import os
import signal
import socket
import sys
import threading
from typing import Any

from mtnets.cli.messages import in_flags
from mtnets.stopping import SIGNALS, StoppingAtOnce


def watch() -> None:
    """From now on, a signal ends the process at once, with a sentence and status 128 + its number, unless a training or
    a server takes care of it: then the first one is left to that (`mtnets.stopping`), and the second one ends it.

    Python's own handlers wait until compiled code returns, which may take half a minute, and to end the process by an
    exception from within a compilation may crash it. Nothing is lost: files are whole or not there.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, _wait)
    threading.Thread(target=_answer, args=(reading, writing), daemon=True).start()


def _wait(*_: Any) -> None:
    """The thread that watches decides."""


def _answer(reading: socket.socket, _writing: socket.socket) -> None:
    asked = False
    while numbers := reading.recv(1):
        number = numbers[0]
        if number not in SIGNALS:
            continue
        handler = signal.getsignal(number)
        if asked or handler is _wait or isinstance(handler, StoppingAtOnce):
            kept = isinstance(handler, StoppingAtOnce)
            _say(in_flags(handler.message, ["resume"]) if kept else "stopped.")
            os._exit(128 + number)
        asked = True
        _say(f"{getattr(handler, 'promise', 'stopping')}; once more stops at once.")


def _say(text: str) -> None:
    sys.stderr.write(f"\nmtnets: {text}\n")
    sys.stderr.flush()
