"""The paper's claim that MT-nets are less sensitive to the inner rate."""

from pathlib import Path

import numpy as np

from experiments.report.drawing import figure, numbers, save, style
from experiments.report.tables import Parts, head, number, place, row, title
from experiments.resumable import Part, command

IGNORES_THE_TASK = 3.12  # loss of the best function that does not look at the support set
PREDICTS_ZERO = 4.16  # mean square of the targets
TITLES = {"none": "without batch norm", "transductive": "with batch norm"}


def robustness(parts: Parts, figures: Path) -> list[str]:
    """The section on sensitivity to the inner rate."""
    settings = next(iter(parts.values()))["settings"]
    rates = settings["inner_lrs"]
    lines = [
        f"`{command('robustness')}`: sine at 10 shots, trained and tested with each α; {settings['seeds']} seeds, "
        f"{settings['tasks']} test tasks, {settings['meta_steps']} meta-steps (half of the paper's), of which the last "
        "learner is kept. Mean loss after one inner step; in "
        "brackets the median where that is above 10. The last column is the number of decades of α over which the "
        f"mean loss stays below 1 (the best function that ignores the task has {IGNORES_THE_TASK}, one that is zero "
        f"{PREDICTS_ZERO}).",
        "",
        *head("method", "batch norm", *(f"{rate:.2g}" for rate in rates), "decades below 1"),
    ]
    for part in _ordered(parts):
        cells = []
        for rate in part["rates"]:
            mean, median = rate["10 shots"]["mean"][1], rate["10 shots"]["median"][1]
            large = mean is None or mean > 10
            cells.append(number(mean)[:6] + (f" ({number(median)[:5]})" if large else ""))
        means = numbers([rate["10 shots"]["mean"][1] for rate in part["rates"]])
        lines.append(row(title(part["method"]), part["norm"], *cells, f"{_decades(rates, means < 1):.1f}"))
    return [*lines, "", _draw(parts, figures / "robustness.png")]


def _ordered(parts: Parts) -> list[Part]:
    return sorted(parts.values(), key=lambda p: (list(TITLES).index(p["norm"]), place(p["method"])))


def _decades(rates: list[float], good: np.ndarray) -> float:
    """Decades between neighbouring rates that are both good, added up."""
    logs = np.log10(rates)
    return float((np.diff(logs) * (good[1:] & good[:-1])).sum())


def _draw(parts: Parts, path: Path) -> str:
    canvas, axes = figure(2, width=10)
    for ax, (norm, words) in zip(axes, TITLES.items(), strict=True):
        for part in (part for part in _ordered(parts) if part["norm"] == norm):
            rates, look = [rate["inner_lr"] for rate in part["rates"]], style(part["method"])
            mean, half = (numbers([rate["10 shots"][k][1] for rate in part["rates"]]) for k in ("mean", "seeds95"))
            ax.plot(rates, mean, "-", label=title(part["method"]), **look)
            ax.fill_between(rates, np.maximum(mean - half, 1e-3), mean + half, color=look["color"], alpha=0.15)
        for loss in (IGNORES_THE_TASK, PREDICTS_ZERO):
            ax.axhline(loss, color="0.6", linewidth=1, linestyle="--")
        ax.set(title=words, xscale="log", yscale="log", ylim=(0.1, 20), xlabel="inner rate α")
        ax.grid(alpha=0.3)
    for loss, what in ((IGNORES_THE_TASK, "ignores the task"), (PREDICTS_ZERO, "predicts zero")):
        axes[0].annotate(what, (3e-2, loss), (0, 2), textcoords="offset points", fontsize=7, color="0.4", ha="right")
    axes[0].set_ylabel("loss after one inner step\nmean ± 95 % over seeds")
    axes[0].legend(fontsize=8)
    return save(canvas, path)
