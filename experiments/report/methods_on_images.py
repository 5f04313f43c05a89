"""The page on every method on images, methods-on-images.md."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from experiments.methods_on_images import BASELINE, DATA, SEARCH, VARIANTS, MethodsOnImages
from experiments.report.tables import Parts, head, notes, row
from experiments.resumable import Part, command, read_parts
from experiments.scores import interval95

HEAD = """
# Every method on images

Accuracy in % on test classes, 1 shot, after as many inner steps as in training: a mean over seeds, ± the 95 % interval
over them (Student's t). Network (conv-4), tasks and recipe are the same for all; α is the one of those tried that did
best on validation classes after a short training. *Equal meta-steps* and *equal seconds* (as many meta-steps as take
the time that MAML takes for its own, by the seconds per meta-step of that search) are separate trainings. Seconds per
meta-step are those of the machine that the JSONs name.
"""
TITLES = {
    "omniglot-20way": "Omniglot, 20 ways",
    "omniglot-5way": "Omniglot, 5 ways",
    "cifar-fs-5way": "CIFAR-FS, 5 ways",
}
COMPARED = {"steps": "equal meta-steps", "seconds": "equal seconds"}


def page(results: Path) -> str | None:
    """The page, or None if there are no results."""
    lines = []
    for data in DATA:
        for kind, compared in COMPARED.items():
            parts = read_parts(results / data / kind)
            if parts:
                lines += ["", f"## {TITLES[data]}: {compared}", "", _budget(kind, parts), "", *_table(data, parts)]
                missing = sorted(set(VARIANTS) - {_variant(name) for name in parts})
                lines += ["", f"Not run yet: {', '.join(missing)}."] if missing else []
    if not lines:
        return None
    about = f"`{command(MethodsOnImages.name)}`; numbers are in `results/methods-on-images`, searches in `{SEARCH}`."
    return "\n".join([HEAD.strip(), *notes(results), "", about, *lines]) + "\n"


def _budget(kind: str, parts: Parts) -> str:
    """For how long the trainings were, which need not be until nothing more is learned."""
    settings = next(iter(parts.values()))["settings"]
    steps, search = f"{settings['meta_steps']:,}", f"{settings['search_steps']:,}"
    length = f"{steps} meta-steps" if kind == "steps" else f"the seconds of {steps} meta-steps of {BASELINE}"
    return f"After {length}, with the α of a search of {search} meta-steps; scores are of that length, not of the end."


def _table(data: str, parts: Parts) -> list[str]:
    """One row per variant, the best one first."""
    groups: dict[str, list[Part]] = {}
    for name, part in parts.items():
        groups.setdefault(_variant(name), []).append(part)
    lines = head("method", "accuracy", "seeds", "α", "meta-steps", "seconds per meta-step")
    for name, group in sorted(groups.items(), key=lambda item: -np.mean(_scores(item[1]))):
        scores, seconds = _scores(group), [part["seconds_per_meta_step"] for part in group]
        half = float(interval95(np.array(scores)))
        edge = "*" * (group[0]["inner_lr"] in (min(DATA[data].rates), max(DATA[data].rates)))
        lines.append(
            row(
                name,
                f"{fmean(scores):.1f}" + (f" ± {half:.1f}" if np.isfinite(half) else ""),
                len(scores),
                f"{group[0]['inner_lr']:g}{edge}",
                f"{group[0]['meta_steps']:,}",
                f"{fmean(seconds):.3f}" if all(seconds) else "–",
            )
        )
    return [*lines, "", "α with * is at the edge of those that were tried, so that a better one may lie beyond."]


def _scores(group: Sequence[Part]) -> list[float]:
    """Accuracy in % of each seed; a mean that is not finite counts as none right."""
    steps = [part["test"]["inner_steps"][part["inner_steps"]]["mean"] for part in group]
    return [0.0 if mean is None else 100 * mean for mean in steps]


def _variant(name: str) -> str:
    return name.rpartition("-seed")[0]
