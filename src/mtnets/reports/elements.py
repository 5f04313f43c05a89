"""Elements of a page. Texts and attributes are escaped when the page is written, whatever they hold."""

import re
from collections.abc import Iterable
from typing import TypeAlias
from xml.etree import ElementTree

from mtnets.errors import printable

NO_BREAK = "\u00a0"  # a space at which no line ends
WITHIN = re.compile(r"(?<=\d) (?=%)|(?<=\d) (?=±)|(?<=±) (?=\d)|(?<=\d) (?=\d{3}(?!\d))")
LITERAL = ("code", "style", "title", "desc", "text")  # what is copied, obeyed, or never broken
Element = ElementTree.Element
Child: TypeAlias = "Element | str | Iterable[Child] | None"


def element(tag: str, *children: Child, **attributes: str | float | None) -> Element:
    """An element of HTML or SVG.

    Args:
      tag: its name.
      *children: elements and texts, and lists of them; None is nothing. What a terminal or a browser would obey in a
        text, such as marks that change the direction of writing, is written as an escape.
      **attributes: `stroke_width` is `stroke-width`, and `class_` is `class`; those that are None are left out.
    """
    plain = {name.strip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    made = Element(tag, {name: shown(str(value)) for name, value in plain.items()})
    _append(made, children)
    return made


def _append(parent: Element, children: Iterable[Child]) -> None:
    for child in children:
        if isinstance(child, Element):
            parent.append(child)
        elif isinstance(child, str):
            text = shown(child) if parent.tag in LITERAL else unbroken(shown(child))
            if len(parent):
                parent[-1].tail = (parent[-1].tail or "") + text
            else:
                parent.text = (parent.text or "") + text
        elif child is not None:
            _append(parent, child)


def shown(text: str) -> str:
    """A text whose lines hold no characters that are obeyed instead of shown."""
    return "\n".join(printable(line) for line in text.split("\n"))


def unbroken(text: str) -> str:
    """A text in which no line ends within a number, such as `96.4 ± 0.4 %` or `12 000`."""
    return WITHIN.sub(NO_BREAK, text)


def document(root: Element) -> bytes:
    """A whole page."""
    return f"<!doctype html>\n{ElementTree.tostring(root, encoding='unicode', method='html')}\n".encode()


def table(caption: str, titles: Iterable[Child], rows: Iterable[Iterable[Child]], *, numbers: bool = True) -> Element:
    """A table whose first column names its rows; it may be scrolled sideways where it is wider than the screen.

    Args:
      caption: what it says.
      titles: of its columns.
      rows: cells of each row.
      numbers: whether the cells after the first are numbers.
    """
    head = element("tr", [element("th", title, scope="col") for title in titles])
    body = []
    for first, *others in rows:
        body.append(element("tr", element("th", first, scope="row"), [element("td", cell) for cell in others]))
    kind = "numbers" if numbers else None
    made = element("table", element("caption", caption), element("thead", head), element("tbody", body), class_=kind)
    return element("div", made, class_="wide", tabindex="0", role="group", aria_label=caption)


def folded(title: str, *children: Child) -> Element:
    """What is shown when one asks for it."""
    return element("details", element("summary", title), children)
