"""What must hold of every page, read by the parser of the standard library."""

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """A page: its elements in order, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text("utf-8")
        self.elements: list[tuple[str, dict[str, str | None], str]] = []  # name, attributes, the element around it
        self.text = ""
        self._open: list[str] = []
        self.feed(self.source)
        assert not self._open  # everything was closed

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), self._open[-1] if self._open else ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text += data.replace("\u00a0", " ")  # where no line ends

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]

    def children(self, tag: str) -> list[str]:
        """The first element within each of these."""
        names = [name for name, _, _ in self.elements]
        return [names[i + 1] for i, name in enumerate(names) if name == tag]


def check_page(path: Path) -> Page:
    """Raises AssertionError where a page asks for something outside, or cannot be read by those who do not see it."""
    page = Page(path)
    headings = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    assert all(image["alt"] and str(image["src"]).startswith("data:image/png;base64,") for image in page.named("img"))
    assert set(page.children("table")) <= {"caption"}
    assert set(page.children("svg")) <= {"title"}
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in page.named("svg"))
    for tag, attributes, _ in page.elements:
        assert tag not in ("script", "iframe", "object", "form", "base")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "xlink:href", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "url(" not in page.source
    assert "@import" not in page.source
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(link["href"])[1:] for link in page.named("a")} <= set(ids)
    assert {
        attributes["aria-labelledby"] for _, attributes, _ in page.elements if "aria-labelledby" in attributes
    } <= set(ids)
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _, _ in page.elements}
    assert page.named("html")[0]["lang"] == "en"
    return page
