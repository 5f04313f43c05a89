"""The tables of the page on uncertainty, uncertainty.md; the rest of that page is written by people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.intervals.problems import PROBLEMS
from experiments.report.pages import with_tables
from experiments.report.tables import Parts, head, row
from experiments.resumable import read_parts
from mtnets.files import replacing

NUMBERS = {"coverage": "coverage, %", "width": "width", "interval_score": "interval score", "log_score": "log score"}
LABELS = {
    "accuracy": "accuracy, %",
    "log_score": "log score",
    "calibration_error": "calibration error, %",
    "coverage": "coverage, %",
    "size": "labels in a set",
}
PERCENT = ("coverage", "accuracy", "calibration_error")
KINDS = {"one": "one network", "masks": "16 masks", "seeds": "all seeds"}
MOST = 1e4  # beyond which a mean says only that it is large


def page(results: Path, path: Path) -> str | None:
    """The page at `path` with its tables replaced, or None if there are no results or no page. The tables are also
    written beside the results, as text.

    Raises:
      RunError: if the page does not say where the tables stand.
    """
    parts = read_parts(results)
    if not parts or not path.exists():
        return None
    lines = tables(parts)
    with replacing(results / "tables.md") as file:
        file.write("\n".join(["Tables of `python -m experiments intervals`.", "", *lines]).encode())
    return with_tables(path, lines)


def tables(parts: Parts) -> list[str]:
    """A table for each family, with a row for each loss and each way to say how sure it is."""
    lines = []
    for name, problem in PROBLEMS.items():
        chosen = {loss: parts[f"{name}-{loss}"] for loss in problem.losses if f"{name}-{loss}" in parts}
        columns = LABELS if "cross-entropy" in chosen else NUMBERS
        for place, (loss, part) in enumerate(chosen.items()):
            if place == 0:
                lines += head(problem.title, *columns.values())
            for row_name, scores in part["rows"].items():
                kind, comma, how = row_name.partition(", ")
                cells = [_cell(scores.get(score), score) for score in columns]
                lines.append(row(f"{loss}, {KINDS[kind]}{comma}{how}", *cells))
        lines += [""] if chosen else []
    return lines


def _cell(estimate: Mapping[str, Any] | None, score: str) -> str:
    if estimate is None:
        return ""
    if estimate["mean"] is None or abs(estimate["mean"]) > MOST:
        return f"beyond {MOST:.0f}"
    factor, digits = (100, 1) if score in PERCENT else (1, 2)
    return f"{factor * estimate['mean']:.{digits}f} ± {factor * estimate['ci95']:.{digits}f}".replace("-", "−")
