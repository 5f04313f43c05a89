"""Stopping well: the first Ctrl-C or SIGTERM asks for it, of a training at the end of a chunk of meta-steps."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(SystemExit):
    """SIGTERM ended a training, as SystemExit with status 143 would. The argument says where it can go on."""

    def __init__(self, message: str) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Stopping:
    """Whether a training was asked to stop. It is itself the handler of the signals that ask.

    An exception that is raised wherever the training happens to be could end the process within a compiled program, or
    lose what was learned since the last checkpoint. So the first signal is only noted; a second one acts at once.
    """

    signal: int = 0
    promise: str = "stopping after these meta-steps, with a checkpoint"  # what is said when it was asked

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            signal.default_int_handler(number, frame)  # raises KeyboardInterrupt
        self.signal = number

    def __bool__(self) -> bool:
        return self.signal > 0

    def stop(self, message: str) -> NoReturn:
        """Ends the training as the signal asked.

        Raises:
          KeyboardInterrupt: after Ctrl-C, with the message.
          Terminated: after SIGTERM.
        """
        raise (Terminated if self.signal == signal.SIGTERM else KeyboardInterrupt)(message)


class StoppingAtOnce:
    """A handler of the signals that ask to stop, where nothing needs to be brought to an end first.

    Args:
      message: what there is by now, and how to go on.
    """

    def __init__(self, message: str) -> None:
        self.message = message
        self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        before = self._before[signal.Signals(number)]
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)  # who handles signals already decides, such as the command line
        elif before is not signal.SIG_IGN:
            raise (Terminated if number == signal.SIGTERM else KeyboardInterrupt)(self.message)


@contextlib.contextmanager
def stopping_at_once(message: str) -> Iterator[None]:
    """Says what there is by now where a signal ends the process within the block; only the main thread can."""
    with _handled_by(StoppingAtOnce(message)):
        yield


@contextlib.contextmanager
def stopping(promise: str = Stopping.promise) -> Iterator[Stopping]:
    """Notes signals within the block; only the main thread can.

    Args:
      promise: what is said at the first one.
    """
    asked = Stopping()
    asked.promise = promise
    with _handled_by(asked):
        yield asked


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Signals that ask to stop go to this handler within the block, if it runs in the main thread."""
    before: dict[signal.Signals, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, handler) for number in SIGNALS}
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
