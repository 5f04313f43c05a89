"""Arguments read by tyro; what it does not take is an error of one sentence."""

import contextlib
import difflib
import io
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union

import tyro

from mtnets.errors import OptionError

COLOURS = re.compile(r"\x1b\[[\d;]*m")
RULE = re.compile("[─-]{5,}")  # between the parts of a box, which has sides where the terminal can show them


def parsed(kind: Any, *, prog: str, args: Sequence[str], example: str, **options: Any) -> Any:
    """`tyro.cli(kind, prog=prog, args=args, **options)`; after `--help` there is an example.

    Raises:
      OptionError: for arguments that are unknown, missing or of another type.
      SystemExit: after `--help`.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            result = tyro.cli(kind, prog=prog, args=args, **options)
    except SystemExit as stop:
        if not stop.code:
            if {"-h", "--help"} & set(args):  # and not for a completion
                print(f"Example: {example}")
            raise
        raise OptionError(_sentence(printed.getvalue(), prog)) from None
    sys.stderr.write(printed.getvalue())
    return result


def commands(parsers: Mapping[str, type]) -> Any:
    """One of several commands, as tyro takes it."""
    parts = tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in parsers.items())
    return Union[parts]  # type: ignore[return-value]  # noqa: UP007


def _sentence(box: str, prog: str) -> str:
    """What a box of tyro says, without its frame, title and details."""
    lines = [line.strip(" │╰╯") for line in COLOURS.sub("", box).splitlines()[1:]]
    parts = [part for part in RULE.split("\n".join(lines)) if part.strip()]
    message = " ".join(parts[0].partition("\n\n")[0].split()).rstrip(".")
    for part in parts[1:]:
        if part.strip().startswith("Perhaps you meant"):
            given = re.findall(r"--[\w-]+", message)
            options = dict.fromkeys(re.findall(r"^--[\w-]+", part, re.MULTILINE))
            similar = dict.fromkeys(each for flag in given for each in difflib.get_close_matches(flag, options, 2))
            message += f"; perhaps {' or '.join(similar)} is meant" if similar else ""
        elif part.strip().startswith("Available subcommands"):
            message += f"; there are {' '.join(part.partition(':')[2].split())}"
    return f"{message}; see {prog} --help."
