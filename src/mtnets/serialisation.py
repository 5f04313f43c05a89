"""Dataclasses from the plain values that JSON keeps of them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from mtnets.errors import OptionError


def dataclass_from_json(kind: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass from its fields as JSON keeps them: mappings for the dataclasses in it, lists for tuples.

    Args:
      kind: the dataclass.
      values: its fields by name; those left out have their defaults.

    Raises:
      OptionError: for a name that is no field.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(values.keys() - set(names))
    if unknown:
        raise OptionError(f"{kind.__name__} has no option {', '.join(unknown)}; it has {', '.join(names)}.")
    hints = get_type_hints(kind)

    def convert(hint: Any, value: Any) -> Any:
        if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
            return dataclass_from_json(hint, value)
        return tuple(value) if isinstance(value, list) else value

    return kind(**{name: convert(hints[name], value) for name, value in values.items()})
