"""The tables of the page on small tables, tabular.md; the rest of that page is written by people."""

from collections.abc import Mapping
from pathlib import Path

from experiments.report.pages import with_tables
from experiments.report.tables import Parts, head, row
from experiments.resumable import Part, read_parts
from experiments.tabular.experiment import DATA
from experiments.tabular.scores import ahead


def page(results: Path, path: Path) -> str | None:
    """The page at `path` with its tables replaced, or None if there are no results or no page.

    Raises:
      RunError: if the page does not say where the tables stand.
    """
    parts = read_parts(results)
    if not parts or not path.exists():
        return None
    return with_tables(path, tables(parts))


def tables(parts: Parts) -> list[str]:
    """One row per data set and number of rows, one column per method."""
    parts = {name: parts[name] for name in DATA if name in parts}
    classification = {name: part for name, part in parts.items() if part["kind"] == "classification"}
    regression = {name: part for name, part in parts.items() if part["kind"] == "regression"}
    lines = []
    if classification:
        lines += _table("rows of each class: accuracy in %", "accuracy", 100, 1, classification)
    if regression:
        lines += _table("rows: R²", "r2", 1, 2, regression)
        lines += _table("rows: mean absolute error", "mae", 1, 1, regression)
    return lines


def _table(title: str, score: str, factor: float, digits: int, parts: Mapping[str, Part]) -> list[str]:
    def show(estimate: Mapping[str, float], sign: str = "") -> str:
        mean = f"{factor * estimate['mean']:{sign}.{digits}f}".replace("-", "−")
        return f"{mean} ± {factor * estimate['ci95']:.{digits}f}"

    lines = []
    for name, part in parts.items():
        for size, methods in part["rows"].items():
            ours, *others = methods.values()
            lines = lines or head(title, *methods)
            cells = [f"{show(each[score])} ({show(each[ahead(score)], '+')})" for each in others]
            lines.append(row(f"{name.replace('-', ' ')}, {size}", show(ours[score]), *cells))
    return [*lines, ""]
