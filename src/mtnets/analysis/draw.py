"""Draws the measurements of a learner."""

from pathlib import Path
from typing import Any

import numpy as np

from mtnets.analysis.figures import BLUE, GREY, ORANGE, figure, save
from mtnets.analysis.measure import Measurements

MOST_LEAVES = 24  # that fit into the picture


def draw(numbers: Measurements, path: str | Path) -> None:
    """Draws measurements into a PNG file.

    Raises:
      OptionError: without matplotlib.
    """
    canvas = figure(12, 7)
    axes = canvas.subplots(2, 2)
    _curve(axes[0, 0], numbers)
    _parts(axes[0, 1], numbers)
    _layers(axes[1, 0], numbers)
    _gradients(axes[1, 1], numbers)
    save(canvas, path)


def _curve(ax: Any, numbers: Measurements) -> None:
    curve = numbers.curve
    scores, steps = curve.scores.astype(np.float64), np.arange(curve.scores.shape[1])
    with np.errstate(all="ignore"):
        low, high = np.nanquantile(np.where(np.isfinite(scores), scores, np.nan), [0.1, 0.9], axis=0)
    ax.fill_between(steps, low, high, color=BLUE, alpha=0.15, label="80 % of tasks")
    ax.errorbar(steps, curve.mean, curve.ci95, color=BLUE, marker="o", label="mean ± 95 %")
    ax.plot(steps, curve.median, color=ORANGE, linestyle="--", label="median")
    ax.axvline(numbers.inner_steps, color=GREY, linestyle=":", label="steps of training")
    if curve.metric == "loss" and np.nanmin(low) > 0:
        ax.set_yscale("log")
    ax.set(title="Does adaptation help?", xlabel="inner steps", ylabel=f"{curve.metric} on query sets")
    ax.legend(fontsize=8)


def _parts(ax: Any, numbers: Measurements) -> None:
    n = numbers.inner_steps
    bars = {"before": (numbers.curve, 0)}
    bars |= {f"{name} alone": (estimate, n) for name, estimate in numbers.parts.items()} | {"all": (numbers.curve, n)}
    for i, (name, (estimate, step)) in enumerate(bars.items()):
        ax.bar(i, estimate.mean[step], color=GREY if name == "before" else BLUE, yerr=estimate.ci95[step], capsize=4)
    ax.set_xticks(range(len(bars)), bars)
    steps = f"{n} inner step" + "s" * (n != 1)
    ax.set(title=f"What moves, after {steps}", ylabel=f"mean {numbers.curve.metric} ± 95 %")


def _layers(ax: Any, numbers: Measurements) -> None:
    names = list(numbers.units)
    x, units = np.arange(len(names)), np.array([numbers.units[name] for name in names])
    ax.bar(x - 0.27, units, 0.25, color=GREY, label="units")
    if numbers.moving:
        shares = np.array([numbers.moving.get(name, np.nan) for name in names])
        ax.bar(x, shares * units, 0.25, color=ORANGE, label="units that move (expected)")
    ranks = [numbers.ranks.get(name, np.nan) for name in names]
    ax.bar(x + (0.27 if numbers.moving else 0), ranks, 0.25, color=BLUE, label="rank of the update")
    ax.set_xticks(x, names, rotation=20 if len(names) > 3 else 0)
    ax.set(title="How much of each layer a task moves", ylabel="number")
    ax.margins(y=0.3)  # so that the legend hides no bar
    ax.legend(fontsize=8, loc="upper right")


def _gradients(ax: Any, numbers: Measurements) -> None:
    names, norms = list(numbers.gradients), np.array(list(numbers.gradients.values()))
    shown = np.argsort(-np.where(np.isnan(norms), np.inf, norms))[:MOST_LEAVES][::-1]
    values = [norms[i] if norms[i] > 0 else np.nan for i in shown]
    ax.barh(range(len(shown)), values, color=BLUE)
    labels = [names[i] + ("" if norms[i] > 0 else "  (zero)" if norms[i] == 0 else "  (not finite)") for i in shown]
    ax.set_yticks(range(len(shown)), labels, fontsize=6)
    if np.nanmax(np.where(norms > 0, norms, np.nan), initial=0) > 0:
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter("")  # its labels would overlap where there is less than a decade
    ax.set(title="Meta-gradient by leaf", xlabel="norm")
