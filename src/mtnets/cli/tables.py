"""Tables on standard output: as wide as the terminal, or one line for each row where there is none."""

import io
import sys
from collections.abc import Callable, Collection, Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

UNBOUNDED = 100_000  # columns of a pipe, whose lines are not folded
GAP = 2  # columns between two cells
FOLDED = 1.6  # a table this many times as wide as the terminal is folded; a wider one becomes a list


def show(draw: Callable[[Console], None]) -> None:
    """Shows what is drawn on a console: in a terminal to its width, elsewhere as plain lines, which are not folded."""
    if sys.stdout.isatty():
        draw(Console(highlight=False))
        return
    text = io.StringIO()
    draw(Console(file=text, width=UNBOUNDED, highlight=False))
    print("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str] = ()) -> None:
    """Prints a table.

    Args:
      titles: of its columns.
      rows: its cells.
      numbers: the columns of numbers.
    """
    widths = [max(map(cell_len, column)) for column in zip(titles, *rows, strict=True)]
    natural = sum(widths) + GAP * (len(widths) - 1)

    def draw(console: Console) -> None:
        fits = natural <= FOLDED * console.width
        console.print(_table(titles, rows, numbers) if fits else _list(titles, rows))

    show(draw)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _list(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    """The first cell of each row with the others below it, each by its title."""
    parts: list[RenderableType] = []
    for first, *others in rows:
        cells = Table.grid(padding=(0, GAP, 0, 0))
        cells.add_column(min_width=max(map(cell_len, titles[1:])), style="dim", no_wrap=True)
        cells.add_column(overflow="fold")
        for title, cell in zip(titles[1:], others, strict=True):
            if cell:
                cells.add_row(f"  {title}", Text(cell))
        parts += [Text(first, "bold"), cells]
    return Group(*parts)
