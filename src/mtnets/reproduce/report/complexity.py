"""The paper's claim that more units move for more complex tasks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtnets.reproduce.report.drawing import figure, save
from mtnets.reproduce.report.tables import head, number, row, seeds
from mtnets.reproduce.summary import interval95

ORDER = [*(f"polynomial-{order}" for order in range(10)), "sine-amplitude", "sine-phase", "sine-both", "sine-all"]
Parts = Mapping[str, Mapping[str, Any]]


def complexity(parts: Parts, figures: Path) -> list[str]:
    """The section on complexity of tasks and units that move."""
    order = [name for name in ORDER if name in parts] + sorted(set(parts) - set(ORDER))
    settings, command = parts[order[0]]["settings"], parts[order[0]]["command"]
    layers = list(parts[order[0]]["moving"][0])
    lines = [
        f"`{command}`: MT-net, α = {settings['inner_lr']}, {settings['seeds']} seeds, {settings['meta_steps']} "
        "meta-steps. Share of units that a task moves, and effective rank of its update, by layer; ± is the 95 % "
        "interval over seeds.",
        "",
        *head(
            "tasks",
            *(f"moving, {name}" for name in layers),
            *(f"rank, {name}" for name in layers),
            "loss after 1 step",
            "seconds",
        ),
    ]
    for name in order:
        part = parts[name]
        shares = [seeds([seed[layer] for seed in part["moving"]]) for layer in layers]
        ranks = [seeds([seed[layer] for seed in part["ranks"]], 1) for layer in layers]
        loss = number(part["scores"]["mean"][1])
        lines.append(row(name.replace("-", " "), *shares, *ranks, loss, f"{part['seconds']:.0f}"))
    return [*lines, "", _draw(parts, order, layers, figures / "complexity.png")]


def _draw(parts: Parts, order: list[str], layers: list[str], path: Path) -> str:
    made, axes = figure(len(layers), width=11)
    from matplotlib import colormaps

    polynomials = [name for name in order if name.startswith("polynomial")]
    for ax, layer in zip(axes, layers, strict=True):
        for name in order:
            kin = polynomials if name in polynomials else [other for other in order if other not in polynomials]
            shade = 0.4 + 0.6 * kin.index(name) / max(1, len(kin) - 1)
            colour = colormaps["Blues" if name in polynomials else "Oranges"](shade)
            history = parts[name]["history"]
            steps = [entry["step"] for entry in history]
            shares = np.array([[seed[layer] for seed in entry["moving"]] for entry in history])  # [times, seeds]
            half = np.nan_to_num(interval95(shares.T))
            style = "-" if name in polynomials else "--"
            ax.plot(steps, shares.mean(1), style, color=colour, label=name.replace("-", " "))
            ax.fill_between(steps, shares.mean(1) - half, shares.mean(1) + half, color=colour, alpha=0.12)
        ax.set(title=layer, xlabel="meta-steps", ylim=(0, 1))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("share of units that a task moves")
    axes[-1].legend(fontsize=7)
    return save(made, path)
