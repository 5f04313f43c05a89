"""The result of a sweep: a table, what was chosen by which score, and what can be concluded from it."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mtnets.errors import listed
from mtnets.files import finite, replacing, write_json
from mtnets.sweeps.draw import draw
from mtnets.sweeps.grid import is_number, numbers_varied
from mtnets.sweeps.intervals import Difference, difference
from mtnets.sweeps.rows import Row

TABLE, JSON, PICTURE = "sweep.csv", "sweep.json", "sweep.png"
WIDTH = 160  # characters of the table where there is no terminal
FEWEST_FOR_AN_EDGE = 3  # values of which one may be said to be at their edge
MOST_NAMED = 4  # settings in a sentence


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """The settings of a sweep, compared; `print(sweep)` is a table.

    Attributes:
      metric: the score: the loss, or one of the metrics.
      higher_is_better: whether larger scores are better.
      num_tasks: number of test tasks, which are the same for all.
      rows: one for each setting.
    """

    metric: str
    higher_is_better: bool
    num_tasks: int
    rows: tuple[Row, ...]

    @property
    def chosen(self) -> Row | None:
        """The setting with the best mean score on validation tasks, the first of several; None where none has one."""
        sign = 1 if self.higher_is_better else -1
        possible = [row for row in self.rows if math.isfinite(row.validation)]
        return max(possible, key=lambda row: sign * row.validation, default=None)

    def difference(self, row: Row) -> Difference | None:
        """How much better the chosen setting is on test tasks than another; None where no seed is there for both."""
        chosen = self.chosen
        if chosen is None or chosen is row:
            return None
        seeds = [seed for seed in chosen.seeds if seed in row.seeds]
        if not seeds:
            return None
        one, other = (each.scores[[each.seeds.index(seed) for seed in seeds]] for each in (chosen, row))
        return difference(one, other) if self.higher_is_better else difference(-one, -other)

    @property
    def conclusion(self) -> str:
        """What can be concluded, in sentences."""
        chosen, sentences = self.chosen, []
        failed = [row for row in self.rows if row.failed]
        if failed:
            count = sum(len(row.failed) for row in failed)
            sentences.append(
                f"{count} run{'s' * (count > 1)} failed, since a loss or gradient was not finite "
                f"({listed([row.setting.label for row in failed], MOST_NAMED)}): such a setting is never chosen."
            )
        if chosen is None:
            return " ".join([*sentences, "No setting was chosen: none has a finite score on validation tasks."])
        count = len(chosen.seeds)
        sentences.append(
            f"{chosen.setting.label} was chosen by its {self.metric} on validation tasks "
            f"({_number(chosen.validation)}{f', the mean of {count} seeds' if count > 1 else ''})."
        )
        sentences += self._comparisons(chosen) + self._edges(chosen)
        return " ".join(sentences)

    def _comparisons(self, chosen: Row) -> list[str]:
        compared = [(row, gap) for row in self.rows if (gap := self.difference(row)) is not None]
        if not compared:
            return []
        words = {1: "is better than", -1: "is worse than", 0: "cannot be told apart from"}
        parts = []
        for side, verb in words.items():
            labels = [row.setting.label for row, gap in compared if gap.side == side]
            if labels:
                of = f"{len(labels)} of {len(compared)} others ({listed(labels, MOST_NAMED)})"
                parts.append(f"{verb} {of if len(compared) > 1 else labels[0]}")
        several = all(gap.num_seeds > 1 for _, gap in compared)
        basis = "intervals of the paired difference, over tasks and over seeds, both leave" if several else ""
        basis = basis or "interval of the paired difference over tasks leaves"
        sentences = [
            f"On the same {self.num_tasks} test tasks it {'; it '.join(parts)}. "
            f"(Told apart: the 95 % {basis} out zero.)"
        ]
        if not several:
            sentences.append("With a single seed, nothing is said of how another seed would order them.")
        if len(compared) > 1:
            sentences.append(
                f"These are {len(compared)} comparisons, of which chance alone would tell about one in twenty apart."
            )
        return sentences

    def _edges(self, chosen: Row) -> list[str]:
        sentences = []
        for name in numbers_varied([row.setting for row in self.rows]):
            own = [row for row in self.rows if row.setting.title == chosen.setting.title]
            values = {row.setting.varied[name] for row in own if is_number(row.setting.varied.get(name))}
            value = chosen.setting.varied.get(name)
            if len(values) >= FEWEST_FOR_AN_EDGE and value in (min(values), max(values)):
                sentences.append(
                    f"Its {name.replace('_', '-')}, {value}, is the {'least' if value == min(values) else 'largest'} "
                    "that was tried: a better one may lie beyond."
                )
        return sentences

    @property
    def caption(self) -> str:
        """What the columns are."""
        return (
            f"Test: {self.metric} ({'higher' if self.higher_is_better else 'lower'} is better) on {self.num_tasks} "
            "tasks, the same for all. ± is half a 95 % interval by Student's t, over tasks (each averaged over seeds) "
            "or over seeds. Validation: of the best learner of each run, by which that learner was chosen, and * among "
            "the settings; test scores have chosen nothing. Better by: how much better * is on the same test tasks "
            "with the same seeds, ± over tasks, and ± over seeds where there are several. Seconds: training and "
            "compilation, a share where runs were trained side by side."
        )

    def table(self) -> Table:
        """One row for each setting."""
        table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
        titles = (
            "",
            "setting",
            "seeds",
            f"test {self.metric}",
            "± tasks",
            "± seeds",
            "validation",
            "* better by ± tasks" + " ± seeds" * any(len(row.seeds) > 1 for row in self.rows),
            "seconds",
        )
        for title in titles:
            table.add_column(title, justify="left" if title in ("", "setting", "seeds") else "right")
        for row in self.rows:
            table.add_row(*self._cells(row))
        return table

    def _cells(self, row: Row) -> list[str]:
        gap, test = self.difference(row), row.over_tasks
        better = ""
        if gap is not None:
            better = f"{_number(gap.tasks.mean, sign=True)} ± {_number(gap.tasks.half)}"
            better += f" ± {_number(gap.seeds.half)}" if gap.num_seeds > 1 else ""
        seeds = ", ".join([*map(str, row.seeds), *(f"{seed} failed at {step}" for seed, step in row.failed.items())])
        cells = [test.mean, test.half, row.over_seeds.half, row.validation]
        return [
            "*" * (row is self.chosen),
            escape(row.setting.label),
            seeds,
            *("–" if index and math.isnan(cell) else _number(cell) for index, cell in enumerate(cells)),
            better,
            f"{row.seconds:.0f}",
        ]

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=WIDTH, highlight=False)
        self.print(console)
        return text.getvalue().rstrip()

    def print(self, console: Console | None = None) -> None:
        """Prints the table, what its columns are, and what can be concluded, to a terminal."""
        console = console or Console(highlight=False)
        console.print(self.table())
        console.print(self.caption, style="dim", markup=False)
        console.print(self.conclusion, markup=False)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values; None for numbers that are not finite."""
        chosen, rows = self.chosen, []
        for row in self.rows:
            gap = self.difference(row)
            paired = None
            if gap is not None:
                paired = {"mean": gap.tasks.mean, "ci95_tasks": gap.tasks.half, "ci95_seeds": gap.seeds.half}
                paired |= {"seeds": gap.num_seeds, "side": gap.side}
            rows.append(row.to_json() | {"chosen": row is chosen, "chosen_better_by": paired})
        return finite(
            {
                "metric": self.metric,
                "higher_is_better": self.higher_is_better,
                "test_tasks": self.num_tasks,
                "chosen_by": "mean validation score",
                "chosen": None if chosen is None else chosen.setting.label,
                "intervals": "95 %, Student's t; differences are paired by test task, and by seed",
                "conclusion": self.conclusion,
                "settings": rows,
            }
        )

    def save(self, folder: str | Path) -> None:
        """Writes `sweep.json` and `sweep.csv`."""
        folder, record = Path(folder), self.to_json()
        write_json(folder / JSON, record)
        text = io.StringIO()
        varied = list(dict.fromkeys(name for row in self.rows for name in row.setting.varied))
        writer = csv.writer(text)
        writer.writerow(["setting", "method", *varied, "seeds", "failed", *CSV_COLUMNS])
        for row in record["settings"]:
            test, gap = row["test"], row["chosen_better_by"] or {}
            numbers = [test["mean"], test["ci95_tasks"], test["ci95_seeds"], row["validation"]["mean"], row["seconds"]]
            numbers += [gap.get(name) for name in ("mean", "ci95_tasks", "ci95_seeds")]
            values = [row["varied"].get(name) for name in varied]
            words = [" ".join(map(str, row["seeds"])), " ".join(row["failed"])]
            writer.writerow([row["setting"], row["method"], *values, *words, *numbers, int(row["chosen"])])
        with replacing(folder / TABLE) as file:
            file.write(text.getvalue().encode())

    def plot(self, path: str | Path) -> None:
        """Draws the scores of all settings into a PNG file.

        Raises:
          OptionError: without matplotlib.
        """
        gaps = {i: gap for i, row in enumerate(self.rows) if (gap := self.difference(row)) is not None}
        draw(self.rows, self.chosen, gaps, self.metric, self.num_tasks, path)


CSV_COLUMNS = ("test", "test_ci95_tasks", "test_ci95_seeds", "validation", "seconds")
CSV_COLUMNS += ("chosen_better_by", "better_by_ci95_tasks", "better_by_ci95_seeds", "chosen_by_validation")


def _number(value: float, *, sign: bool = False) -> str:
    """A score, to what its size lets one read."""
    if not math.isfinite(value):
        return "not finite" if not math.isnan(value) else "–"
    plain = value == 0 or 1e-3 <= abs(value) < 1e4
    return (f"{value:{'+' if sign else ''}.4f}" if plain else f"{value:{'+' if sign else ''}.3g}").replace(
        "-", "−", sign
    )


__all__: Sequence[str] = ["Sweep"]
