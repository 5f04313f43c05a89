"""The errors that a user can mend: one sentence with the value, what was expected, and the remedy. Warnings too."""

import difflib
import inspect
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = str(Path(__file__).parent)
BEGINNING = 3  # letters that two names have in common where one may be meant by the other
# Control characters, line breaks, marks that change the direction of writing, and bytes that are no text
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class MtnetsError(Exception):
    """What mtnets raises on purpose. The command line prints it without a traceback and exits with status 1.

    Args:
      message: one sentence; names in it that come from files are made `printable`.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


class DataError(MtnetsError, ValueError):
    """Data that cannot be used as they are."""


class RunError(MtnetsError, RuntimeError):
    """A run folder, checkpoint or saved learner that cannot be used, or a run that cannot go on."""


class OptionError(MtnetsError, ValueError):
    """An option or argument outside what is possible."""


def printable(text: str) -> str:
    """Text in which characters that a terminal obeys, or cannot show, are escapes: file names may hold them."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def first_line(error: BaseException) -> str:
    """The beginning of the message of an error of another library, to be quoted in one of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")


def listed(values: Sequence[str], most: int = 12) -> str:
    """Values for an error, the first ones where there are many."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more if values else "none"


def one_of(name: str, known: Iterable[str]) -> str:
    """The end of an error about a name that does not exist: the one that may be meant, and those that there are."""
    names = list(known)
    return f"{perhaps(name, names)}choose one of {', '.join(names)}."


def perhaps(name: str, known: Iterable[str]) -> str:
    """`perhaps 'huber' is meant; `, where a name is like one of those known, or begins as one does."""
    names = {each.lower(): each for each in known}
    similar = difflib.get_close_matches(name.lower(), names, 1)
    begins = [each for each in names if each.startswith(name.lower()[:BEGINNING])] if len(name) >= BEGINNING else []
    meant = next(iter([*similar, *begins]), None)
    return "" if meant is None else f"perhaps {names[meant]!r} is meant; "


def warn(message: str) -> None:
    """Warns, with the line of the user's code that called this package."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(HERE):
        frame, level = frame.f_back, level + 1
    warnings.warn(printable(message), stacklevel=level)
