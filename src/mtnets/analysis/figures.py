"""What all pictures share. The colours can be told apart by colour-blind readers."""

from pathlib import Path
from typing import Any

from mtnets.errors import OptionError
from mtnets.files import replacing

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.6"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito
MARKERS = "osD^vP*"


def figure(width: float, height: float) -> Any:
    """An empty figure, in inches.

    Raises:
      OptionError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OptionError("A picture needs matplotlib: pip install 'mtnets[plot]'.") from error
    return Figure(figsize=(width, height), layout="constrained")


def check_can_draw() -> None:
    """Raises OptionError without matplotlib."""
    figure(1, 1)


def save(canvas: Any, path: str | Path) -> None:
    """Writes a figure into a PNG file."""
    with replacing(path) as file:
        canvas.savefig(file, dpi=110, format="png")
