"""`mtnets new FAMILY`: a configuration to edit, with every option, its default and what it means."""

import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from mtnets.cli.choices import known_estimator, known_method
from mtnets.cli.configuration import COMMENT
from mtnets.cli.options import CriterionOptions, FilePath, attributes, training_options
from mtnets.cli.parsing import parsed
from mtnets.errors import RunError
from mtnets.files import replacing
from mtnets.inner import ESTIMATORS, METHODS, Estimator, Method
from mtnets.outer import Training
from mtnets.tasks import FAMILIES

WIDTH = 100  # of comments
INDENT = "  "


@dataclasses.dataclass(frozen=True)
class NewOptions:
    """What the configuration is for.

    Attributes:
      method: how the network adapts (`mtnets methods`).
      estimator: how the meta-gradient is taken. Defaults to the method's own.
      out: file to write. Defaults to standard output.
    """

    method: str = "mt-net"
    estimator: str | None = None
    out: FilePath = ""


class Entry(NamedTuple):
    """An entry of a JSON object.

    Attributes:
      name: of the option.
      value: its default; None leaves it out, to the family or the method.
      about: what it means.
      entries: of the object that it is, if it is one.
    """

    name: str
    value: Any
    about: str = ""
    entries: Sequence["Entry"] = ()


def new(family: str, args: list[str]) -> None:
    """Writes a configuration with the defaults of a family and a method."""
    options: NewOptions = parsed(
        NewOptions,
        args=args,
        example=f"mtnets new {family} --method mt-net --out my.json",
        prog=f"mtnets new {family}",
        description=f"Writes a configuration for {family} tasks, with every option, its default and what it means.",
    )
    out = Path(options.out)
    text = configuration(family, known_method(options.method), known_estimator(options.estimator), options.out)
    if not options.out:
        sys.stdout.write(text)
        return
    if out.exists():
        raise RunError(f"{out} is there already; remove it, or name another file.")
    with replacing(out) as file:
        file.write(text.encode())
    print(f"Written to {out}; train with: mtnets train {family} --config {out}")


def configuration(family: str, method: str, estimator: str | None = None, path: str = "") -> str:
    """The text of a configuration: JSON, with lines that are comments.

    Args:
      family: of tasks.
      method: its name, as in `METHODS`.
      estimator: its name, as in `ESTIMATORS`. Defaults to the method's own.
      path: where it will be, for the comment that says how to use it.
    """
    kind, tasks = METHODS[method], FAMILIES[family]
    own = kind().estimator
    chosen = own if estimator in (None, own.name) else ESTIMATORS[estimator]()
    of_estimator = [Entry("name", chosen.name), *_of(type(chosen), Estimator)]
    of_method = [each for each in _of(kind, Method) if each.name != "estimator"]
    of_method.append(Entry("estimator", {}, attributes(Method)["estimator"], of_estimator))
    entries = [
        *_of(CriterionOptions),
        Entry("tasks", {}, entries=[Entry("family", family), *_of(tasks)]),
        Entry("method", {}, entries=[Entry("name", method), *of_method]),
        Entry("training", {}, entries=list(_of(training_options(), Training))),
        Entry("seed", 0, "of the starting weights and of all tasks."),
    ]
    about = (
        f"mtnets train {family} --config {path or 'FILE'} trains with this. Options on the command line change what "
        "stands here. Lines that begin with // are comments, which --config passes over and plain readers of JSON "
        "refuse; remove the // of an option that is left open to set it."
    )
    return "\n".join([*_comment(about, ""), "{", *_lines(entries, INDENT), "}", ""])


def _of(kind: Any, *bases: Any, values: Any = None) -> Iterator[Entry]:
    """The options of a dataclass.

    Args:
      kind: the dataclass.
      bases: whose docstrings describe them too.
      values: an instance whose values are the defaults. Defaults to those of the fields.
    """
    about = {name: text for each in (*bases, kind) for name, text in attributes(each).items()}
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        value = field.name.upper() if field.default is dataclasses.MISSING else field.default
        value = value if values is None else getattr(values, field.name)
        text = about.get(field.name, "")
        if dataclasses.is_dataclass(value):
            yield Entry(field.name, {}, text, list(_of(type(value), values=value)))
            continue
        if get_origin(hints[field.name]) is Literal:
            text += f" One of {', '.join(map(str, get_args(hints[field.name])))}."
        yield Entry(field.name, value, text)


def _lines(entries: Sequence[Entry], indent: str) -> Iterator[str]:
    """The lines of the entries of an object: first those that are left open, so that commas end all but the last."""
    for entry in entries:
        if entry.value is None:
            yield from _comment(entry.about, indent)
            yield f'{indent}{COMMENT} "{entry.name}": …,'
    given = [entry for entry in entries if entry.value is not None]
    for entry in given:
        comma = "" if entry is given[-1] else ","
        yield from _comment(entry.about, indent)
        if entry.entries:
            yield f'{indent}"{entry.name}": {{'
            yield from _lines(entry.entries, indent + INDENT)
            yield f"{indent}}}{comma}"
        else:
            yield f'{indent}"{entry.name}": {json.dumps(entry.value, ensure_ascii=False)}{comma}'


def _comment(text: str, indent: str) -> list[str]:
    begin = f"{indent}{COMMENT} "
    return textwrap.wrap(text, WIDTH, initial_indent=begin, subsequent_indent=begin, break_on_hyphens=False)
