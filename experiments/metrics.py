"""How a training went, from the metrics.jsonl of its run folder."""

from pathlib import Path
from statistics import fmean
from typing import Any

from mtnets.errors import RunError
from mtnets.files import checked, parse_json


def read_lines(metrics: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl. Raises RunError for a damaged one."""
    try:
        return [checked(parse_json(line)) for line in metrics.read_bytes().splitlines()]
    except ValueError as error:
        raise RunError(f"{metrics} is damaged ({error}); run the experiment again.") from error


def skipped(metrics: Path) -> int:
    """How many meta-steps of a training were left out because a loss or gradient was not finite."""
    return max((line.get("skipped", 0) for line in read_lines(metrics)), default=0)


def course(metrics: Path, spans: int = 100) -> list[dict[str, Any]]:
    """How a training went: in each of at most so many spans the last meta-step, mean accuracy and mean share of moving
    units."""
    lines = [line for line in read_lines(metrics) if line.get("accuracy") is not None]
    size = max(1, -(-len(lines) // spans))
    return [_span(lines[first : first + size]) for first in range(0, len(lines), size)]


def _span(lines: list[dict[str, Any]]) -> dict[str, Any]:
    layers = lines[-1].get("moving") or ()
    return {
        "step": lines[-1]["step"],
        "accuracy": round(fmean(line["accuracy"] for line in lines), 5),
        "moving": {layer: round(fmean(line["moving"][layer] for line in lines), 4) for layer in layers},
    }
