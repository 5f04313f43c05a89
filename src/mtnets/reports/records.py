"""What the folder of a run holds, read for people."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtnets.arguments import check
from mtnets.errors import OptionError, RunError, first_line, listed
from mtnets.files import CHECKSUM, checked, parse_json, read, read_json
from mtnets.inner import LOSS, METRICS
from mtnets.learner.evaluate import Estimate
from mtnets.outer.run import CONFIG, PARTS, RESULT, RUN, read_scores
from mtnets.outer.run import METRICS as LOG

MOST_LOG_BYTES = 256 << 20


class Curve(NamedTuple):
    """Numbers of the log over meta-steps.

    Attributes:
      steps: the meta-steps, `[lines]`.
      values: of each, `[lines]`; NaN where a number was not finite.
    """

    steps: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """A run, as its folder tells it.

    Attributes:
      path: of the folder.
      config: everything that the learner depends on.
      curves: of the log, by name: `loss`, metrics, and `validation`.
      moving: share of the units that move, by layer, over meta-steps.
      skipped: meta-steps that were left out.
      result: what `result.json` holds; None for a run that has not ended.
      test: the scores on test tasks; None as above.
    """

    path: Path
    config: Mapping[str, Any]
    curves: Mapping[str, Curve]
    moving: Mapping[str, Curve]
    skipped: int
    result: Mapping[str, Any] | None
    test: Estimate | None

    @property
    def name(self) -> str:
        """As people call it: `runs/sine/seed-0` is `sine/seed-0`."""
        folder = self.path.absolute()
        return f"{folder.parent.name}/{folder.name}" if folder.name.startswith(("seed-", "inner-lr-")) else folder.name

    @property
    def family(self) -> str | None:
        """The name of its tasks; None for tasks of the user's own."""
        return self.config["tasks"].get("family")

    @property
    def metric(self) -> str:
        """The score that chose the best learner."""
        return LOSS if self.test is None else self.test.metric


def read_record(path: str | Path) -> Record:
    """Reads the folder of a run.

    Raises:
      RunError: for a folder without a run, or one whose files are damaged.
    """
    folder = Path(path)
    if not (folder / CONFIG).is_file():
        raise RunError(f"There is no run in {folder} (no {CONFIG}); name the folder of a run.")
    with _reading(folder / CONFIG):
        config = read_json(folder / CONFIG)
        check("it", config, Mapping)
        for part in PARTS:
            check(part, config.get(part), Mapping)
        check("seed", config.get("seed"), int)
    with _reading(folder / LOG):
        curves, moving, skipped = _curves(_lines(folder / LOG))
    result, test = None, None
    if (folder / RESULT).is_file():
        with _reading(folder / RESULT):
            result = _result(read_json(folder / RESULT))
            test = read_scores(folder, result)
    return Record(folder, {n: v for n, v in config.items() if n != RUN}, curves, moving, skipped, result, test)


def runs_in(path: str | Path, *, of_sweep: bool = False) -> list[Path]:
    """The folders of runs that a path names: that of one run, or those of the seeds below it, in their order.

    Args:
      path: of the folder.
      of_sweep: whether it may be that of a sweep, with a folder of seeds for each setting.

    Raises:
      RunError: where there is none.
    """
    folder = Path(path)
    if (folder / CONFIG).is_file():
        return [folder]
    below = [each.parent for each in folder.glob(f"*/{CONFIG}")]
    if not below and of_sweep:
        settings = sorted({each.parents[1] for each in folder.glob(f"*/*/{CONFIG}")})
        below = [run for setting in settings for run in runs_in(setting)]
        if below:
            return below
    if not below:
        deeper = sorted({each.parents[1].name for each in folder.glob(f"*/*/{CONFIG}")})
        remedy = f"one of those in it: {listed(deeper)}" if deeper else "the folder of a run, or of its seeds"
        raise RunError(f"There is no run in {folder} (no {CONFIG}); name {remedy}.")
    return sorted(below, key=lambda each: (len(each.name), each.name))  # seed-2 before seed-10


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raises RunError for what a damaged or foreign file leads to."""
    try:
        yield
    except (OSError, AttributeError, IndexError, KeyError, TypeError, ValueError, OptionError) as error:
        raise RunError(
            f"{path} is damaged or not that of a run ({first_line(error)}); train anew, or name another folder."
        ) from error


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of a log, but for a last one that is not whole yet."""
    lines = read(path, MOST_LOG_BYTES).splitlines() if path.exists() else []
    for place, line in enumerate(lines):
        try:
            yield {name: value for name, value in checked(parse_json(line)).items() if name != CHECKSUM}
        except ValueError:
            if place < len(lines) - 1:
                raise


def _curves(lines: Iterator[Mapping[str, Any]]) -> tuple[dict[str, Curve], dict[str, Curve], int]:
    """Numbers by name, shares that move by layer, and how many meta-steps were left out."""
    numbers: dict[str, list[tuple[int, float]]] = {}
    shares: dict[str, list[tuple[int, float]]] = {}
    skipped = 0
    for line in lines:
        step = line["step"]
        check("step", step, int)
        skipped = max(skipped, int(line.get("skipped", 0)))
        values = {**line, "validation": line["validation"][0]} if "validation" in line else line
        for name, value in values.items():
            if name not in ("step", "moving", "skipped"):
                numbers.setdefault(name, []).append((step, np.nan if value is None else float(value)))
        for name, value in (line.get("moving") or {}).items():
            shares.setdefault(name, []).append((step, np.nan if value is None else float(value)))
    return _as_curves(numbers), _as_curves(shares), skipped


def _as_curves(points: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, Curve]:
    return {name: Curve(*map(np.array, zip(*of_name, strict=True))) for name, of_name in points.items()}


RESULT_HAS: Mapping[str, Any] = {  # what earlier versions did not write is None
    "meta_steps": int | None,
    "best_meta_step": int | None,
    "validation": float | None,
    "failed": int | None,
    "norm": str | None,
    "seconds_per_meta_step": float | None,
    "compile_seconds": float | None,
    "peak_memory_bytes": int | None,
    "machine": Mapping | None,
    "test": Mapping,
}


def _result(result: Any) -> Mapping[str, Any]:
    """A result with every entry that a report tells of."""
    check("it", result, Mapping)
    for name, hint in RESULT_HAS.items():
        check(name, result.get(name), hint)
    return {**dict.fromkeys(RESULT_HAS), **result}


def higher_is_better(config: Mapping[str, Any], metric: str) -> bool:
    """Whether a larger score is better.

    Raises:
      RunError: for a metric of the user's own, of which no record says it.
    """
    name = metric if metric in METRICS else None
    recorded = (config.get("metrics") or {}).get(metric, name)
    if metric == LOSS:
        return False
    if isinstance(recorded, str) and recorded in METRICS:
        return bool(METRICS[recorded].higher_is_better)
    raise RunError(
        f"{metric} is a metric of your own, and no record says whether higher is better; compare by another: "
        "metric='loss'."
    )
