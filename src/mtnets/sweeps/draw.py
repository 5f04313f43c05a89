"""Draws the settings of a sweep: curves over the one number that was varied, or else a line for each setting."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtnets.analysis.figures import BLUE, COLOURS, GREY, MARKERS, ORANGE, figure, save
from mtnets.inner import LOSS
from mtnets.sweeps.grid import is_number, numbers_varied
from mtnets.sweeps.intervals import Difference, Interval
from mtnets.sweeps.rows import Row

MOST_TICKS = 8  # values that have a tick each on the axis
DECADE = 10.0  # from the least to the largest of scores, or of two values, that are on a logarithmic axis
BESIDE = 0.25  # of a line for each setting, where its seeds are
DOT = {"alpha": 0.5, "markersize": 4}
UNKNOWN = Interval(float("nan"), float("nan"))
Of = Callable[[Row], Interval]


def draw(
    rows: Sequence[Row],
    chosen: Row | None,
    gaps: Mapping[int, Difference],
    metric: str,
    num_tasks: int,
    path: str | Path,
) -> None:
    """Draws scores on test tasks, and how much better the chosen setting is, into a PNG file.

    Args:
      rows: the settings.
      chosen: the one that validation scores have chosen, if any.
      gaps: how much better that one is than others, by their place among the rows.
      metric: the score.
      num_tasks: number of test tasks.
      path: of the file.

    Raises:
      OptionError: without matplotlib.
    """
    places = {id(row): i for i, row in enumerate(rows)}

    def gap(row: Row) -> Interval:
        if row is chosen:
            return Interval(0.0, 0.0)
        return gaps[place].tasks if (place := places[id(row)]) in gaps else UNKNOWN

    numbers = list(numbers_varied([row.setting for row in rows]))
    curves = _curves(rows, numbers[0]) if len(numbers) == 1 else {}
    is_curve = 0 < len(curves) <= len(COLOURS)
    canvas = figure(11, 4.5) if is_curve else figure(11, 1.8 + 0.3 * len(rows))
    left, right = canvas.subplots(1, 2, sharex=is_curve, sharey=not is_curve)
    over_tasks: Of = lambda row: row.over_tasks  # noqa: E731
    axis = "y" if is_curve else "x"
    if is_curve:
        _draw_curves(left, curves, numbers[0], over_tasks, chosen, seeds=True)
        _draw_curves(right, curves, numbers[0], gap, chosen, seeds=False)
        left.legend(fontsize=8)
        for ax in (left, right):
            ax.set_xlabel(numbers[0].replace("_", "-"))
        right.axhline(0, color="black", linewidth=1)
    else:
        _draw_rows(left, rows, over_tasks, chosen, seeds=True)
        _draw_rows(right, rows, gap, chosen, seeds=False)
        left.set_yticks(range(len(rows)), [_with_failures(row.setting.label, [row]) for row in rows], fontsize=8)
        left.set_ylim(len(rows) - 0.5, -0.5)
        right.axvline(0, color="black", linewidth=1)
    means = [row.over_tasks.mean for row in rows if np.isfinite(row.over_tasks.mean)]
    if metric == LOSS and means and max(means) > DECADE * min(means):
        (left.set_yscale if is_curve else left.set_xscale)("log")
    getattr(left, f"set_{axis}label")(f"{metric} on {num_tasks} test tasks")
    getattr(right, f"set_{axis}label")("how much better the chosen one is")
    star = "star: chosen by its validation score" if chosen is not None else "none was chosen"
    left.set_title(f"{metric} ± 95 % over tasks; dots: seeds; {star}", fontsize=9)
    right.set_title("paired differences on the same tasks, ± 95 % over tasks", fontsize=9)
    for ax in (left, right):
        ax.grid(alpha=0.3, axis=axis)
    save(canvas, path)


def _curves(rows: Sequence[Row], name: str) -> dict[str, list[Row]]:
    """The rows of each curve, in the order of the number, by what else they have in common."""
    curves: dict[str, list[Row]] = {}
    for row in rows:
        varied = row.setting.varied
        others = {other: value for other, value in varied.items() if other != name or not is_number(value)}
        words = [f"{other.replace('_', '-')} {value}" for other, value in others.items()]
        curves.setdefault(" ".join([row.setting.title, *words]), []).append(row)
    return {title: sorted(of_curve, key=lambda row: _at(row, name) or 0.0) for title, of_curve in curves.items()}


def _draw_curves(
    ax: Any, curves: Mapping[str, Sequence[Row]], name: str, of: Of, chosen: Row | None, *, seeds: bool
) -> None:
    drawn = [row for rows in curves.values() for row in rows if np.isfinite(row.over_tasks.mean)]
    for (title, rows), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=False):
        shown = [row for row in rows if np.isfinite(of(row).mean)]
        label = _with_failures(title, rows)
        if rows and _at(rows[0], name) is None:  # it has no such number: a level
            for row in shown:
                ax.axhline(of(row).mean, color=colour, linestyle="--", label=label)
                ax.axhspan(of(row).mean - of(row).half, of(row).mean + of(row).half, color=colour, alpha=0.12)
            continue
        x = [_at(row, name) for row in shown]
        means, halves = (np.array([of(row)[part] for row in shown], np.float64) for part in (0, 1))
        ax.plot(x, means, color=colour, marker=marker, markersize=5, label=label)
        ax.fill_between(x, means - halves, means + halves, color=colour, alpha=0.12)
        for row in shown if seeds else ():
            of_seeds = _of_seeds(row)
            ax.plot([_at(row, name)] * len(of_seeds), of_seeds, ".", color=colour, **DOT)
    if chosen is not None and _at(chosen, name) is not None:
        ax.plot(_at(chosen, name), of(chosen).mean, "*", color="black", markersize=12, zorder=5)
    values = sorted({value for row in drawn if (value := _at(row, name)) is not None})
    if _is_log(values):
        ax.set_xscale("log")
    if values and len(values) <= MOST_TICKS:
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.xaxis.set_minor_formatter("")


def _draw_rows(ax: Any, rows: Sequence[Row], of: Of, chosen: Row | None, *, seeds: bool) -> None:
    """One line for each setting, the first on top."""
    for y, row in enumerate(rows):
        (mean, half), colour = of(row), ORANGE if row is chosen else BLUE
        if np.isfinite(mean):
            bar = [half] if np.isfinite(half) else None
            ax.errorbar(mean, y, xerr=bar, color=colour, fmt="*" if row is chosen else "o", capsize=3)
        elif not np.isfinite(row.over_tasks.mean):
            place = {"transform": ax.get_yaxis_transform(), "ha": "center", "va": "center", "fontsize": 8}
            ax.text(0.5, y, "not finite", color=GREY, **place)
        of_seeds = _of_seeds(row) if seeds else []
        ax.plot(of_seeds, [y + BESIDE] * len(of_seeds), ".", color=colour, **DOT)


def _of_seeds(row: Row) -> list[float]:
    """The mean score of each seed, where there are several."""
    return [mean for mean in row.of_seeds if np.isfinite(mean)] if len(row.seeds) > 1 else []


def _with_failures(title: str, rows: Sequence[Row]) -> str:
    failed = sum(len(row.failed) for row in rows)
    return title + (f" ({failed} run{'s' * (failed > 1)} failed)" if failed else "")


def _at(row: Row, name: str) -> float | None:
    value = row.setting.varied.get(name)
    return value if is_number(value) else None


def _is_log(values: Sequence[float]) -> bool:
    """Whether values are spaced more evenly on a logarithmic axis than on a plain one."""
    ordered = sorted({value for value in values if np.isfinite(value)})
    if len(ordered) < 2 or ordered[0] <= 0:
        return False
    if len(ordered) == 2:
        return ordered[1] / ordered[0] >= DECADE
    logarithmic, plain = (gaps.std() / gaps.mean() for gaps in (np.diff(np.log(ordered)), np.diff(ordered)))
    return bool(logarithmic < plain)
