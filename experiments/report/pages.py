"""Pages whose text is written by hand and whose tables are made from results."""

from collections.abc import Sequence
from pathlib import Path

from mtnets import RunError

BEGIN, END = "<!-- Tables of `python -m experiments report`: begin -->", "<!-- end -->"


def with_tables(path: Path, lines: Sequence[str]) -> str:
    """The page at `path` with these lines in the place of its tables.

    Raises:
      RunError: if the page does not say where the tables stand.
    """
    before, begin, rest = path.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise RunError(f"{path} has no place for tables; put the lines {BEGIN} and {END} where they belong.")
    return "\n".join([before + begin, "", *lines, end + after])
