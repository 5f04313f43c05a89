"""Values by their names in text, with options in brackets: `huber(delta=2.0)`, `crop(padding=4)`.

Options are literals of Python, which are read and never evaluated.
"""

import ast
import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from mtnets.errors import OptionError, one_of

T = TypeVar("T")
TEXT = re.compile(r"\s*([\w-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)  # a name, and options in brackets


class Kind(NamedTuple):
    """What values are called in an error.

    Attributes:
      name: such as `loss`.
      example: text of one with options.
    """

    name: str
    example: str


def from_text(text: str, known: Mapping[str, type[T]], kind: Kind) -> T:
    """The value of a name, or of a name with options in brackets.

    Args:
      text: to be read.
      known: frozen dataclasses by name, whose fields are the options.
      kind: what to call them.

    Raises:
      OptionError: for a name or an option that does not exist, or text of another form.
    """
    match = TEXT.fullmatch(text)
    name, options = match.groups() if match else (text, None)
    if name not in known:
        raise OptionError(f"There is no {kind.name} {name!r}; {one_of(name, known)}")
    return with_options(name, _options(text, options or "", kind), known, kind)


def with_options(name: str, options: Mapping[str, Any], known: Mapping[str, type[T]], kind: Kind) -> T:
    """The value of a name that is known, with these options; a list will do for a tuple.

    Raises:
      OptionError: for an option that does not exist.
    """
    fields = [field.name for field in dataclasses.fields(known[name])]  # type: ignore[arg-type]
    for option in options:
        if option not in fields:
            has = one_of(option, fields) if fields else "it has none."
            raise OptionError(f"The {kind.name} {name} has no option {option!r}; {has}")
    return known[name](**{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()})


def to_text(name: str, value: Any) -> str:
    """A value as `from_text` reads it, without options that have their usual values."""
    usual = type(value)()
    options = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    chosen = [f"{option}={given!r}" for option, given in options.items() if given != getattr(usual, option)]
    return f"{name}({', '.join(chosen)})" if chosen else name


def _options(text: str, options: str, kind: Kind) -> dict[str, Any]:
    """The options between the brackets."""
    try:
        call = ast.parse(f"f({options})", mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or call.args:
            raise ValueError
        values = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords if each.arg}
        if len(values) < len(call.keywords):
            raise ValueError
        return values
    except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError):
        raise OptionError(
            f"The {kind.name} {text!r} cannot be read; write its options as name=value, such as {kind.example}."
        ) from None
