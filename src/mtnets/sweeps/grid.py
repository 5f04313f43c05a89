"""What a sweep varies: settings, each a method with its options and options of the training."""

import dataclasses
import itertools
import math
import numbers
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError, one_of
from mtnets.inner import Method
from mtnets.outer import Training

# Settings of a training that say how it is watched and judged: the same for all, or scores could not be compared.
FIXED = {"stream", "validate_every", "validation_tasks", "test_tasks", "log_every"}
FIXED |= {"checkpoint_seconds", "checkpoint_every", "devices", "tasks_at_once"}
VARIABLE = tuple(field.name for field in dataclasses.fields(Training) if field.name not in FIXED)
DIGITS = 4  # of numbers that are drawn
LONGEST_NAME = 200  # characters of a folder's name; file systems take 255 bytes


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers between two bounds, which an engine draws from; whole ones if both bounds are.

    Attributes:
      low, high: the bounds, which are possible values too.
      log: whether the logarithm is what is drawn evenly.

    Raises:
      OptionError: for bounds that are none.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise OptionError(f"{name} is {value!r}; it must be a number.")
        if not self.low < self.high:
            raise OptionError(f"high is {self.high}; it must be above low, {self.low}.")
        if self.log and not self.low > 0:
            raise OptionError(f"low is {self.low}; it must be above 0 where log is True.")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float:
        """The number so far (0 to 1) from the lower to the upper bound."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = low + share * (high - low)
        value = math.exp(value) if self.log else value
        return round(value) if self.whole else self.rounded(value)

    def rounded(self, value: float) -> float:
        """A number that people can read, and folders are named by."""
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low}..{self.high}" + ":log" * self.log


Vary = Mapping[str, Sequence[Any] | Range]


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """One point of a grid.

    Attributes:
      title: of its method.
      method: with its options.
      training: options of `meta_train`.
      varied: the values, by name, of what is varied and means something to this method.
    """

    title: str
    method: Method
    training: Mapping[str, Any]
    varied: Mapping[str, Any]

    @property
    def label(self) -> str:
        """As people read it: `maml inner-lr 0.01 meta-lr 0.001`."""
        return " ".join([self.title, *(f"{_dashed(name)} {value}" for name, value in self.varied.items())])

    @property
    def folder(self) -> str:
        """As a folder is named: `maml-inner-lr-0.01-meta-lr-0.001`."""
        name = re.sub(r"[^\w.+-]+", "-", self.label.replace("_", "-")).strip("-")
        if len(name) > LONGEST_NAME:
            raise OptionError(f"{self.label} is too long for the name of a folder; give the methods shorter titles.")
        return name


def titled(methods: Method | Sequence[Method] | Mapping[str, Method]) -> dict[str, Method]:
    """Methods by their titles, which are their names where they were given without.

    Raises:
      OptionError: for none, or for several of one name.
    """
    if isinstance(methods, Method):
        methods = [methods]
    named: list[tuple[str, Method]] = (
        list(methods.items())
        if isinstance(methods, Mapping)
        else [(_dashed(method.name), method) for method in methods]
    )
    if not named:
        raise OptionError("methods is empty; name one, for example mtnets.mt_net().")
    for title, method in named:
        if not isinstance(method, Method):
            raise OptionError(f"methods holds {method!r}; each must be {Method.described}.")
        if [each for each, _ in named].count(title) > 1:
            raise OptionError(
                f"There are several methods {title!r}; give them titles, methods={{'one': {title}(…), …}}."
            )
    return dict(named)


def check_vary(methods: Mapping[str, Method], vary: Vary, *, ranges: bool) -> None:
    """Checks names and values of what is to be varied, apart from what a method or a training says of each value.

    Args:
      methods: by title.
      vary: values by name.
      ranges: whether there may be ranges.

    Raises:
      OptionError: naming what is not possible.
    """
    possible = list(dict.fromkeys(name for method in methods.values() for name in (*_fields(method), *VARIABLE)))
    for name, values in vary.items():
        if name in FIXED:
            raise OptionError(
                f"{name} cannot be varied: it would change by what settings are judged; give it once for all of them."
            )
        if name not in possible:
            raise OptionError(
                f"{name} cannot be varied, since it is no option of {', '.join(methods)} or of the training; "
                f"{one_of(name, possible)}"
            )
        if isinstance(values, Range):
            if not ranges:
                raise OptionError(
                    f"{name} is varied over the range {values}, and a grid needs values; list some, or search with "
                    "engine='optuna' or engine='ray'."
                )
            continue
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise OptionError(f"{name} is varied over {values!r}; it must be a list of values, such as [0.01, 0.1].")
        if not values:
            raise OptionError(f"{name} is varied over no value; list some, or leave it out.")
        for value in values:
            if values.count(value) > 1:
                raise OptionError(f"{name} is varied over {value!r} twice; list each value once.")


def expand(methods: Mapping[str, Method], vary: Vary, training: Mapping[str, Any]) -> list[Setting]:
    """Every combination of the values, method by method; an option that a method does not have is not varied for it.

    Args:
      methods: by title.
      vary: values by name, no ranges.
      training: options that all trainings have.

    Raises:
      OptionError: for a value that is not possible, or settings whose folders would have one name.
    """
    settings = [
        setting_of(title, method, dict(zip(names, values, strict=True)), training)
        for title, method in methods.items()
        for names in [applicable(method, vary)]
        for values in itertools.product(*(vary[name] for name in names))  # type: ignore[arg-type]
    ]
    folders: dict[str, Setting] = {}
    for setting in settings:
        other = folders.setdefault(setting.folder.lower(), setting)  # some file systems do not tell A from a
        if other is not setting:
            raise OptionError(f"{setting.label!r} and {other.label!r} would have one folder; give them other titles.")
    return settings


def setting_of(title: str, method: Method, varied: Mapping[str, Any], training: Mapping[str, Any]) -> Setting:
    """The setting with these values.

    Raises:
      OptionError: for a value that the method does not allow.
    """
    of_method = {name: value for name, value in varied.items() if name in _fields(method)}
    of_training = {name: value for name, value in varied.items() if name not in of_method}
    return Setting(title, dataclasses.replace(method, **of_method), {**training, **of_training}, dict(varied))


def applicable(method: Method, vary: Vary) -> list[str]:
    """What is varied and means something to a method."""
    return [name for name in vary if name in _fields(method) or name in VARIABLE]


def numbers_varied(settings: Sequence[Setting]) -> Iterator[str]:
    """The names of what is varied over two numbers or more."""
    for name in dict.fromkeys(name for setting in settings for name in setting.varied):
        values = {setting.varied[name] for setting in settings if is_number(setting.varied.get(name))}
        if len(values) > 1:
            yield name


def is_number(value: Any) -> bool:
    """Whether a value is a number."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


