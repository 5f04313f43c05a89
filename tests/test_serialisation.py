"""Dataclasses from plain values."""

import dataclasses
from typing import ClassVar

import pytest

from mtnets.errors import OptionError
from mtnets.serialisation import dataclass_from_json


@dataclasses.dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (1,)


@dataclasses.dataclass(frozen=True)
class Outer:
    word: ClassVar[str] = "no field"

    name: str
    inner: "Inner" = Inner()


def test_dataclasses_and_tuples_come_back() -> None:
    assert dataclass_from_json(Outer, {"name": "a", "inner": {"sizes": [2, 3]}}) == Outer("a", Inner((2, 3)))
    assert dataclass_from_json(Outer, {"name": "a"}) == Outer("a")


@pytest.mark.parametrize("name", ["size", "word"])
def test_a_name_that_is_no_field(name) -> None:
    with pytest.raises(OptionError, match=f"Outer has no option {name}; it has name, inner."):
        dataclass_from_json(Outer, {name: 1})
