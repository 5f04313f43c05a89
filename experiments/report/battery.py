"""The tables and the figure of the page on used cells, battery.md; the rest of that page is written by people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.battery.experiment import PARTS, name_of
from experiments.battery.judging import AS_TRAINED, CLOSE, MORE_WORN, SHOTS, TIMED_SHOTS, WEAR
from experiments.report.drawing import figure, save
from experiments.report.pages import with_tables
from experiments.report.tables import Parts, head, row, title
from experiments.resumable import read_parts
from experiments.scores import mean_and_interval

Rows = Mapping[str, Mapping[str, Any]]
AHEAD = "mt_net"  # that others are compared with
KINDS = {AS_TRAINED: ("#0072B2", "o"), MORE_WORN: ("#D55E00", "s")}


def page(results: Path, path: Path, figures: Path) -> str | None:
    """The page at `path` with its tables replaced, or None if there are no results or no page.

    Raises:
      RunError: if the page does not say where the tables stand.
    """
    parts = read_parts(results)
    if not parts or not path.exists():
        return None
    rows = rows_of(parts)
    return with_tables(path, [_draw(rows, figures / "battery.png"), "", *_errors(rows), "", *_settings(rows), ""])


def rows_of(parts: Parts) -> Rows:
    """All models by name, those of meta-learning first."""
    return {name: row for part in PARTS if part in parts for name, row in parts[part]["rows"].items()}


def _errors(rows: Rows) -> list[str]:
    """Errors on both kinds of cells, and the paired difference from the MT-net."""
    columns = [f"{shots} readings{', worn' * (kind == MORE_WORN)}" for kind in WEAR for shots in SHOTS]
    lines = head("error, mV", *columns, f"less MT-net's, {TIMED_SHOTS} readings")
    for name, model in rows.items():
        cells = [_plus_minus(model["scores"][name_of(shots, kind)]) for kind in WEAR for shots in SHOTS]
        lines.append(row(title(name), *cells, _difference(rows, name)))
    return lines


def _difference(rows: Rows, name: str) -> str:
    """The error of a model less that of the MT-net, paired by cell."""
    if AHEAD not in rows or name == AHEAD:
        return ""
    test = name_of(TIMED_SHOTS, AS_TRAINED)
    this, ahead = (np.array(rows[each]["scores"][test]["errors"]) for each in (name, AHEAD))
    return _plus_minus(mean_and_interval(this - ahead), "+")


def _settings(rows: Rows) -> list[str]:
    """What other cells chose, how seeds differ, and how long it takes."""
    lines = head(
        "",
        "rate; steps for " + ", ".join(map(str, SHOTS)),
        "each seed, mV",
        f"cells within {CLOSE:.0f} mV",
        "half of them after",
        "its time, in ridge regressions",
    )
    for name, model in rows.items():
        scores, time = [model["scores"][name_of(shots, AS_TRAINED)] for shots in SHOTS], model["time"]
        settings = [score["setting"] for score in scores if "setting" in score]
        rates = ", ".join(dict.fromkeys(f"{setting['rate']:g}" for setting in settings))
        middle = scores[SHOTS.index(TIMED_SHOTS)]
        close = f"{time['steps']} steps" if "steps" in time else "its fit"
        lines.append(
            row(
                title(name),
                f"{rates}; {', '.join(str(setting['steps']) for setting in settings)}" if settings else "–",
                ", ".join(f"{seed:.1f}" for seed in middle["seeds"]) if len(middle["seeds"]) > 1 else "–",
                f"{100 * middle['close']:.0f} %",
                close if time["close"] else "never",
                f"{time['seconds'] / time['ridge']:.2g}",
            )
        )
    return lines


def _plus_minus(estimate: Mapping[str, float | None], sign: str = "") -> str:
    mean, half = estimate["mean"], estimate["ci95"]
    if mean is None or half is None:
        return "∞"
    return f"{mean:{sign}.1f} ± {half:.1f}".replace("-", "−")


def _draw(rows: Rows, path: Path) -> str:
    """A panel for each number of readings: every model, on both kinds of cells."""
    canvas, axes = figure(len(SHOTS), width=11, height=0.36 * len(rows) + 1.4)
    places = np.arange(len(rows))[::-1]
    for ax, shots in zip(axes, SHOTS, strict=True):
        for kind, (colour, marker) in KINDS.items():
            scores = [model["scores"][name_of(shots, kind)] for model in rows.values()]
            means, halves = (np.array([score[each] for score in scores], float) for each in ("mean", "ci95"))
            ax.errorbar(means, places, xerr=halves, fmt=marker, color=colour, markersize=5, capsize=3, label=kind)
        ax.set(xscale="log", xlabel="error, mV", title=f"{shots} readings")
        ax.set_xticks([10, 20, 50, 100, 200], ["10", "20", "50", "100", "200"])
        ax.grid(alpha=0.3)
    axes[0].set_yticks(places, [title(name) for name in rows])
    axes[0].legend(fontsize=8)
    return save(canvas, path)
