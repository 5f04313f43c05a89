"""Arguments read by tyro; what it does not take is an error of one sentence."""

import contextlib
import io
import re
import sys
from typing import Any

import tyro

from mtnets.errors import OptionError

COLOURS = re.compile(r"\x1b\[[\d;]*m")
RULE = re.compile("[─-]{5,}")  # between the parts of a box, which has sides where the terminal can show them


def parsed(kind: Any, *, prog: str, **options: Any) -> Any:
    """`tyro.cli(kind, prog=prog, **options)`.

    Raises:
      OptionError: for arguments that are unknown, missing or of another type.
      SystemExit: after `--help`.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            result = tyro.cli(kind, prog=prog, **options)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise OptionError(_sentence(printed.getvalue(), prog)) from None
    sys.stderr.write(printed.getvalue())
    return result


def _sentence(box: str, prog: str) -> str:
    """What a box of tyro says, without its frame, title and details."""
    lines = [line.strip(" │╰╯") for line in COLOURS.sub("", box).splitlines()[1:]]
    parts = [part for part in RULE.split("\n".join(lines)) if part.strip()]
    message = " ".join(parts[0].partition("\n\n")[0].split()).rstrip(".")
    for part in parts[1:]:
        if part.strip().startswith("Perhaps you meant"):
            similar = dict.fromkeys(re.findall(r"^--[\w-]+", part, re.MULTILINE))
            message += f"; perhaps {' or '.join(similar)} is meant" if similar else ""
        elif part.strip().startswith("Available subcommands"):
            message += f"; there are {' '.join(part.partition(':')[2].split())}"
    return f"{message}; see {prog} --help."
