"""Table 1 of the paper: sine regression, and what moves the MT-net's numbers there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.report.drawing import figure, numbers, save, style
from experiments.report.tables import Parts, Published, head, number, place, reached, row, title, verdict
from experiments.resumable import Part, command
from experiments.sine import SHOTS
from experiments.sine_variants import MASKS

PUBLISHED = {
    "maml": (Published(1.13), Published(0.77), Published(0.48)),
    "meta_sgd": (Published(0.90), Published(0.53), Published(0.31)),
    "mt_net": (Published(0.76, 0.09), Published(0.49, 0.05), Published(0.33, 0.04)),
}
SHOWN_STEPS = (0, 1, 2, 5, 10)


def best_rate(part: Part) -> Mapping[str, Any]:
    """The inner rate with the least loss on validation tasks (10 shots, one inner step), averaged over seeds."""
    losses = [np.nan_to_num(numbers(rate["validation"]), nan=np.inf).mean() for rate in part["rates"]]
    return part["rates"][int(np.argmin(losses))]


def sine(parts: Parts, figures: Path) -> list[str]:
    """The section on sine."""
    order = sorted(parts, key=place)
    settings = parts[order[0]]["settings"]
    lines = [
        f"`{command('sine')}`: {settings['seeds']} seeds, {settings['tasks']} test tasks, "
        f"{settings['meta_steps']} meta-steps, of which the learner that did best on validation tasks is kept; the "
        "loss after one inner step, as in training, at the α that did best on validation tasks. Intervals are those at "
        "10 shots. The verdict asks whether each number is at most the published one, or their intervals (ours over "
        "seeds) overlap.",
        "",
        *head(
            *("method", "α", "5 shots", "10 shots", "20 shots", "± tasks (10)", "± seeds (10)"),
            *("published", "verdict", "seconds"),
        ),
        *(_best_row(name, parts[name]) for name in order),
        "",
        "Every α and number of inner steps, 10 shots: mean loss, and the share of tasks that diverged if any did; the "
        "share of units that a task moves, by layer.",
        "",
        *head("method", "α", *(f"{step} steps" for step in SHOWN_STEPS), "moving"),
        *(_rate_row(name, rate) for name in order for rate in parts[name]["rates"]),
    ]
    return [*lines, "", _draw(parts, order, figures / "sine.png")]


def _best_row(name: str, part: Part) -> str:
    """A method at its best rate, beside what was published."""
    rate, printed, held = best_rate(part), "–", "–"
    scores = [rate[f"{shots} shots"] for shots in SHOTS]
    if published := PUBLISHED.get(name):
        printed = " / ".join(map(str, published))
        pairs = zip(scores, published, strict=True)
        held = verdict([reached(s["mean"][1], s["seeds95"][1], p, larger_is_better=False) for s, p in pairs])
    ten = rate["10 shots"]
    return row(
        title(name),
        rate["inner_lr"],
        *(number(score["mean"][1]) for score in scores),
        number(ten["tasks95"][1]),
        number(ten["seeds95"][1]),
        printed,
        held,
        f"{part['seconds']:.0f}",
    )


def _rate_row(name: str, rate: Mapping[str, Any]) -> str:
    """A method with one inner rate: loss and diverged tasks after each number of inner steps."""
    ten, moving = rate["10 shots"], rate["moving"]
    cells = [
        number(ten["mean"][step]) + (f" ({ten['diverged'][step]:.2%})" if ten["diverged"][step] else "")
        for step in SHOWN_STEPS
    ]
    shares = [f"{np.mean([of_seed[layer] for of_seed in moving]):.2f}" for layer in moving[0]]
    return row(title(name), rate["inner_lr"], *cells, " / ".join(shares) or "–")


def _draw(parts: Parts, order: Sequence[str], path: Path) -> str:
    canvas, axes = figure(3, width=11)
    for ax, shots in zip(axes, SHOTS, strict=True):
        for name in order:
            rate, look = best_rate(parts[name]), style(name)
            scores = rate[f"{shots} shots"]
            mean, half = numbers(scores["mean"]), numbers(scores["seeds95"])
            steps, half = np.arange(len(mean)), np.where(mean < 6, half, np.nan)  # no band beyond the picture
            ax.plot(steps, mean, "-", label=f"{title(name)}, {rate['inner_lr']:g}", **look)
            low, high = np.maximum(mean - half, 0.01), np.minimum(mean + half, 10)
            ax.fill_between(steps, low, high, color=look["color"], alpha=0.15)
            ax.plot(steps, numbers(scores["median"]), ":", linewidth=1, mfc="white", **look)
        ax.set(title=f"{shots} shots", xlabel="inner steps", yscale="log", ylim=(0.01, 6))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("squared error: mean ± 95 % over seeds\ndotted, hollow: median over tasks")
    axes[0].legend(fontsize=7, loc="lower left", ncols=2, title="method, α", title_fontsize=7)
    corner = {"transform": axes[1].transAxes, "ha": "right", "va": "top", "fontsize": 7}
    axes[1].text(0.98, 0.98, "lines that leave: some tasks diverged", **corner)
    return save(canvas, path)


def variants(parts: Parts, figures: Path) -> list[str]:
    """The section on what moves the MT-net's numbers on sine."""
    order = [name for name in WORDS if name in parts]
    settings = parts[order[0]]["settings"]
    lines = [
        f"`{command('sine-variants')}`: α = {settings['inner_lr']}, {settings['seeds']} seeds, {settings['tasks']} "
        "test tasks; loss after one inner step ± 95 % over seeds, of the learner that did best on validation tasks. "
        "Nothing changed is the row of α = 0.04 above with fewer trainings side by side: their rounding differs, and "
        "they part. Published: "
        + " / ".join(map(str, PUBLISHED["mt_net"]))
        + ". Masks at test are sampled in the paper.",
        "",
        *head("what is changed", "masks at test", "5 shots", "10 shots", "20 shots", "5 shots, 2 steps", "seconds"),
    ]
    for name in order:
        scores = parts[name]["scores"]
        for mask in MASKS:
            of_mask = [scores[f"{mask}, {shots} shots"] for shots in SHOTS]
            cells = [f"{number(each['mean'][1])} ± {number(each['seeds95'][1])}" for each in of_mask]
            two_steps, seconds = number(of_mask[0]["mean"][2]), f"{parts[name]['seconds']:.0f}"
            lines.append(row(WORDS[name], mask, *cells, two_steps, seconds))
    return lines


WORDS = {
    "paper": "nothing",
    "5-shots": "trained at 5 shots",
    "20-shots": "trained at 20 shots",
    "twice-as-long": "120 000 meta-steps",
    "init-0.1": "starting weights ten times larger",
}
