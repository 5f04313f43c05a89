"""`mtnets.compare`: two runs, or two sets of seeds, task by task on the same test tasks."""

import dataclasses
import functools
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError, RunError, listed
from mtnets.files import finite, write_json
from mtnets.inner import LOSS
from mtnets.learner.evaluate import Estimate
from mtnets.outer.plan import PLACES
from mtnets.outer.run import FREE, flat
from mtnets.reports.records import Record, higher_is_better, read_record, runs_in
from mtnets.reports.resampling import Resampled, resampled
from mtnets.reports.words import mean_of, name_of, percent, plural, plus_minus
from mtnets.sweeps.intervals import Difference, Interval, difference, interval95, mean_over

LINE = 100  # characters of a line of details


class Side(NamedTuple):
    """One of the two.

    Attributes:
      name: as people call it.
      seeds: of its runs.
      estimates: their scores on test tasks, one for each seed.
    """

    name: str
    seeds: tuple[int, ...]
    estimates: tuple[Estimate, ...]

    @property
    def scores(self) -> np.ndarray:
        """The scores that count, `[seeds, tasks]`, masked where a metric is not defined."""
        return np.ma.stack([np.ma.asarray(estimate.final_scores) for estimate in self.estimates])

    def scores_after(self, step: int) -> np.ndarray:
        """The scores after an inner step, `[seeds, tasks]`, masked as `scores` are."""
        parts = ({"scores": e.scores[:, step:][:, :1], "losses": e.losses[:, step:][:, :1]} for e in self.estimates)
        cut = (dataclasses.replace(e, **part) for e, part in zip(self.estimates, parts, strict=True))
        return np.ma.stack([np.ma.asarray(estimate.final_scores) for estimate in cut])

    @property
    def over_tasks(self) -> Interval:
        """Mean score with its interval over tasks, each averaged over seeds."""
        return interval95(mean_over(self.scores, 0))


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """How much better the second of two is than the first; `print(comparison)` says what can be concluded.

    Differences are positive where the second is better, whatever the score.

    Attributes:
      one, other: the two.
      metric: the score.
      metric_name: as people call it.
      higher_is_better: whether larger scores are better.
      beforehand: whether the score is the one by which both runs chose their best learner, and not one of several that
        was chosen now.
    """

    one: Side
    other: Side
    metric: str
    metric_name: str
    higher_is_better: bool
    beforehand: bool

    @property
    def num_tasks(self) -> int:
        """How many test tasks both have."""
        return self.one.scores.shape[1]

    @functools.cached_property
    def difference(self) -> Difference:
        """By Student's t: over tasks, each averaged over seeds, and over seeds."""
        return difference(*self._signed(self.one.scores, self.other.scores))

    @functools.cached_property
    def tasks(self) -> Resampled:
        """The same over tasks, by resampling them."""
        return resampled(mean_over(self._each, 0))

    @functools.cached_property
    def seeds(self) -> Resampled:
        """The same over seeds; of few, with signs flipped alone."""
        return resampled(mean_over(self._each, 1))

    @property
    def wins(self) -> float:
        """Share of the tasks on which the second is better, a tie counting half."""
        each = np.ma.compressed(mean_over(self._each, 0))
        return float(((each > 0) + 0.5 * (each == 0)).mean()) if len(each) else float("nan")

    @property
    def side(self) -> int:
        """1 if the second is better by more than chance explains, −1 if the first is, 0 if that is open.

        Every interval has to leave out zero on the same side: Student's t and the bootstrap over tasks, and with
        several seeds that over seeds.
        """
        return self.side_over_tasks if self.difference.side == self.side_over_tasks else 0

    @property
    def steps(self) -> list[tuple[int, Interval]]:
        """The paired difference after each inner step that both have: looked at besides, and not corrected for how
        many there are."""
        sides = self.one, self.other
        common = min(estimate.scores.shape[1] for side in sides for estimate in side.estimates)
        each = [difference(*self._signed(*(side.scores_after(step) for side in sides))).tasks for step in range(common)]
        return list(enumerate(each))

    @property
    def _each(self) -> np.ndarray:
        """How much better the second is, `[seeds, tasks]`."""
        two, one = self._signed(self.one.scores, self.other.scores)
        with np.errstate(all="ignore"):
            return np.ma.asarray(two).astype(np.float64) - np.ma.asarray(one).astype(np.float64)

    def _signed(self, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The second and the first, so that larger is better."""
        return (other, one) if self.higher_is_better else (-other, -one)

    @property
    def side_over_tasks(self) -> int:
        """The same over tasks alone."""
        by_t, by_bootstrap = self.difference.tasks.side, self.tasks
        return by_t if np.isnan(by_bootstrap.low) or by_bootstrap.side == by_t else 0

    @property
    def conclusion(self) -> str:
        """What can be concluded, and what not, in sentences."""
        return " ".join([self.verdict, *self._details])

    @property
    def verdict(self) -> str:
        """What can be concluded, in one sentence."""
        gap, one, other = self.difference.tasks, self.one.name, self.other.name
        tasks = plural(self.num_tasks, "task")
        if not np.isfinite(gap.mean):
            return (
                f"The {mean_of(self.metric_name)} of one of them is not finite, since tasks diverged, so that the "
                f"means cannot be compared. {other} is better than {one} on {percent(self.wins)} of these {tasks}."
            )
        better, worse = (other, one) if gap.mean > 0 else (one, other)
        amount = f"{self._points(abs(gap.mean), gap.half)} in {self.metric_name} on these {tasks}"
        ahead = f"; the mean of {better} is the better one" if gap.mean else ""
        if not self.side_over_tasks:
            return f"{one} and {other} cannot be told apart: the difference is {amount}{ahead}."
        if self.difference.num_seeds > 1 and not self.side:
            return f"{one} and {other} cannot be told apart over seeds: these learners differ by {amount}{ahead}."
        return f"{better} is better than {worse} by {amount}."

    @property
    def _details(self) -> list[str]:
        """How that is known, and what it does not say."""
        mean = self.difference.tasks.mean
        return [self._basis(mean), self._of_seeds(), self._chosen()] if np.isfinite(mean) else []

    def _points(self, mean: float, half: float = float("nan")) -> str:
        """A difference of the score."""
        return plus_minus(mean, half, self.metric, difference=True)

    def _basis(self, mean: float) -> str:
        """How that is known."""
        parts, (low, high) = ["Paired, 95 % by Student's t"], self.tasks[:2]
        if np.isfinite(low):
            ends = (low, high) if mean > 0 else (-high, -low)
            parts.append("by bootstrap " + " to ".join(map(self._points, ends)))
        return "; ".join([*parts, f"signs flipped at random: {_p(self.tasks)}."])

    def _of_seeds(self) -> str:
        count = self.difference.num_seeds
        if count < 2:
            return (
                "One seed each: that speaks of these two learners and other tasks, and says nothing about another "
                "training."
            )
        gap = self.difference.seeds
        amount = self._points(abs(gap.mean), gap.half)
        told = f"Over {count} seeds each the difference is {amount} (Student's t; signs flipped: {_p(self.seeds)})"
        sure = "so other seeds would probably say the same" if self.side else "which leaves open what other seeds say"
        few = (
            f" {count} seeds cannot give a smaller p than {self.seeds.least_p:.2g}."
            if self.seeds.least_p > 0.05
            else ""
        )
        return f"{told}, {sure}.{few}"

    def _chosen(self) -> str:
        if self.beforehand:
            return (
                "The score and the inner step (the last one of each training) were chosen beforehand: they are what "
                "both runs are tested by. Other steps and scores are looked at besides, and not corrected for how many."
            )
        return (
            f"{self.metric} was chosen now, among several scores: by one of twenty, chance alone would tell two runs "
            "apart that are alike."
        )

    def __str__(self) -> str:
        rows = [("", f"{mean_of(self.metric_name)} ± 95 % over tasks", "seeds")]
        for side in (self.one, self.other):
            rows.append((side.name, plus_minus(*side.over_tasks, self.metric), ", ".join(map(str, side.seeds))))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        details = [textwrap.fill(sentences, LINE) for sentences in self._details]
        return "\n".join([self.verdict, "", *lines, *([""] if details else []), *details])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values; None for numbers that are not finite."""
        gap = self.difference

        def of_side(side: Side) -> dict[str, Any]:
            mean, half = side.over_tasks
            of_seeds = np.ma.filled(mean_over(side.scores, 1), np.nan).tolist()
            return {
                "name": side.name,
                "seeds": list(side.seeds),
                "mean": mean,
                "ci95_tasks": half,
                "of_seeds": of_seeds,
            }

        return finite(
            {
                "metric": self.metric,
                "higher_is_better": self.higher_is_better,
                "chosen_beforehand": self.beforehand,
                "test_tasks": self.num_tasks,
                "one": of_side(self.one),
                "other": of_side(self.other),
                "other_better_by": {
                    "mean": gap.tasks.mean,
                    "ci95_tasks": gap.tasks.half,
                    "bootstrap_tasks": list(self.tasks[:2]),
                    "p_tasks": self.tasks.p,
                    "ci95_seeds": gap.seeds.half,
                    "p_seeds": self.seeds.p,
                    "seeds": gap.num_seeds,
                    "wins": self.wins,
                    "side": self.side,
                },
                "steps": [{"step": step, "mean": mean, "ci95_tasks": half} for step, (mean, half) in self.steps],
                "intervals": "95 %, paired by test task, Student's t; bootstrap BCa; p by signs flipped at random",
                "conclusion": self.conclusion,
            }
        )

    def save(self, path: str | Path) -> None:
        """Writes `to_json()` into a file."""
        write_json(path, self.to_json())

    def plot(self, path: str | Path) -> None:
        """Draws the paired differences, and the scores of both on every task, into a PNG file.

        Raises:
          OptionError: without matplotlib.
        """
        from mtnets.reports.comparison_plot import plot

        plot(self, path)


def _p(test: Resampled) -> str:
    """A p-value, to what it can be known."""
    return "p = –" if np.isnan(test.p) else "p < 0.001" if test.p < 1e-3 else f"p = {test.p:.2g}"


@checked_arguments
def compare(
    one: str | Path | Sequence[str | Path], other: str | Path | Sequence[str | Path], *, metric: str | None = None
) -> Comparison:
    """Compares two runs on the same test tasks: `print(mtnets.compare("runs/maml", "runs/mt-net"))`.

    Args:
      one, other: each the folder of a run, a folder with a folder for each seed, or several folders of runs that differ
        in their seeds.
      metric: the score. Defaults to that by which both have chosen their best learner.

    Raises:
      OptionError: for a score that was not measured.
      RunError: for runs that were not scored on the same test tasks, by the same score, or have not ended.
    """
    first, second = _records(one), _records(other)
    reference = first[0]
    for record in (*first[1:], *second):
        check_same_tasks(reference, record, metric)
    chosen = reference.metric if metric is None else metric
    sides = _sides((one, first), (other, second), chosen)
    every = [record.metric for record in (*first, *second)]
    name = name_of(chosen, reference.config)
    return Comparison(*sides, chosen, name, higher_is_better(reference.config, chosen), set(every) == {chosen})


def _records(named: str | Path | Sequence[str | Path]) -> list[Record]:
    """The runs of one side, of a seed each.

    Raises:
      RunError: for runs that differ in more than their seeds, or have not ended.
    """
    paths = [Path(named)] if isinstance(named, str | Path) else [Path(each) for each in named]
    if not paths:
        raise OptionError("No run is named on one of the sides; name the folder of a run.")
    records = [read_record(folder) for path in paths for folder in runs_in(path)]
    for record in records:
        if record.test is None:
            raise RunError(f"The run in {record.path} has not ended and was not tested; go on with resume=True.")
        if _setting(record) != _setting(records[0]):
            raise RunError(
                f"The runs in {records[0].path} and {record.path} differ in more than their seeds; name those of one "
                "setting on each side."
            )
    seeds = [record.config["seed"] for record in records]
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise RunError(f"Seed {seed} is there twice on one side; name each run once.")
    return records


def _setting(record: Record) -> dict[str, Any]:
    """What decides a run, apart from its seed and from where and how fast it ran."""
    return {name: value for name, value in flat(dict(record.config)).items() if name not in (*FREE, "seed")}


def check_same_tasks(one: Record, other: Record, metric: str | None = None) -> None:
    """Raises RunError where two runs were not scored on the same test tasks, or not by the same score."""
    places = f"The runs in {one.path} and {other.path}"
    remedy = "evaluate both learners on the same tasks (mtnets evaluate), or train anew"
    if one.family is None or other.family is None:
        raise RunError(
            f"{places} have tasks of your own, of which no record says that they are the same; {remedy} on a family "
            "of mtnets.tasks."
        )
    tasks = [
        {n: v for n, v in record.config["tasks"].items() if n not in (*PLACES, "network")} for record in (one, other)
    ]
    if one.family != other.family:
        raise RunError(
            f"{places} have other test tasks: {one.name} is of {one.family}, {other.name} of {other.family}; compare "
            "runs of one family."
        )
    for name in sorted(tasks[0].keys() | tasks[1].keys()):
        values = [each.get(name) for each in tasks]
        if values[0] != values[1]:
            raise RunError(f"{places} have other test tasks: {name} is {values[0]} and {values[1]}; {remedy}.")
    if one.test is None or other.test is None:
        raise RunError(f"{places} have not both ended; go on with resume=True.")
    if one.test.num_tasks != other.test.num_tasks:
        raise RunError(
            f"{places} were tested on {one.test.num_tasks} and {other.test.num_tasks} tasks; {remedy} with test_tasks="
            f"{max(one.test.num_tasks, other.test.num_tasks)}."
        )
    if one.test.stream != other.test.stream:
        raise RunError(f"{places} are one of streams and one of whole support sets, whose scores are not the same.")
    scores = [record.metric if metric is None else metric for record in (one, other)]
    common = [name for name in one.test.each if name in other.test.each]
    if scores[0] != scores[1]:
        raise RunError(
            f"{places} chose by {scores[0]} and {scores[1]}; name a score of both, {listed(common)}: metric=..."
        )
    if scores[0] not in common:
        raise OptionError(f"metric is {scores[0]!r}, which was not measured in both; choose among {listed(common)}.")
    losses = [record.config.get("loss") for record in (one, other)]
    if scores[0] == LOSS and losses[0] != losses[1]:
        others = [name for name in common if name != LOSS]
        also = f": metric={others[0]!r}" if others else "; train both with one that both measure (metrics=...)"
        raise RunError(f"{places} have other losses, {losses[0]} and {losses[1]}; compare by a metric of both{also}.")


def _sides(one: tuple[Any, list[Record]], other: tuple[Any, list[Record]], metric: str) -> tuple[Side, Side]:
    """Both sides with the seeds that they have in common; a single run each need not have the same."""
    seeds = [[record.config["seed"] for record in records] for _, records in (one, other)]
    common = [seed for seed in seeds[0] if seed in seeds[1]]
    if not common and max(map(len, seeds)) > 1:
        raise RunError(
            f"The two sides have seeds {listed(list(map(str, seeds[0])))} and {listed(list(map(str, seeds[1])))}, none "
            "in common; train both with the same seeds."
        )
    sides = []
    for (_, records), own in zip((one, other), seeds, strict=True):
        kept = common or own
        by_seed = {record.config["seed"]: record for record in records}
        estimates = tuple(test.of(metric) for seed in kept if (test := by_seed[seed].test) is not None)
        sides.append(Side(_called(records), tuple(kept), estimates))
    if sides[0].name == sides[1].name:
        paths = [str(records[0].path if len(records) == 1 else records[0].path.parent) for _, records in (one, other)]
        sides = [side._replace(name=path) for side, path in zip(sides, paths, strict=True)]
    return sides[0], sides[1]


def _called(records: Sequence[Record]) -> str:
    """What a side is called: a run by its folder, seeds by the folder that they are in."""
    return records[0].name if len(records) == 1 else records[0].path.absolute().parent.name
