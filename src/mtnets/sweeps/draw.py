"""Draws the settings of a sweep: curves over the one number that was varied, or else a line for each setting.

Intervals over tasks are bands, and those over seeds bars: they speak of different things, and neither holds the other.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtnets.analysis.figures import BLUE, COLOURS, GREY, MARKERS, ORANGE, figure, save
from mtnets.inner import LOSS
from mtnets.sweeps.grid import is_number, numbers_varied
from mtnets.sweeps.intervals import Difference, Interval
from mtnets.sweeps.rows import Row

MOST_TICKS = 8  # values that have a tick each on the axis
DECADE = 10.0  # from the least to the largest of scores, or of two values, that are on a logarithmic axis
BESIDE = 0.25  # of a line for each setting, where its seeds are
BAND, CAP, DOT = {"alpha": 0.15, "linewidth": 0}, {"linewidth": 1.2, "markersize": 7}, {"alpha": 0.6, "markersize": 4}
STEP = 8.0  # points from the bars of one curve to those of the next
WIDER = 1.0  # times what else is drawn, by which bars may widen an axis on each side; those of two seeds are 9 times as
# long as the seeds are apart
UNKNOWN = Interval(float("nan"), float("nan"))


class Both(NamedTuple):
    """A mean with its interval over tasks, and with that over seeds, which is not known of a single one."""

    tasks: Interval
    seeds: Interval


class Mark(NamedTuple):
    """A setting, where it stands on the other axis (None for a level), its colour, and how far beside its place its bar
    and its seeds are, in points: curves share their places."""

    row: Row
    place: float | None
    colour: str
    beside: float = 0.0


Of = Callable[[Row], Both]


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

    def score(row: Row) -> Both:
        return Both(row.over_tasks, row.over_seeds)

    def gap(row: Row) -> Both:
        if row is chosen:
            return Both(Interval(0.0, 0.0), UNKNOWN)
        known = gaps.get(places[id(row)])
        return Both(UNKNOWN, UNKNOWN) if known is None else Both(known.tasks, known.seeds)

    numbers = list(numbers_varied([row.setting for row in rows]))
    curves = _curves(rows, numbers[0]) if len(numbers) == 1 else {}
    is_curve = 0 < len(curves) <= len(COLOURS)
    canvas = figure(11, 4.8) if is_curve else figure(11, 2.1 + 0.3 * len(rows))
    left, right = canvas.subplots(1, 2, sharex=is_curve, sharey=not is_curve)
    axis = "y" if is_curve else "x"
    if is_curve:
        _draw_curves(left, curves, numbers[0], score, chosen)
        _draw_curves(right, curves, numbers[0], gap, chosen)
        left.legend(fontsize=8)
        for ax in (left, right):
            ax.set_xlabel(numbers[0].replace("_", "-"))
        right.axhline(0, color="black", linewidth=1)
        middle = (sum(_at(of_curve[0], numbers[0]) is not None for of_curve in curves.values()) - 1) / 2
        marks = [
            Mark(row, _at(row, numbers[0]), colour, STEP * (i - middle))
            for i, (of_curve, colour) in enumerate(zip(curves.values(), COLOURS, strict=False))
            for row in of_curve
        ]
    else:
        _draw_rows(left, rows, score, chosen)
        _draw_rows(right, rows, gap, chosen)
        left.set_yticks(range(len(rows)), [_with_failures(row.setting.label, [row]) for row in rows], fontsize=8)
        left.set_ylim(len(rows) - 0.5, -0.5)
        right.axvline(0, color="black", linewidth=1)
        marks = [Mark(row, float(y), _colour(row, chosen)) for y, row in enumerate(rows)]
    means = [row.over_tasks.mean for row in rows if np.isfinite(row.over_tasks.mean)]
    if metric == LOSS and means and max(means) > DECADE * min(means):
        (left.set_yscale if is_curve else left.set_xscale)("log")
    getattr(left, f"set_{axis}label")(f"{metric} on {num_tasks} test tasks")
    getattr(right, f"set_{axis}label")("how much better the chosen one is")
    left.set_title("scores", fontsize=9)
    right.set_title("paired differences on the same tasks, with the same seeds", fontsize=9)
    for mark in marks:
        _draw_seeds(left, mark, axis)
    for ax, of in ((left, score), (right, gap)):
        _draw_bars(ax, marks, of, axis)
        ax.grid(alpha=0.3, axis=axis)
    _explain(canvas, rows, chosen)
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


def _draw_curves(ax: Any, curves: Mapping[str, Sequence[Row]], name: str, of: Of, chosen: Row | None) -> None:
    drawn = [row for rows in curves.values() for row in rows if np.isfinite(row.over_tasks.mean)]
    for (title, rows), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=False):
        shown = [row for row in rows if np.isfinite(of(row).tasks.mean)]
        label = _with_failures(title, rows)
        if rows and _at(rows[0], name) is None:  # it has no such number: a level
            for row in shown:
                ax.axhline(of(row).tasks.mean, color=colour, linestyle="--", label=label)
                ax.axhspan(*_ends(of(row).tasks), color=colour, **BAND)
            continue
        x = [_at(row, name) for row in shown]
        means, halves = (np.array([of(row).tasks[part] for row in shown], np.float64) for part in (0, 1))
        ax.plot(x, means, color=colour, marker=marker, markersize=5, label=label)
        ax.fill_between(x, means - halves, means + halves, color=colour, **BAND)
    if chosen is not None and _at(chosen, name) is not None:
        ax.plot(_at(chosen, name), of(chosen).tasks.mean, "*", color="black", markersize=12, zorder=5)
    values = sorted({value for row in drawn if (value := _at(row, name)) is not None})
    if _is_log(values):
        ax.set_xscale("log")
    if values and len(values) <= MOST_TICKS:
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.xaxis.set_minor_formatter("")


def _draw_rows(ax: Any, rows: Sequence[Row], of: Of, chosen: Row | None) -> None:
    """One line for each setting, the first on top."""
    for y, row in enumerate(rows):
        mean, colour = of(row).tasks.mean, _colour(row, chosen)
        if np.isfinite(mean):
            ax.plot(mean, y, color=colour, marker="*" if row is chosen else "o", markersize=9 if row is chosen else 5)
            low, high = _ends(of(row).tasks)
            ax.fill_betweenx([y - BESIDE, y + BESIDE], low, high, color=colour, **BAND)
        elif not np.isfinite(row.over_tasks.mean):
            place = {"transform": ax.get_yaxis_transform(), "ha": "center", "va": "center", "fontsize": 8}
            ax.text(0.5, y, "not finite", color=GREY, **place)


def _draw_seeds(ax: Any, mark: Mark, axis: str) -> None:
    """The mean score of each seed."""
    of_seeds = _of_seeds(mark.row)
    if mark.place is None:
        return
    if axis == "y":
        x, y, beside = [mark.place] * len(of_seeds), of_seeds, mark.beside + STEP / 2
    else:
        x, y, beside = of_seeds, [mark.place + BESIDE] * len(of_seeds), 0.0
    _plot(ax, x, y, beside, color=mark.colour, linestyle="", marker=".", **DOT)


def _plot(ax: Any, x: Sequence[float], y: Sequence[float], beside: float, **style: Any) -> None:
    """A line, so many points to the right."""
    from matplotlib.transforms import ScaledTranslation

    moved = ScaledTranslation(beside / 72, 0, ax.figure.dpi_scale_trans)  # 72 points are an inch
    ax.plot(x, y, transform=ax.transData + moved, **style)
    ax.update_datalim(list(zip(x, y, strict=True)))  # which it does by itself only where nothing is moved
    ax.autoscale_view()


def _draw_bars(ax: Any, marks: Iterable[Mark], of: Of, axis: str) -> None:
    """The intervals over seeds. Those that would make all else small leave the picture."""
    before = _limits(ax, axis)
    for mark in marks:
        ends = _ends(of(mark.row).seeds)
        if not np.isfinite(ends).all() or mark.place is None:
            continue
        x, y = ((mark.place,) * 2, ends) if axis == "y" else (ends, (mark.place,) * 2)
        cap = "_" if axis == "y" else "|"
        _plot(ax, x, y, mark.beside, color=mark.colour, marker=cap, **CAP)
    room = WIDER * (before[1] - before[0])
    low, high = np.clip(_limits(ax, axis), before[0] - room, before[1] + room)
    is_log = getattr(ax, f"get_{axis}scale")() == "log"
    getattr(ax, f"set_{axis}lim")(*((10**low, 10**high) if is_log else (low, high)))


def _limits(ax: Any, axis: str) -> np.ndarray:
    """The ends of an axis, or their decimal logarithms where it is logarithmic."""
    ends = np.array(getattr(ax, f"get_{axis}lim")())
    return np.log10(ends) if getattr(ax, f"get_{axis}scale")() == "log" else ends


def _explain(canvas: Any, rows: Sequence[Row], chosen: Row | None) -> None:
    """A line below that says what everything is."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    keys: list[Any] = [Patch(color=GREY, alpha=0.5, label="95 % interval over tasks")]
    if any(len(row.seeds) > 1 for row in rows):
        keys.append(
            Line2D([], [], color=GREY, marker="|", markersize=9, label="95 % interval over seeds (Student's t)")
        )
        keys.append(Line2D([], [], color=GREY, linestyle="", marker=".", label="a seed"))
    else:
        keys.append(Line2D([], [], linestyle="", label="one seed each: no interval over seeds"))
    star = "chosen by its validation score" if chosen is not None else "none was chosen"
    keys.append(Line2D([], [], color="black", linestyle="", marker="*", markersize=9, label=star))
    canvas.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8, frameon=False)


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.mean - interval.half, interval.mean + interval.half


def _colour(row: Row, chosen: Row | None) -> str:
    return ORANGE if row is chosen else BLUE


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
