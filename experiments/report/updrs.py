"""Parkinson's telemonitoring: does meta-learning pay?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.report.drawing import COLOURS, figure, save
from experiments.report.tables import NAMES, Parts, head, row
from experiments.resumable import command

GREY = "0.45"
BEYOND = 2.8  # points: the figure ends there


def updrs(parts: Parts, figures: Path) -> list[str]:
    """The section on Parkinson's telemonitoring."""
    order = sorted(parts, key=lambda name: (parts[name]["support"] != "random", parts[name]["shots"]))
    first = parts[order[0]]
    folds, target = first["settings"]["folds"], first["settings"]["target"]
    lines = [
        f"`{command('updrs')}`: mean absolute error of {target} in points on {first['num_patients']} new patients "
        f"({folds} folds: each patient is test once), ± 95 % over patients; `random`: the known recordings are drawn "
        f"at random, {first['draws']} times each; `earliest`: they are the first in time, and all later ones are "
        "predicted. The second table is the same less the error of the patient's own mean, paired by patient: below "
        "zero is better.",
        "",
    ]
    errors = {name: predictor["mae"]["mean"] for name, predictor in first["predictors"].items()}
    names = sorted(errors, key=lambda name: (name.removesuffix("_offset") in NAMES, errors[name]))
    titles = [f"{parts[name]['shots']} {parts[name]['support']}" for name in order]
    for pick in (lambda predictor: predictor["mae"], lambda predictor: predictor["above_own_mean"]["mae"]):
        lines += head("predictor", *titles)
        for name in names:
            cells = [pick(parts[part]["predictors"][name]) for part in order]
            lines.append(
                row(_word(name, first["methods"]), *(f"{cell['mean']:.2f} ± {cell['ci95']:.2f}" for cell in cells))
            )
        lines.append("")
    seconds = " / ".join(f"{parts[name]['seconds']:.0f}" for name in order)
    return [
        *lines,
        f"Seconds for each column: {seconds}.",
        "",
        _draw(parts, order, titles, [name for name in names if name != "own_mean"], figures / "updrs.png"),
    ]


def _word(name: str, methods: Mapping[str, Any]) -> str:
    """The name of a predictor, with those options of its method that change it most."""
    plain = name.removesuffix("_offset")
    options = methods.get(plain, {})
    told = ["two-sided"] * (options.get("sides") == 2) + ["learned rates"] * (options.get("rates", "fixed") != "fixed")
    word = NAMES.get(plain, plain.replace("_", " ")) + f" ({', '.join(told)})" * bool(told)
    return word + " + offset" * (name != plain)


def _draw(parts: Parts, order: list[str], titles: list[str], names: list[str], path: Path) -> str:
    """The second table: paired differences on one scale; those beyond it as numbers."""
    canvas, axes = figure(len(order), width=3.0 * len(order) + 2, height=0.3 * len(names) + 1.2)
    places = np.arange(len(names))[::-1]
    for ax, part, title in zip(axes, order, titles, strict=True):
        for place, name in zip(places, names, strict=True):
            above = parts[part]["predictors"][name]["above_own_mean"]["mae"]
            colour, inside = COLOURS.get(name.removesuffix("_offset"), GREY), "white" if "_offset" in name else None
            if above["mean"] > BEYOND:
                ax.text(BEYOND, place, f"{above['mean']:+.1f} →", ha="right", va="center", fontsize=7, color=colour)
                continue
            bar = {"fmt": "o", "color": colour, "mfc": inside, "markersize": 4, "capsize": 2}
            ax.errorbar(above["mean"], place, xerr=above["ci95"], **bar)
        ax.axvline(0, color=GREY, linewidth=1, linestyle="--")
        ax.set(title=title, xlabel="points above own mean", xlim=(-BEYOND, BEYOND))
        ax.set_yticks(places, [_word(name, parts[part]["methods"]) for name in names], fontsize=8)
        ax.grid(alpha=0.3, axis="x")
    return save(canvas, path)
