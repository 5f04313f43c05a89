"""Table 1 of the paper: sine regression, and what moves the MT-net's numbers there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtnets.reproduce.report.drawing import COLOURS, MARKERS, figure, numbers, save
from mtnets.reproduce.report.tables import NAMES, Published, head, number, place, reached, row, verdict

SHOTS = (5, 10, 20)
PUBLISHED = {
    "maml": (Published(1.13), Published(0.77), Published(0.48)),
    "meta_sgd": (Published(0.90), Published(0.53), Published(0.31)),
    "mt_net": (Published(0.76, 0.09), Published(0.49, 0.05), Published(0.33, 0.04)),
}
SHOWN_STEPS = (0, 1, 2, 5, 10)
Parts = Mapping[str, Mapping[str, Any]]


def best_rate(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inner rate with the least loss on validation tasks (10 shots, one inner step), averaged over seeds."""
    losses = [np.nan_to_num(numbers(rate["validation"]), nan=np.inf).mean() for rate in part["rates"]]
    return part["rates"][int(np.argmin(losses))]


def sine(parts: Parts, figures: Path) -> list[str]:
    """The section on sine."""
    order = sorted(parts, key=place)
    settings = parts[order[0]]["settings"]
    lines = [
        f"`{parts[order[0]]['command']}`: {settings['seeds']} seeds, {settings['tasks']} test tasks, "
        f"{settings['meta_steps']} meta-steps, of which the learner that did best on validation tasks is kept; the "
        "loss after one inner step, as in training, at the α that did best on validation tasks. Intervals are those at "
        "10 shots. The verdict asks whether each number is at most the published one, or their intervals (ours over "
        "seeds) overlap.",
        "",
        *head(
            *("method", "α", "5 shots", "10 shots", "20 shots", "± tasks (10)", "± seeds (10)"),
            *("published", "verdict", "seconds"),
        ),
    ]
    for name in order:
        best = best_rate(parts[name])
        ours = [(best[f"{shots} shots"]["mean"][1], best[f"{shots} shots"]["seeds95"][1]) for shots in SHOTS]
        published = PUBLISHED.get(name)
        printed, held = "–", "–"
        if published:
            printed = " / ".join(f"{p.value:.2f}" + (f" ± {p.half:.2f}" if p.half else "") for p in published)
            pairs = zip(ours, published, strict=True)
            held = verdict([reached(mean, half, p, larger_is_better=False) for (mean, half), p in pairs])
        ten = best["10 shots"]
        lines.append(
            row(
                NAMES.get(name, name),
                best["inner_lr"],
                *(number(mean) for mean, _ in ours),
                number(ten["tasks95"][1]),
                number(ten["seeds95"][1]),
                printed,
                held,
                f"{parts[name]['seconds']:.0f}",
            )
        )
    lines += [
        "",
        "Every α and number of inner steps, 10 shots: mean loss, and the share of tasks that diverged if any did; the "
        "share of units that a task moves, by layer.",
        "",
        *head("method", "α", *(f"{step} steps" for step in SHOWN_STEPS), "moving"),
    ]
    for name in order:
        for rate in parts[name]["rates"]:
            ten, moving = rate["10 shots"], rate["moving"]
            cells = [
                number(ten["mean"][s]) + (f" ({ten['diverged'][s]:.2%})" if ten["diverged"][s] else "")
                for s in SHOWN_STEPS
            ]
            shares = [np.mean([m[layer] for m in moving]) for layer in moving[0]] if moving[0] else []
            lines.append(
                row(NAMES.get(name, name), rate["inner_lr"], *cells, " / ".join(f"{s:.2f}" for s in shares) or "–")
            )
    return [*lines, "", _draw(parts, order, figures / "sine.png")]


def _draw(parts: Parts, order: list[str], path: Path) -> str:
    made, axes = figure(3, width=11)
    for ax, shots in zip(axes, SHOTS, strict=True):
        for name in order:
            found = best_rate(parts[name])[f"{shots} shots"]
            mean, half = numbers(found["mean"]), numbers(found["seeds95"])
            steps, half = np.arange(len(mean)), np.where(mean < 6, half, np.nan)  # beyond the picture there is no band
            label = f"{NAMES.get(name, name)}, {best_rate(parts[name])['inner_lr']:g}"
            ax.plot(
                steps,
                mean,
                "-",
                marker=MARKERS.get(name, "x"),
                markersize=4,
                color=COLOURS.get(name, "black"),
                label=label,
            )
            low, high = np.maximum(mean - half, 0.01), np.minimum(mean + half, 10)
            ax.fill_between(steps, low, high, color=COLOURS.get(name, "black"), alpha=0.15)
            median = {
                "marker": MARKERS.get(name, "x"),
                "markersize": 4,
                "mfc": "white",
                "color": COLOURS.get(name, "black"),
            }
            ax.plot(steps, numbers(found["median"]), ":", linewidth=1, **median)
        ax.set(title=f"{shots} shots", xlabel="inner steps", yscale="log", ylim=(0.01, 6))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("squared error: mean ± 95 % over seeds\ndotted, hollow: median over tasks")
    axes[0].legend(fontsize=7, loc="lower left", ncols=2, title="method, α", title_fontsize=7)
    axes[1].text(
        0.98,
        0.98,
        "lines that leave: some tasks diverged",
        transform=axes[1].transAxes,
        ha="right",
        va="top",
        fontsize=7,
    )
    return save(made, path)


def variants(parts: Parts, figures: Path) -> list[str]:
    """The section on what moves the MT-net's numbers on sine."""
    order = [name for name in WORDS if name in parts]
    settings = parts[order[0]]["settings"]
    lines = [
        f"`{parts[order[0]]['command']}`: α = {settings['inner_lr']}, {settings['seeds']} seeds, {settings['tasks']} "
        "test tasks; loss after one inner step ± 95 % over seeds, of the learner that did best on validation tasks. "
        "Nothing changed is the row of α = 0.04 above with fewer trainings side by side: their rounding differs, and "
        "they part. Published: "
        + " / ".join(f"{p.value:.2f} ± {p.half:.2f}" for p in PUBLISHED["mt_net"])
        + ". Masks at test are sampled in the paper.",
        "",
        *head("what is changed", "masks at test", "5 shots", "10 shots", "20 shots", "5 shots, 2 steps", "seconds"),
    ]
    for name in order:
        scores = parts[name]["scores"]
        for mask in ("sample", "mean", "threshold"):
            found = [scores[f"{mask}, {shots} shots"] for shots in SHOTS]
            cells = [f"{number(s['mean'][1])} ± {number(s['seeds95'][1])}" for s in found]
            lines.append(row(WORDS[name], mask, *cells, number(found[0]["mean"][2]), f"{parts[name]['seconds']:.0f}"))
    return lines


WORDS = {
    "paper": "nothing",
    "5-shots": "trained at 5 shots",
    "20-shots": "trained at 20 shots",
    "twice-as-long": "120 000 meta-steps",
    "init-0.1": "starting weights ten times larger",
}
