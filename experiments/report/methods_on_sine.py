"""The page on every method on sine, methods-on-sine.md."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.methods_on_sine import BEYOND, PROTOCOLS, RATES, SEARCH, STEPS, VARIANTS, WIDER, best_of
from experiments.report.drawing import figure, save
from experiments.report.sine_stability import section as stability
from experiments.report.tables import Parts, head, notes, row
from experiments.resumable import Part, command, read_parts
from experiments.scores import interval95
from experiments.sine import SHOTS

PUBLISHED = {
    "GAP": (0.16, 0.04, 0.01),
    "MT-net": (0.76, 0.49, 0.33),
    "Meta-SGD": (0.90, 0.53, 0.31),
    "MAML": (1.13, 0.77, 0.48),
}
SEEDS = 5  # of the page, where it does not say another number
COLOURS = {5: "#D55E00", 10: "#0072B2", 20: "#009E73"}
MARKERS = {5: "s", 10: "o", 20: "d"}
HEAD = """
# Every method on sine

Mean squared error on 2 000 test tasks (the same for all methods), mean of five seeds; ± is the 95 % interval over
tasks, each averaged over seeds, and ± seeds that over the five seeds (Student's t), at 10 shots. Trained at 10 shots
(unless it says 20), tested at 5, 10 and 20. `y = A sin(ωx − φ)` with amplitude, phase *and* frequency drawn; an MLP
1-40-40-1; 30 000 meta-steps of 4 tasks (60 000 where it says longer). Numbers are all that is meta-learned, the
network's own weights included. Seconds are for five seeds side by side in one program, on one core of a machine that
was doing other things: for orientation only. A task has diverged if its loss is not finite or ten times what it was
before adaptation.

*Best after* is the number of inner steps, of 1, 5 and 10, with the least mean loss at 10 shots on the test tasks
themselves; the scores after all three stand below.

The *recipe*: a multi-step loss over the first third of the training, a cosine meta-rate, the gradient of a task
clipped to norm 10, and the inner steps (1 or 5) and α of each method that did best on validation tasks in a short
search (below).
"""


def page(results: Path, figures: Path) -> str | None:
    """The page, or None if there are no results."""
    trained = {protocol: _ordered(read_parts(results / protocol)) for protocol in PROTOCOLS}
    searches, wider = (_ordered(read_parts(results / kind)) for kind in (SEARCH, WIDER))
    if not trained["recipe"]:
        return None
    protocols = "`--protocols longer`, `--protocols 20-shots` and `--protocols clipped"
    lines = [HEAD.strip(), *notes(results), ""]
    lines += [
        f"`{command('methods-on-sine')}`, with {protocols}",
        "--seeds 10`; numbers are in `results/methods-on-sine`.",
        "",
    ]
    lines += [draw(trained["recipe"], figures / "methods-on-sine.png")]
    for protocol, (title, *_) in PROTOCOLS.items():
        if trained[protocol]:
            table = _table(trained[protocol], _all_tried(searches, wider), published=protocol == "recipe")
            lines += ["", f"## {title}", *_seeds(trained[protocol]), "", *table]
            lines += ["", f"After each number of inner steps, {title[0].lower() + title[1:]}:"]
            lines += _by_steps(trained[protocol])
    lines += stability(results.parent / "sine-stability")
    return "\n".join([*lines, *_search(searches, wider)]) + "\n"


def _ordered(parts: Parts) -> list[Part]:
    """Parts in the order in which they are trained."""
    return [parts[name] for name in VARIANTS if name in parts]


def _seeds(parts: Sequence[Part]) -> list[str]:
    """How many seeds there are, below an empty line, where it is another number than that of the page."""
    counts = sorted({len(_score(part, 10, STEPS[-1])["seeds"]) for part in parts} - {SEEDS})
    return ["", f"Mean of {' or '.join(map(str, counts))} seeds."] if counts else []


def _all_tried(searches: Sequence[Part], wider: Sequence[Part]) -> dict[str, list[dict[str, Any]]]:
    """The settings that were tried, by the titles of methods."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for part in (*searches, *wider):
        rows.setdefault(part["title"], []).extend(part["tried"])
    return rows


def _table(parts: Sequence[Part], tried: Mapping[str, Sequence[dict[str, Any]]], *, published: bool) -> list[str]:
    """One row per method, at the number of inner steps that is best for it at 10 shots."""
    heads = ("method", "inner steps, α", "numbers", "5 shots", "10 shots", "20 shots", "± seeds", "best after")
    lines = head(*heads, "diverged", "seconds")
    for part in sorted(parts, key=lambda part: best(part, 10)[0]):
        setting, step = part["setting"], best(part, 10)[1]
        scores = [_score(part, shots, step) for shots in SHOTS]
        lines.append(
            row(
                part["title"],
                f"{setting['inner_steps']}, {setting['inner_lr']:g}",
                f"{part['meta_parameters']:,}",
                *map(cell, scores),
                _over_seeds(_score(part, 10, step)),
                step,
                f"{max(score['diverged'] for score in scores):.2%}",
                f"{part['seconds']:.0f}",
            )
        )
    if published:
        for name, losses in PUBLISHED.items():
            cells = " | ".join(f"{loss:.2f}" for loss in losses)
            lines.append(f"| *{name}, published* | | | {cells} | | | | |")
    edge = _named(part for part in parts if _at_edge(part, tried.get(part["title"], [])))
    if edge:
        lines += [
            "",
            f"Their α is at the edge of those that were searched, so that a better one may lie beyond: {edge}.",
        ]
    behind = _named(part for part in parts if not _at_best(part, tried.get(part["title"], [])))
    if behind:
        lines += ["", f"A wider search has found a better α since, with which they are not trained yet: {behind}."]
    return lines


def _named(parts: Iterable[Part]) -> str:
    """Their titles and rates."""
    return ", ".join(f"{part['title']} ({part['setting']['inner_lr']:g})" for part in parts)


def _at_edge(part: Part, tried: Sequence[dict[str, Any]]) -> bool:
    """Whether α is the least or the largest of those that were searched."""
    rates = [*RATES, *(row["inner_lr"] for row in tried)]
    return part["setting"]["inner_lr"] in (min(rates), max(rates))


def _at_best(part: Part, tried: Sequence[dict[str, Any]]) -> bool:
    """Whether α is that which did best in the searches."""
    return not tried or part["setting"]["inner_lr"] == best_of(tried)["inner_lr"]


def _over_seeds(score: dict[str, Any]) -> str:
    """The interval over seeds; – where a seed has no finite mean, or there is one seed alone."""
    seeds = score["seeds"]
    return "–" if len(seeds) < 2 or None in seeds else f"± {float(interval95(np.array(seeds))):.3f}"


def _by_steps(parts: Sequence[Part]) -> list[str]:
    """A table for each number of shots: losses after each number of inner steps."""
    lines = []
    for shots in SHOTS:
        lines += ["", *head(f"{shots} shots", "1 step", "5 steps", "10 steps", "medians", "diverged")]
        for part in sorted(parts, key=lambda part, shots=shots: best(part, shots)[0]):
            scores = [_score(part, shots, step) for step in STEPS]
            medians = " / ".join("–" if score["median"] is None else f"{score['median']:.3f}" for score in scores)
            diverged = " / ".join(f"{score['diverged']:.2%}" for score in scores)
            lines.append(row(part["title"], *map(cell, scores), medians, diverged))
    return lines


def _search(searches: Sequence[Part], wider: Sequence[Part]) -> list[str]:
    lines = ["", "## The search", ""]
    lines += ["Loss on 1000 validation tasks at 10 shots, the best of 1, 5 and 10 inner steps, after a short"]
    lines += ["training of one seed by the recipe; in bold what was chosen.", ""]
    columns = [(inner_steps, rate) for inner_steps in (1, 5) for rate in RATES]
    heads = [f"{n} step{'s' * (n > 1)}, α {rate:g}" for n, rate in columns]
    lines += head("method", "meta-steps", *heads)
    rows = _all_tried(searches, wider)
    for part in searches:
        cells = [_tried(each, best_of(rows[part["title"]])) for each in part["tried"]]
        lines.append(row(part["title"], f"{part['meta_steps']:,}", *cells))
    if wider:
        rates = sorted(rate for beyond in BEYOND.values() for rate in beyond)
        lines += ["", "Beyond the edge at which the best of these was, with as many inner steps and meta-steps:", ""]
        lines += head("method", *(f"α {rate:g}" for rate in rates))
        for part in wider:
            best_row = best_of(rows[part["title"]])
            cells = {each["inner_lr"]: _tried(each, best_row) for each in part["tried"]}
            lines.append(row(part["title"], *(cells.get(rate, "–") for rate in rates)))
    return lines


def _tried(tried: dict[str, Any], chosen: dict[str, Any]) -> str:
    """The least loss of a setting; in bold if it was chosen."""
    losses = [loss for loss in tried["validation"].values() if loss is not None]
    text = f"{min(losses):.2f}" if losses else "diverged"
    return f"**{text}**" if tried == chosen else text


def _score(part: Part, shots: int, step: int) -> dict[str, Any]:
    return part["scores"][f"{shots} shots, {step} steps"]


def best(part: Part, shots: int) -> tuple[float, int]:
    """The least mean loss, and the number of inner steps that has it."""
    means = {step: _score(part, shots, step)["mean"] for step in STEPS}
    return min((np.inf if mean is None else mean, step) for step, mean in means.items())


def cell(score: dict[str, Any]) -> str:
    """`0.043 ± 0.004`."""
    if score["mean"] is None or score["mean"] > 1000:
        return "not finite" if score["mean"] is None else f"{score['mean']:.1g}"
    return f"{score['mean']:.3f} ± {score['ci95']:.3f}" if score["ci95"] is not None else f"{score['mean']:.3f}"


def draw(parts: Sequence[Part], path: Path) -> str:
    """Loss of every method at each number of shots, each seed a dot, beside GAP as published."""
    parts = sorted(parts, key=lambda part: -best(part, 10)[0])
    canvas, (ax,) = figure(1, width=9, height=0.28 * len(parts) + 1.6)
    for shots, published in zip(SHOTS, PUBLISHED["GAP"], strict=True):
        colour = COLOURS[shots]
        for y, part in enumerate(parts):
            seeds = _score(part, shots, best(part, shots)[1])["seeds"]
            seeds = [loss for loss in seeds if loss is not None and loss < 100]
            ax.plot(seeds, [y] * len(seeds), ".", color=colour, alpha=0.4, markersize=5)
            label = f"{shots} shots" if y == 0 else None
            if seeds:
                ax.plot(np.mean(seeds), y, MARKERS[shots], color=colour, markersize=6, label=label)
        ax.axvline(published, color=colour, linestyle=":", linewidth=1)
    ax.set_yticks(range(len(parts)), [part["title"] for part in parts], fontsize=8)
    ax.set(xscale="log", xlabel="mean squared error on 2000 test tasks, at the best of 1, 5 and 10 inner steps")
    ax.set_title("Sine, by the recipe: mean of 5 seeds, and each; dotted: GAP as published", fontsize=10)
    ax.grid(axis="x", alpha=0.3)
    ax.legend(fontsize=8, loc="upper right")
    return save(canvas, path)
