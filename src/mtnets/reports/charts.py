"""Small pictures as SVG, which stands within the page: its colours are those of the page, light or dark.

Each has a title and a description for those who do not see it, and lines differ in their dashes as well as in colour.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtnets.reports.elements import Child, Element, element

WIDTH, HEIGHT = 400.0, 250.0  # units of the drawing; at the width of a phone a unit is nearly a pixel
LEFT, RIGHT, TOP, BOTTOM = 52.0, 18.0, 12.0, 40.0  # margins around what is drawn
STYLES = 6  # lines that can be told apart; the style sheet has as many
MOST_POINTS = 400  # of a line; more would not be seen
MOST_DOTS = 12  # points of a line that has a dot at each
ABOUT_TICKS = 5
DECADE = 10.0  # from the least to the largest of positive numbers that are on a logarithmic axis
LEGEND = 15.0  # height of a line of the legend


@dataclasses.dataclass(frozen=True)
class Axis:
    """From numbers to places.

    Attributes:
      low, high: its ends.
      label: what the numbers are.
      log: whether it is logarithmic.
      whole: whether only whole numbers have a tick.
    """

    low: float
    high: float
    label: str
    log: bool = False
    whole: bool = False

    @classmethod
    def over(cls, values: Iterable[ArrayLike], label: str, *, log: bool = False, whole: bool = False) -> "Axis":
        """An axis that has room for these values; those that are not finite, or not above 0 on a logarithmic axis, are
        left out."""
        every = np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in values] or [np.zeros(0)])
        kept = every[np.isfinite(every) & ((every > 0) | (not log))]
        if not kept.size:
            return cls(0.0, 1.0, label, whole=whole)
        low, high = float(kept.min()), float(kept.max())
        if whole and low == high:  # one point stands where it is on the way from 0
            return cls(min(0.0, low), max(0.0, high) or 1.0, label, whole=True)
        if log:
            return cls(low / 1.1, high * 1.1, label, log=True)
        room = 0.05 * (high - low) or abs(high) or 1.0
        return cls(low - (0 if whole else room), high + (0 if whole else room), label, whole=whole)

    def at(self, values: ArrayLike) -> NDArray[np.float64]:
        """How far along the axis values are, 0 … 1; NaN for what it cannot show."""
        array = np.asarray(values, np.float64)
        with np.errstate(all="ignore"):
            if self.log:
                array = np.where(array > 0, array, np.nan)
                place = (np.log(array) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
            else:
                place = (array - self.low) / (self.high - self.low)
        return np.where(np.isfinite(place), place, np.nan)

    def ticks(self) -> list[float]:
        """Round numbers between the ends."""
        if not self.log:
            return _round_between(self.low, self.high, self.whole)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, math.ceil((last - first) / ABOUT_TICKS))
        parts = (1.0,) if last - first > 3 else (1.0, 2.0, 5.0)
        ticks = [part * 10.0**power for power in range(first, last + 1, every) for part in parts]
        return [tick for tick in ticks if self.low <= tick <= self.high]


def _round_between(low: float, high: float, whole: bool) -> list[float]:
    size = 10.0 ** math.floor(math.log10((high - low) / ABOUT_TICKS))
    step = next(size * part for part in (1, 2, 5, 10) if (high - low) / (size * part) <= ABOUT_TICKS)
    step = max(step, 1.0) if whole else step
    count = math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9)
    return [(math.ceil(low / step - 1e-9) + i) * step for i in range(count + 1)]


class Line(NamedTuple):
    """A line, or dots, of a chart.

    Attributes:
      name: in the legend.
      x, y: its points.
      low, high: ends of an interval around each, if there is one.
      dots: whether the points are not joined.
      style: number of its colour and dashes. Defaults to its place among the lines.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    dots: bool = False
    style: int | None = None


def line_chart(
    title: str,
    about: str,
    lines: Sequence[Line],
    x: str,
    y: str,
    *,
    log: bool | None = None,
    ends: tuple[float, float] | None = None,
) -> Element:
    """Lines over a number.

    Args:
      title: of the chart.
      about: what it shows, for those who do not see it.
      lines: what is drawn.
      x, y: labels of the axes.
      log: whether the vertical axis is logarithmic. By default where all is positive and spans more than a decade.
      ends: of the vertical axis. By default there is room for the lines alone, in which noise may look large.
    """
    values = [part for line in lines for part in (line.y, line.low, line.high) if part is not None]
    across = [line.x for line in lines]
    whole = all(np.all(np.mod(np.asarray(part, np.float64), 1) == 0) for part in across)
    horizontal = Axis.over(across, x, whole=whole)
    vertical = Axis.over(values, y, log=_spans(values) if log is None else log) if ends is None else Axis(*ends, y)
    marks: list[Child] = []
    for place, line in enumerate(lines):
        marks += _drawn(line, (place if line.style is None else line.style) % STYLES, horizontal, vertical)
    return _frame(title, about, horizontal, vertical, marks, lines if len(lines) > 1 else ())


def _spans(values: Sequence[ArrayLike]) -> bool:
    every = np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in values])
    every = every[np.isfinite(every)]
    return bool(every.size and every.min() > 0 and every.max() > DECADE * every.min())


