"""What every table of the report shares."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.resumable import Part
from experiments.scores import interval95

Parts = Mapping[str, Part]

NAMES = {
    "maml": "MAML",
    "meta_sgd": "Meta-SGD",
    "m_net": "M-net",
    "t_net": "T-net",
    "mt_net": "MT-net",
    "mt_net_full": "MT-net-full",
    "best": "our recipe",
}


def notes(folder: Path) -> list[str]:
    """Lines of the notes of an experiment, below an empty line; none if there are no notes."""
    path = folder / "notes.md"
    return ["", path.read_text("utf-8").strip()] if path.exists() else []


def title(method: str) -> str:
    """The name of a method as papers write it."""
    return NAMES.get(method, method)


def place(method: str) -> tuple[int, str]:
    """A key to sort methods by: in the order of NAMES, all others after them."""
    return list(NAMES).index(method) if method in NAMES else len(NAMES), method


class Published(NamedTuple):
    """A number as printed in a publication.

    Attributes:
      value: the number.
      half: half-width of its 95 % interval; 0 where none was printed.
    """

    value: float
    half: float = 0.0

    def __str__(self) -> str:
        return f"{self.value:.2f}" + (f" ± {self.half:.2f}" if self.half else "")


def row(*cells: object) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*cells: object) -> list[str]:
    """The head of a Markdown table."""
    return [row(*cells), "|---" * len(cells) + "|"]


def number(value: float | None) -> str:
    """A loss."""
    if value is None or not math.isfinite(value):
        return "∞"
    return f"{value:.3f}" if value < 100 else f"{value:.1g}"


def seeds(values: Sequence[float], digits: int = 2) -> str:
    """Mean and 95 % interval over seeds."""
    array = np.asarray(values, np.float64)
    half = float(interval95(array))
    return f"{array.mean():.{digits}f}" + (f" ± {half:.{digits}f}" if math.isfinite(half) else "")


def reached(ours: float | None, half: float | None, published: Published, *, larger_is_better: bool) -> bool:
    """Whether a number is as good as a published one, or their intervals overlap."""
    if ours is None:
        return False
    gap = published.value - ours if larger_is_better else ours - published.value
    return gap <= (half or 0.0) + published.half


def verdict(held: Sequence[bool]) -> str:
    """One word for a claim of several numbers."""
    return "holds" if all(held) else "does not" if not any(held) else "in part"
