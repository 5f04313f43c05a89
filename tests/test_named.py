"""Values by their names, for a kind that is made up here; `tests/inner/test_losses.py` has the losses."""

import dataclasses
import re

import pytest

from mtnets.errors import OptionError
from mtnets.named import Kind, from_text, to_text


@dataclasses.dataclass(frozen=True)
class Square:
    side: float = 1.0
    corners: tuple[str, ...] = ()


KNOWN, SHAPE = {"square": Square}, Kind("shape", "square(side=2.0)")


@pytest.mark.parametrize("text", ["square", "square(side=2.0)", "square(side=2.0, corners=('a', 'b'))"])
def test_text_and_back(text: str) -> None:
    assert to_text("square", from_text(text, KNOWN, SHAPE)) == text
    assert from_text(f" {text} ", KNOWN, SHAPE) == from_text(text, KNOWN, SHAPE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sqare", "There is no shape 'sqare'; perhaps 'square' is meant; choose one of square."),
        ("", "There is no shape ''"),
        ("square(size=2)", "The shape square has no option 'size'; "),
        ("square(2)", "The shape 'square(2)' cannot be read; write its options as name=value, such as square(side=2."),
        ("square(**{'side': 2})", "cannot be read"),
        ("square(side=open('x'))", "cannot be read"),
        ("square(side=1)(side=1)", "cannot be read"),
    ],
)
def test_what_cannot_be_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(OptionError, match=re.escape(words)):
        from_text(text, KNOWN, SHAPE)
