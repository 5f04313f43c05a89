"""Draws a comparison: the paired differences, and both scores of every task."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtnets.analysis.figures import BLUE, ORANGE, figure, save
from mtnets.inner import LOSS
from mtnets.reports.bins import bin_edges
from mtnets.sweeps.intervals import mean_over

if TYPE_CHECKING:
    from mtnets.reports.comparison import Comparison


def plot(comparison: "Comparison", path: str | Path) -> None:
    """Draws a comparison into a PNG file.

    Raises:
      OptionError: without matplotlib.
    """
    canvas = figure(11, 4.5)
    left, right = canvas.subplots(1, 2)
    one, other = (np.ma.filled(mean_over(side.scores, 0), np.nan) for side in (comparison.one, comparison.other))
    with np.errstate(all="ignore"):
        better = (other - one) * (1 if comparison.higher_is_better else -1)
    shown = better[np.isfinite(better)]
    left.hist(shown, bins=bin_edges(shown).tolist() if shown.size else 1, color=BLUE, alpha=0.8)
    left.axvline(0, color="black", linewidth=1)
    mean, half = comparison.difference.tasks
    if np.isfinite(mean + half):
        left.axvline(mean, color=ORANGE, linestyle="--", label=f"mean {mean:+.4g}")
        left.axvspan(mean - half, mean + half, color=ORANGE, alpha=0.35, label=f"its 95 % interval, ± {half:.2g}")
        left.legend(fontsize=8)
    left.set(xlabel=f"{comparison.other.name} better by ({comparison.metric_name})", ylabel="tasks")
    left.set_title(f"Paired differences on {comparison.num_tasks} test tasks", fontsize=10)
    right.plot(one, other, ".", color=BLUE, alpha=0.4, markersize=4)
    ends = np.array([one, other])[:, np.isfinite(one + other)]
    if ends.size:
        low, high = ends.min(), ends.max()
        right.plot([low, high], [low, high], color="black", linewidth=1)
        if comparison.metric == LOSS and low > 0 and high > 10 * low:
            right.set(xscale="log", yscale="log")
    right.set(xlabel=comparison.one.name, ylabel=comparison.other.name)
    right.set_title(f"{comparison.metric_name} of every task; on the line both are equal", fontsize=10)
    for ax in (left, right):
        ax.grid(alpha=0.3)
    save(canvas, path)