@checked_arguments
def vary_from_text(texts: Sequence[str]) -> dict[str, list[Any] | Range]:
    """What is varied, from words of the command line: `inner-lr=0.01,0.1`, or `inner-lr=0.001..1:log` for a range.

    Raises:
      OptionError: for what is neither.
    """
    vary: dict[str, list[Any] | Range] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not (name and equals):
            raise OptionError(
                f"vary is {text!r}; it must be NAME=VALUE,VALUE or NAME=LOW..HIGH, such as inner-lr=0.01,0.1."
            )
        if name in vary:
            raise OptionError(f"vary is {list(texts)}, with {name} twice; list all its values in one place.")
        if ".." in values:
            bounds, _, scale = values.partition(":")
            low, high = (_value(bound) for bound in bounds.split("..", 1))
            if scale not in ("", "log"):
                raise OptionError(f"vary is {text!r}; a range is LOW..HIGH, or LOW..HIGH:log.")
            vary[name] = Range(low, high, scale == "log")
        else:
            vary[name] = [_value(value) for value in values.split(",")] if values else []
    return vary


def _value(text: str) -> Any:
    """A number, True or False, or the text itself."""
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text)


def _fields(method: Method) -> list[str]:
    return [field.name for field in dataclasses.fields(method)]


def _dashed(name: str) -> str:
    return name.replace("_", "-")
