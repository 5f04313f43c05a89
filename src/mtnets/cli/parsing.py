"""Arguments read by tyro; what it does not take is an error of one sentence."""

import contextlib
import dataclasses
import difflib
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_type_hints

import tyro

from mtnets.errors import OptionError

COLOURS = re.compile(r"\x1b\[[\d;]*m")
RULE = re.compile("[─-]{5,}")  # between the parts of a box, which has sides where the terminal can show them


class UsageError(OptionError):
    """A command line that cannot be read. It names flags already."""


def parsed(kind: Any, *, prog: str, args: Sequence[str], example: str, also: Sequence[str] = (), **options: Any) -> Any:
    """`tyro.cli(kind, prog=prog, args=args, **options)`; after `--help` there is an example. `also` names options that
    were taken out of the arguments before.

    Raises:
      UsageError: for arguments that are unknown, missing or of another type.
      SystemExit: after `--help`.
    """
    check_flags(args, kind, also, prog)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            result = tyro.cli(kind, prog=prog, args=args, **options)
    except SystemExit as stop:
        if not stop.code:
            if {"-h", "--help"} & set(args):  # and not for a completion
                print(f"Example: {example}")
            raise
        raise UsageError(_sentence(printed.getvalue(), prog)) from None
    sys.stderr.write(printed.getvalue())
    return result


def commands(parsers: Mapping[str, type]) -> Any:
    """One of several commands, as tyro takes it."""
    parts = tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in parsers.items())
    return Union[parts]  # type: ignore[return-value]  # noqa: UP007


def names(kind: Any) -> Iterator[str]:
    """The names of the fields of a dataclass, and of those within it."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from names(hints[field.name])
        yield field.name


def check_flags(args: Sequence[str], kind: Any, also: Sequence[str], prog: str) -> None:
    """Raises UsageError for the first flag that there is not; tyro would name what is missing first, and for another
    command.

    Args:
      args: of the command.
      kind: the dataclass of its options; for one of several commands nothing is checked.
      also: names of further options.
      prog: the command, for the error.
    """
    if not dataclasses.is_dataclass(kind):
        return
    flags = {f"--{name.replace('_', '-')}" for name in ("help", *names(kind), *also)}
    for arg in args:
        flag = arg.partition("=")[0]
        plain = flag.replace("_", "-")
        if not flag.startswith("--") or plain.startswith("--tyro-") or {plain, plain.replace("--no-", "--", 1)} & flags:
            continue
        similar = difflib.get_close_matches(plain, flags, 1) or sorted(each for each in flags if each.startswith(plain))
        meant = f"perhaps {' or '.join(similar[:2])} is meant; " if similar else ""
        raise UsageError(f"There is no option {flag}; {meant}see {prog} --help.")


def taken(args: Sequence[str], name: str) -> tuple[str | None, list[str]]:
    """The value of `--name VALUE` or `--name=VALUE`, the last one of several, and the other arguments.

    Raises:
      UsageError: for the flag without a value.
    """
    value, others, left = None, [], iter(args)
    for arg in left:
        flag, equals, text = arg.partition("=")
        if flag != f"--{name}":
            others.append(arg)
            continue
        value = text if equals else next(left, "")
        if not value:
            raise UsageError(f"--{name} needs a value.")
    return value, others


def values_of(args: Sequence[str], name: str) -> list[str]:
    """What follows `--name`, up to the next flag; nothing where it is not there."""
    values: list[str] = []
    inside = False
    for arg in args:
        flag, equals, text = arg.partition("=")
        if arg.startswith("-"):
            inside = flag == f"--{name}"
            values += [text] if inside and equals else []
        elif inside:
            values.append(arg)
    return values


def _sentence(box: str, prog: str) -> str:
    """What a box of tyro says, without its frame, title and details."""
    lines = [line.strip(" │╰╯") for line in COLOURS.sub("", box).splitlines()[1:]]
    parts = [part for part in RULE.split("\n".join(lines)) if part.strip()]
    message = " ".join(parts[0].partition("\n\n")[0].split()).rstrip(".")
    for part in parts[1:]:
        if part.strip().startswith("Available subcommands"):
            message += f"; there are {' '.join(part.partition(':')[2].split())}"
    message = message.replace("Unrecognized options: ", f"{prog} has no place for ")
    return f"{message}; see {prog} --help."
