"""A progress bar for what takes long before a training begins: fetching and unpacking."""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The items, with a progress bar on standard error where that is a terminal."""
    import rich.progress
    from rich.console import Console

    console = Console(stderr=True)
    hidden = not console.is_terminal
    return rich.progress.track(items, description, total=total, console=console, transient=True, disable=hidden)
