"""Parkinson's telemonitoring: does meta-learning pay?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtnets.reproduce.report.drawing import COLOURS, figure, save
from mtnets.reproduce.report.tables import NAMES, head, row

Parts = Mapping[str, Mapping[str, Any]]
GREY = "0.45"


def updrs(parts: Parts, figures: Path) -> list[str]:
    """The section on Parkinson's telemonitoring."""
    order = sorted(parts, key=lambda name: (parts[name]["support"] != "random", parts[name]["shots"]))
    first = parts[order[0]]
    folds, target = first["settings"]["folds"], first["settings"]["target"]
    lines = [
        f"`{first['command']}`: mean absolute error of {target} in points on {first['num_patients']} new patients "
        f"({folds} folds: each patient is test once), ± 95 % over patients; `random`: the known recordings are drawn "
        f"at random, {first['draws']} times each; `earliest`: they are the first in time, and all later ones are "
        "predicted. The second table is the same less the error of the patient's own mean, paired by patient: below "
        "zero is better.",
        "",
    ]
    errors = {name: found["mae"]["mean"] for name, found in first["predictors"].items()}
    names = sorted(errors, key=lambda name: (name.removesuffix("_offset") in NAMES, errors[name]))
    titles = [f"{parts[name]['shots']} {parts[name]['support']}" for name in order]
    for pick in (lambda found: found["mae"], lambda found: found["above_own_mean"]["mae"]):
        lines += head("predictor", *titles)
        for name in names:
            cells = [pick(parts[part]["predictors"][name]) for part in order]
            lines.append(row(_word(name), *(f"{cell['mean']:.2f} ± {cell['ci95']:.2f}" for cell in cells)))
        lines.append("")
    seconds = " / ".join(f"{parts[name]['seconds']:.0f}" for name in order)
    return [
        *lines,
        f"Seconds for each column: {seconds}.",
        "",
        _draw(parts, order, titles, names, figures / "updrs.png"),
    ]


def _word(name: str) -> str:
    plain = name.removesuffix("_offset")
    return NAMES.get(plain, plain.replace("_", " ")) + " + offset" * (name != plain)


def _draw(parts: Parts, order: list[str], titles: list[str], names: list[str], path: Path) -> str:
    made, axes = figure(len(order), width=3.2 * len(order) + 1, height=0.3 * len(names) + 1.2)
    places = np.arange(len(names))[::-1]
    for ax, part, title in zip(axes, order, titles, strict=True):
        for place, name in zip(places, names, strict=True):
            error = parts[part]["predictors"][name]["mae"]
            colour, inside = COLOURS.get(name.removesuffix("_offset"), GREY), "white" if "_offset" in name else None
            ax.errorbar(
                error["mean"], place, xerr=error["ci95"], fmt="o", color=colour, mfc=inside, markersize=4, capsize=2
            )
        own = parts[part]["predictors"]["own_mean"]["mae"]["mean"]
        ax.axvline(own, color=GREY, linewidth=1, linestyle="--")
        ax.set(title=title, xlabel="mean absolute error, points", xlim=(0, None))
        ax.set_yticks(places, [_word(name) for name in names])
        ax.grid(alpha=0.3, axis="x")
    return save(made, path)
