"""What all figures of the report share. Colour-blind readers can tell the colours apart too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtnets import OptionError
from mtnets.files import replacing

COLOURS = {
    "maml": "#0072B2",
    "meta_sgd": "#E69F00",
    "m_net": "#999999",
    "t_net": "#009E73",
    "mt_net": "#D55E00",
    "mt_net_full": "#CC79A7",
    "best": "#000000",
}
MARKERS = {"maml": "o", "meta_sgd": "s", "m_net": "v", "t_net": "^", "mt_net": "D", "mt_net_full": "P", "best": "*"}


def style(method: str) -> dict[str, Any]:
    """Colour and marker of a method."""
    return {"color": COLOURS.get(method, "black"), "marker": MARKERS.get(method, "x"), "markersize": 4}


def figure(panels: int, width: float, height: float = 3.6, *, share: bool = True, rows: int = 1) -> tuple[Any, Any]:
    """A figure with rows of panels, and its axes as an array.

    Raises:
      OptionError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OptionError("Figures need matplotlib: pip install 'mtnets[experiments]'.") from error
    canvas = Figure(figsize=(width, height), layout="constrained")
    return canvas, np.atleast_1d(canvas.subplots(rows, panels, sharey=share))


def save(canvas: Any, path: Path) -> str:
    """Writes a figure; returns the Markdown that shows it."""
    with replacing(path) as file:
        canvas.savefig(file, dpi=120, format="png")
    return f"![{path.stem}](figures/{path.name})"


def numbers(values: Sequence[float | None]) -> np.ndarray:
    """Numbers read from JSON, where None stands for numbers that are not finite."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
