"""A progress bar for what takes long before a training begins: fetching and unpacking."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from mtnets.errors import printable

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The items, with a progress bar on standard error where that is a terminal."""
    with advancing(description, total) as advance:
        for item in items:
            yield item
            advance(1)


@contextlib.contextmanager
def advancing(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error where that is a terminal, and the function that advances it by some steps."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(escape(printable(description)), total=total)
        yield lambda steps: progress.advance(task, steps)
