"""One page that stands by itself: no file beside it, no request to anything, no script."""

from collections.abc import Iterable, Sequence
from importlib import resources
from typing import NamedTuple

from mtnets.reports.elements import Child, document, element

# what a browser is told to refuse, should anything on the page ever ask for it
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Section(NamedTuple):
    """A part of a page.

    Attributes:
      name: by which links find it.
      title: above it, and in the list of contents.
      children: what it holds.
    """

    name: str
    title: str
    children: Iterable[Child]


def page(title: str, head: Sequence[Child], sections: Sequence[Section], foot: str) -> bytes:
    """A page of HTML.

    Args:
      title: of the page.
      head: what stands at the top, below the title.
      sections: its parts.
      foot: a last line.
    """
    style = resources.files("mtnets.reports").joinpath("style.css").read_text("utf-8")
    contents = [element("li", element("a", part.title, href=f"#{part.name}")) for part in sections]
    parts = [
        element("section", element("h2", part.title, id=f"{part.name}-title"), part.children, id=part.name,
                aria_labelledby=f"{part.name}-title")
        for part in sections
    ]  # fmt: skip
    return document(
        element(
            "html",
            element(
                "head",
                element("meta", charset="utf-8"),
                element("title", title),
                element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                element("meta", http_equiv="Content-Security-Policy", content=POLICY),
                element("link", rel="icon", href="data:,"),
                element("style", style),
            ),
            element(
                "body",
                element("a", "Skip to the contents", href="#main", class_="skip"),
                element("header", element("h1", title), head),
                element("nav", element("ul", contents), aria_label="Contents"),
                element("main", parts, id="main"),
                element("footer", element("p", foot, class_="faint")),
            ),
            lang="en",
        )
    )


def figure(picture: Child, title: str, about: str, *more: Child) -> Child:
    """A picture with its caption; `more` follows it, such as its numbers."""
    return element("figure", picture, element("figcaption", element("strong", f"{title}. "), about), more)


def terms(pairs: Sequence[tuple[str, Child]]) -> Child:
    """Terms and what they are."""
    return element("dl", [(element("dt", term), element("dd", about)) for term, about in pairs])
