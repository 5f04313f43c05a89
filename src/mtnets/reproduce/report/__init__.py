"""`mtnets reproduce report`: tables and figures, from the JSONs of the experiments alone.

What explains a number is written by people, in a `notes.md` beside the JSONs of an experiment, and put below its table.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mtnets.errors import RunError
from mtnets.files import replacing
from mtnets.reproduce.parts import read_part
from mtnets.reproduce.report.complexity import complexity
from mtnets.reproduce.report.images import CIFAR_FS, MINIIMAGENET, OMNIGLOT, images
from mtnets.reproduce.report.robustness import robustness
from mtnets.reproduce.report.sine import sine, variants
from mtnets.reproduce.report.updrs import updrs


class Section(NamedTuple):
    """A section of the report.

    Attributes:
      title: its heading.
      write: its lines, from the parts of an experiment and the folder for figures.
    """

    title: str
    write: Callable[[Mapping[str, Mapping[str, Any]], Path], list[str]]


SECTIONS = {
    "sine": Section("Sine (table 1)", sine),
    "sine-variants": Section("What moves the MT-net's numbers on sine", variants),
    "robustness": Section("Sensitivity to the inner rate", robustness),
    "complexity": Section("Complexity of tasks and units that move", complexity),
    "omniglot": Section("Omniglot (table 2)", images(OMNIGLOT, 40_000)),
    "miniimagenet": Section("miniImageNet (table 3)", images(MINIIMAGENET, 60_000)),
    "cifar-fs": Section("CIFAR-FS (not in the paper)", images(CIFAR_FS, 60_000)),
    "updrs": Section("Parkinson's telemonitoring (not in the paper)", updrs),
}
HEAD = """
# The paper's experiments, reproduced

Written by `mtnets reproduce report` from the JSONs in `results/reproduce`, which hold every number with its settings,
seeds and machine, and from the `notes.md` beside them. ± tasks is the 95 % interval over test tasks, each averaged
over seeds; ± seeds that over seeds (Student's t). Published numbers are as printed in a publication; – where we found
none in print.
"""


@dataclasses.dataclass(frozen=True)
class Report:
    """Draws tables and figures of all experiments that there are results of.

    Attributes:
      results: folder with a folder of JSONs per experiment.
      out: folder for results.md and its figures.
    """

    results: str = "results/reproduce"
    out: str = "docs"

    def __call__(self) -> None:
        """Runs the command."""
        found = {name: read_parts(Path(self.results) / name) for name in SECTIONS}
        if not any(found.values()):
            raise RunError(f"There are no results in {self.results}; run an experiment first: mtnets reproduce sine.")
        out, lines = Path(self.out), [HEAD.strip()]
        for name, parts in found.items():
            lines += ["", f"## {SECTIONS[name].title}", ""]
            lines += SECTIONS[name].write(parts, out / "figures") if parts else [f"Not run: `mtnets reproduce {name}`."]
            notes = Path(self.results) / name / "notes.md"
            lines += ["", notes.read_text("utf-8").strip()] if notes.exists() else []
        with replacing(out / "results.md") as file:
            file.write(("\n".join(lines) + "\n").encode())
        print(f"Written: {out / 'results.md'}, with figures in {out / 'figures'}")


def read_parts(folder: Path) -> dict[str, dict[str, Any]]:
    """The parts of an experiment by name."""
    return {path.stem: read_part(path) for path in sorted(folder.glob("*.json"))}
