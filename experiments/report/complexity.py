"""The paper's claim that more units move for more complex tasks."""

from pathlib import Path

import numpy as np

from experiments.report.drawing import figure, save
from experiments.report.tables import Parts, head, number, row, seeds
from experiments.resumable import Part, command
from experiments.scores import interval95

ORDER = [*(f"polynomial-{order}" for order in range(10)), "sine-amplitude", "sine-phase", "sine-both", "sine-all"]


def complexity(parts: Parts, figures: Path) -> list[str]:
    """The section on complexity of tasks and units that move."""
    order = [name for name in ORDER if name in parts] + sorted(set(parts) - set(ORDER))
    settings = parts[order[0]]["settings"]
    layers = list(parts[order[0]]["moving"][0])
    lines = [
        f"`{command('complexity')}`: MT-net, α = {settings['inner_lr']} (0.001 in the paper's script), "
        f"{settings['seeds']} seeds, {settings['meta_steps']} meta-steps, the learner that did best on validation "
        "tasks. Share of units that a task moves, and effective rank of its update, by layer; ± is the 95 % interval "
        "over seeds. Of some seeds the hidden layers died early in training: their updates are exactly zero, and their "
        "masks, which get no gradient, say nothing. The numbers are of those that live.",
        "",
        *head(
            "tasks",
            "seeds that live",
            *(f"moving, {name}" for name in layers),
            *(f"rank, {name}" for name in layers),
            "loss after 1 step",
            "seconds",
        ),
    ]
    for name in order:
        part, alive = parts[name], living(parts[name])
        shares, ranks = (
            [seeds([part[what][i][layer] for i in alive], digits) if alive else "–" for layer in layers]
            for what, digits in (("moving", 2), ("ranks", 1))
        )
        loss = number(float(np.mean([part["scores"]["seeds"][1][i] for i in alive]))) if alive else "–"
        count = f"{len(alive)} of {len(part['ranks'])}"
        lines.append(row(name.replace("-", " "), count, *shares, *ranks, loss, f"{part['seconds']:.0f}"))
    return [*lines, "", _draw(parts, order, layers, figures / "complexity.png")]


def living(part: Part) -> list[int]:
    """The seeds with a layer before the last that still moves."""
    return [i for i, ranks in enumerate(part["ranks"]) if any(rank > 0 for rank in list(ranks.values())[:-1])]


def _draw(parts: Parts, order: list[str], layers: list[str], path: Path) -> str:
    """A row of panels for polynomials and one for the others, a panel for each layer."""
    polynomials = [name for name in order if name.startswith("polynomial")]
    kinds = [kind for kind in (polynomials, [name for name in order if name not in polynomials]) if kind]
    canvas, axes = figure(len(layers), width=11, height=3 * len(kinds) + 0.4, rows=len(kinds))
    from matplotlib import colormaps

    for line, kind in zip(axes.reshape(len(kinds), -1), kinds, strict=True):
        for ax, layer in zip(line, layers, strict=True):
            for name in kind:
                alive, history = living(parts[name]), parts[name]["history"]
                colour = colormaps["viridis"](0.9 * kind.index(name) / max(1, len(kind) - 1))
                if not alive:
                    ax.plot([], [], color=colour, label=f"{name.replace('-', ' ')}: none lives")
                    continue
                steps = [entry["step"] for entry in history]
                shares = np.array([[entry["moving"][i][layer] for i in alive] for entry in history])  # [times, seeds]
                half = np.nan_to_num(interval95(shares.T))
                ax.plot(steps, shares.mean(1), color=colour, label=name.replace("-", " "))
                ax.fill_between(steps, shares.mean(1) - half, shares.mean(1) + half, color=colour, alpha=0.12)
            ax.set(ylim=(-0.03, 1.03))
            ax.grid(alpha=0.3)
        line[0].set_ylabel("share of units that move")
        line[0].legend(fontsize=7)
    for ax, layer in zip(np.atleast_2d(axes)[0], layers, strict=True):
        ax.set_title(layer)
    for ax in np.atleast_2d(axes)[-1]:
        ax.set_xlabel("meta-steps")
    return save(canvas, path)
