"""Arguments of public functions, and fields of options, compared with their annotations.

A value of another type than the annotation says would end in an error of Python or JAX from somewhere within, or pass
silently. Here it is refused where it is given, in one sentence. What an annotation cannot say, such as a lower bound,
is checked by the function itself.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from mtnets.errors import OptionError
from mtnets.forks import check_process

P = ParamSpec("P")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Such:
    """What else an annotation asks of a value: `Annotated[int, Such(lambda n: n > 0, "a whole number above 0")]`.

    Attributes:
      holds: whether a value, which is of the annotated type, is such a one.
      described: what is asked for, in words.
    """

    holds: Callable[[Any], bool]
    described: str


def _is_key(value: Any) -> bool:
    try:
        typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        return (value if typed else jax.random.wrap_key_data(value)).ndim == 0
    except (TypeError, ValueError):
        return False


# of others JAX or NumPy would take another one, or none
Seed = Annotated[int, Such(lambda seed: 0 <= seed < 2**32, f"a whole number from 0 to {2**32 - 1}")]
Key = Annotated[Array, Such(_is_key, "one random key, such as jax.random.key(0)")]
# JAX counts the rounds of a loop in 32 bits
Steps = Annotated[int, Such(lambda steps: 0 <= steps < 2**31, f"a whole number from 0 to {2**31 - 1}")]
Rate = Annotated[float, Such(lambda rate: 0 <= rate < math.inf, "a number of at least 0")]
Coverage = Annotated[float, Such(lambda share: 0 < share < 1, "a number between 0 and 1")]

ANY_VALUE = {Any, ArrayLike, np.typing.ArrayLike, inspect.Parameter.empty}
WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    Path: "a path",
    DTypeLike: "a type of numbers, such as jnp.float32",
    Array: "an array of JAX, such as jax.random.key(0)",
    type(None): "None",
}


def checked_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Decorates a function, whose arguments are then compared with their annotations in every call.

    The function raises OptionError for a value of another type, and RunError in a process that was forked after JAX had
    started.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        check_process()  # here since all that is public passes
        call = signature.bind(*args, **kwargs)
        hints = _hints(function)
        for name, value in call.arguments.items():
            match signature.parameters[name].kind:
                case inspect.Parameter.VAR_POSITIONAL:
                    for each in value:
                        check(name, each, hints.get(name, Any))
                case inspect.Parameter.VAR_KEYWORD:
                    pass
                case _:
                    check(name, value, hints.get(name, Any))
        return function(*args, **kwargs)

    return checked


def check_fields(value: Any) -> None:
    """Compares the fields of a dataclass with their annotations.

    Raises:
      OptionError: for a value of another type.
    """
    hints = _hints(type(value))
    for field in dataclasses.fields(value):
        check(field.name, getattr(value, field.name), hints.get(field.name, Any))


def check(name: str, value: Any, hint: Any) -> None:
    """Raises OptionError for a value that is not of the type that an annotation says."""
    if not fits(value, hint):
        raise OptionError(f"{name} is {_shown(value)}; it must be {describe(hint)}{_remedy(value, hint)}.")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that an annotation says. A number may be of Python, NumPy or JAX."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint in ANY_VALUE or isinstance(hint, TypeVar | str) or getattr(hint, "_is_protocol", False):
        return True  # what a protocol asks for is looked at where it is used
    if hint in PLAIN:
        return PLAIN[hint](value)
    if origin in COMBINATIONS:
        return COMBINATIONS[origin](value, *parts)
    if origin in SEQUENCES:
        return _is_sequence(value, origin, parts)
    kind = origin or hint
    return callable(value) if kind is Callable else not isinstance(kind, type) or isinstance(value, kind)


def _is_sequence(value: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    if origin is Sequence and parts[0] is Any and hasattr(value, "__len__") and hasattr(value, "__getitem__"):
        return not isinstance(value, str | bytes | Mapping)  # of another library
    if isinstance(value, str | bytes) or not isinstance(value, Sequence if origin is Sequence else tuple | list):
        return False  # a list will do for a tuple
    if origin is tuple and parts[-1] is not Ellipsis:
        return len(value) == len(parts) and all(map(fits, value, parts))
    return all(fits(each, parts[0]) for each in value)


def _such(more: Sequence[Any]) -> list[Such]:
    """What an annotation asks for, among what else it says."""
    return [each for each in more if isinstance(each, Such)]


def _is_same_kind(value: Any, part: Any) -> bool:
    return PLAIN[int](value) if type(part) is int else type(value) is type(part)


def _is_float(value: Any) -> bool:
    if hasattr(value, "dtype"):
        return np.ndim(value) == 0 and value.dtype.kind in "fiu"
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and "\0" not in str(value)  # which no path may hold


def _is_dtype(value: Any) -> bool:
    try:
        return isinstance(value, type | np.dtype | str) and jnp.dtype(value).kind in "biufV"  # V: bfloat16 and others
    except (TypeError, ValueError):
        return False


PLAIN: dict[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool | np.bool_),
    int: lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool) and abs(int(value)) < 2**63,
    float: _is_float,
    str: _is_text,
    Path: _is_text,
    Array: lambda value: isinstance(value, Array | np.ndarray),
    DTypeLike: _is_dtype,
}
SEQUENCES = (tuple, list, Sequence)
COMBINATIONS: dict[Any, Callable[..., bool]] = {
    Annotated: lambda value, hint, *more: fits(value, hint) and all(such.holds(value) for such in _such(more)),
    Literal: lambda value, *parts: any(_is_same_kind(value, part) and value == part for part in parts),
    Union: lambda value, *parts: any(fits(value, part) for part in parts),
}
COMBINATIONS[types.UnionType] = COMBINATIONS[Union]


def describe(hint: Any) -> str:
    """What an annotation asks for, in words."""
    origin, parts = get_origin(hint), get_args(hint)
    words = f"of type {getattr(origin or hint, '__name__', hint)}"
    if hint in WORDS:
        words = WORDS[hint]
    elif origin is Annotated:
        words = next((such.described for such in _such(parts[1:])), describe(parts[0]))
    elif origin in (Union, types.UnionType):
        ordered = sorted(parts, key=lambda part: part is type(None))
        words = " or ".join(dict.fromkeys(describe(part) for part in ordered))
    elif origin is Literal:
        words = f"{'one of ' * (len(parts) > 1)}{', '.join(map(repr, parts))}"
    elif origin is tuple and parts[-1] is not Ellipsis:
        words = f"({', '.join(map(describe, parts))})"
    elif origin in SEQUENCES:
        words = f"a sequence of values that are each {describe(parts[0])}"
    elif origin in (Callable, Mapping):
        words = {Callable: "a function", Mapping: "a mapping"}[origin]
    return getattr(hint, "described", words)


def _remedy(value: Any, hint: Any) -> str:
    """What to do about a class in the place of its instance, or a number that is too large."""
    if get_origin(hint) is not Annotated and isinstance(value, numbers.Integral) and abs(int(value)) >= 2**63:
        return ", of at most 64 bits"
    if isinstance(value, str | os.PathLike) and "\0" in str(value):
        return " without the character \\0"
    for part in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
        known = isinstance(part, type) and not getattr(part, "_is_protocol", False)  # of those no class is a subclass
        if isinstance(value, type) and known and issubclass(value, part):
            return f": call it, {getattr(value, 'name', '') or value.__name__}()"
    return ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text and " at 0x" not in text else _kind(value)


def _kind(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array {list(value.shape)} of {value.dtype}"
    return f"of type {type(value).__name__}"


@functools.cache
def _hints(owner: Any) -> Mapping[str, Any]:
    """The annotations of a function or class; those that only type checkers can read are left out."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except (NameError, TypeError):
        module = inspect.getmodule(owner)
        return {name: _evaluated(hint, vars(module)) for name, hint in inspect.get_annotations(owner).items()}


def _evaluated(hint: Any, names: dict[str, Any]) -> Any:
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, names)
    except NameError:
        return Any


__all__: Sequence[str] = [
    "Coverage",
    "Key",
    "Seed",
    "Steps",
    "Such",
    "check",
    "check_fields",
    "checked_arguments",
    "describe",
    "fits",
]
