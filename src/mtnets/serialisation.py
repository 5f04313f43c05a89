"""Options from what was recorded of them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from mtnets.errors import OptionError


def from_json(kind: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass, and the dataclasses and tuples in it, from what JSON made of them."""
    hints = get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise OptionError(f"{kind.__name__} has no option {', '.join(sorted(unknown))}; it has {', '.join(hints)}.")

    def convert(hint: Any, value: Any) -> Any:
        if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
            return from_json(hint, value)
        return tuple(value) if isinstance(value, list) else value

    return kind(**{name: convert(hints[name], value) for name, value in values.items()})
