"""The errors that a user can mend: one sentence with the value, what was expected, and the remedy. Warnings too."""

import inspect
import warnings
from collections.abc import Sequence
from pathlib import Path

HERE = str(Path(__file__).parent)


class MtnetsError(Exception):
    """What mtnets raises on purpose. The command line prints it without a traceback and exits with status 1."""


class DataError(MtnetsError, ValueError):
    """Data that cannot be used as they are."""


class RunError(MtnetsError, RuntimeError):
    """A run folder, checkpoint or saved learner that cannot be used, or a run that cannot go on."""


class OptionError(MtnetsError, ValueError):
    """An option or argument outside what is possible."""


def first_line(error: BaseException) -> str:
    """The beginning of the message of an error of another library, to be quoted in one of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")


def listed(values: Sequence[str], most: int = 12) -> str:
    """Values for an error, the first ones where there are many."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more if values else "none"


def warn(message: str) -> None:
    """Warns, with the line of the user's code that called this package."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(HERE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