def _drawn(line: Line, style: int, x: Axis, y: Axis) -> list[Child]:
    """The marks of a line."""
    places, up = _x(x, line.x), _y(y, line.y)
    points = list(zip(places.tolist(), up.tolist(), strict=True))
    if line.dots:
        return [element("g", [_dot(a, b, style) for a, b in points if math.isfinite(a + b)])]
    marks: list[Child] = []
    few = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).astype(int))
    if line.low is not None and line.high is not None:
        low, high = _y(y, line.low)[few], _y(y, line.high)[few]
        known = np.isfinite(low + high)
        across, below, above = (part[known].tolist() for part in (places[few], low, high))
        edge = [*zip(across, below, strict=True), *zip(across[::-1], above[::-1], strict=True)]
        marks.append(element("polygon", points=_points(edge), class_=f"band s{style}"))
    for known, run in itertools.groupby(few, lambda i: bool(np.isfinite(up[i]))):
        if known:  # the line is broken where nothing is known
            part = [points[i] for i in run]
            marks.append(element("polyline", points=_points(part), class_=f"line s{style}"))
            marks += [_dot(a, b, style) for a, b in part] if len(few) <= MOST_DOTS else []
    return marks


def _dot(x: float, y: float, style: int) -> Element:
    """A circle, or a cross for every second style, so that colour is not all that tells them apart."""
    if style % 2:
        return element("path", d=f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6", class_=f"cross s{style}")
    return element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, class_=f"dot s{style}")


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)


def bar_chart(
    title: str,
    about: str,
    edges: ArrayLike,
    heights: ArrayLike,
    x: str,
    y: Axis,
    marked: Sequence[tuple[str, float]] = (),
    *,
    whole: bool = False,
) -> Element:
    """Bars side by side.

    Args:
      title, about: as in `line_chart`.
      edges: ends of the bars, `[bars + 1]`.
      heights: of the bars, `[bars]`.
      x: label of the horizontal axis.
      y: the vertical axis, which begins at 0.
      marked: names and places of vertical lines.
      whole: whether only whole numbers have a tick on the horizontal axis.
    """
    ends = np.asarray(edges, np.float64)
    horizontal = Axis(float(ends[0]), float(ends[-1]), x, whole=whole)
    places, up, floor = _x(horizontal, ends), _y(y, heights), float(_y(y, 0.0))
    bars: list[Child] = [
        element(
            "rect",
            x=f"{left:.1f}", y=f"{top:.1f}", width=f"{max(right - left - (right - left > 3), 0.5):.1f}",
            height=f"{max(floor - top, 0):.1f}", class_="bar",
        )
        for left, right, top in zip(places[:-1], places[1:], up, strict=True)
        if np.isfinite(top)
    ]  # fmt: skip
    shown = [(name, value) for name, value in marked if horizontal.low <= value <= horizontal.high]
    lines = [Line(f"{name} {number(value)}", [], [], style=1 + place) for place, (name, value) in enumerate(shown)]
    for line, (_, value) in zip(lines, shown, strict=True):
        at = float(_x(horizontal, value))
        bars.append(element("line", x1=f"{at:.1f}", x2=f"{at:.1f}", y1=TOP, y2=floor, class_=f"line s{line.style}"))
    return _frame(title, about, horizontal, y, bars, lines)


def _x(axis: Axis, values: ArrayLike) -> NDArray[np.float64]:
    return LEFT + axis.at(values) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, values: ArrayLike) -> NDArray[np.float64]:
    return HEIGHT - BOTTOM - axis.at(values) * (HEIGHT - TOP - BOTTOM)


def _frame(title: str, about: str, x: Axis, y: Axis, marks: Sequence[Child], legend: Sequence[Line]) -> Element:
    """A picture: axes, what is drawn, and a legend below it."""
    below = HEIGHT + (LEGEND * len(legend) + 4 if legend else 0)
    grid: list[Child] = []
    for tick in y.ticks():
        at = float(_y(y, tick))
        grid.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{at:.1f}", y2=f"{at:.1f}", class_="grid"))
        grid.append(element("text", number(tick), x=LEFT - 5, y=f"{at + 4:.1f}", text_anchor="end"))
    for tick in x.ticks():
        at = float(_x(x, tick))
        bottom = HEIGHT - BOTTOM
        grid.append(element("line", x1=f"{at:.1f}", x2=f"{at:.1f}", y1=bottom, y2=bottom + 4, class_="axis"))
        grid.append(element("text", number(tick), x=f"{at:.1f}", y=bottom + 16, text_anchor="middle"))
    grid.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    labels = [
        element("text", x.label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle", class_="label"),
        element("text", y.label, transform=f"translate(11 {middle}) rotate(-90)", text_anchor="middle", class_="label"),
    ]
    keys: list[Child] = []
    for place, line in enumerate(legend):
        style, at = (place if line.style is None else line.style) % STYLES, HEIGHT + LEGEND * (place + 0.5)
        if line.dots:
            keys.append(_dot(LEFT + 13, at - 4, style))
        else:
            keys.append(element("line", x1=LEFT, x2=LEFT + 26, y1=at - 4, y2=at - 4, class_=f"line s{style}"))
        keys.append(element("text", line.name, x=LEFT + 34, y=at))
    return element(
        "svg",
        element("title", title),
        element("desc", about),
        (grid, marks, labels, keys),
        viewBox=f"0 0 {WIDTH:g} {below:g}",
        role="img",
        aria_label=f"{title}. {about}",
    )


def number(value: float) -> str:
    """A number as people write it: four digits, and powers of ten where it is very small or large."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
    plain = value == 0 or 1e-3 <= abs(value) < 1e6
    digits = f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}".replace(",", " ")
    if plain:
        return digits.replace("-", "−")
    base, _, power = f"{value:.2e}".partition("e")
    return f"{float(base):g}e{int(power)}".replace("-", "−")
