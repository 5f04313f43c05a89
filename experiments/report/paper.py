"""The page on the paper's experiments, results.md."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from experiments.report.complexity import complexity
from experiments.report.images import CIFAR_FS, MINIIMAGENET, OMNIGLOT, images
from experiments.report.robustness import robustness
from experiments.report.sine import sine, variants
from experiments.report.tables import Parts, notes
from experiments.report.updrs import updrs
from experiments.resumable import command, read_parts


class Section(NamedTuple):
    """A section of the page.

    Attributes:
      title: its heading.
      write: returns its lines, given the parts of an experiment and the folder for figures.
    """

    title: str
    write: Callable[[Parts, Path], list[str]]


SECTIONS = {
    "sine": Section("Sine (table 1)", sine),
    "sine-variants": Section("What moves the MT-net's numbers on sine", variants),
    "robustness": Section("Sensitivity to the inner rate", robustness),
    "complexity": Section("Complexity of tasks and units that move", complexity),
    "omniglot": Section("Omniglot (table 2)", images("omniglot", OMNIGLOT, 40_000)),
    "miniimagenet": Section("miniImageNet (table 3)", images("miniimagenet", MINIIMAGENET, 60_000)),
    "cifar-fs": Section("CIFAR-FS (not in the paper)", images("cifar-fs", CIFAR_FS, 60_000)),
    "fc100": Section("FC100 (not in the paper)", images("fc100", {}, 60_000)),
    "updrs": Section("Parkinson's telemonitoring (not in the paper)", updrs),
}
HEAD = f"""
# The paper's experiments, reproduced

Written by `{command("report")}` from the JSONs in `results/reproduce`, which hold every number with its
settings, seeds and machine, and from the `notes.md` beside them. ± tasks is the 95 % interval over test tasks, each
averaged over seeds; ± seeds that over seeds (Student's t). Published numbers are as printed in a publication; – where
we found none in print.

Parts whose `machine` names no version of mtnets were made by version 0.1, which drew the starting weights and the tasks
of the first meta-step from the same key: the same seeds give other numbers since.
"""


def page(results: Path, figures: Path) -> str | None:
    """The page, or None if there are no results."""
    experiments = {name: read_parts(results / name) for name in SECTIONS}
    if not any(experiments.values()):
        return None
    lines = [HEAD.strip()]
    for name, parts in experiments.items():
        section = SECTIONS[name]
        lines += ["", f"## {section.title}", ""]
        lines += section.write(parts, figures) if parts else [f"Not run: `{command(name)}`."]
        lines += notes(results / name)
    return "\n".join(lines) + "\n"
