"""Several runs in one page: their curves, scores, paired differences, and the settings in which they differ."""

import datetime
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from mtnets.errors import MtnetsError
from mtnets.outer.run import flat
from mtnets.reports.charts import Line, line_chart
from mtnets.reports.comparison import compare
from mtnets.reports.elements import Child, element, table
from mtnets.reports.page import Section, figure, page, terms
from mtnets.reports.records import Record
from mtnets.reports.sections import BEFORE, LEARNED, headline, sentence
from mtnets.reports.words import GLOSSARY, name_of, percent, plural, plus_minus

MOST_DRAWN = 6  # curves of a picture
MOST_PAIRS = 15  # paired differences; of more runs, each with the first one


def side_by_side(records: Sequence[Record]) -> bytes:
    """A page on several runs."""
    title = f"{plural(len(records), 'run')} side by side"
    head = [
        element("ul", [element("li", element("strong", record.name), f": {sentence(record)}") for record in records])
    ]
    parts = [
        Section("scores", "Scores on test tasks", _scores(records)),
        Section("differences", "Paired differences", _differences(records)),
        Section("training", "Training", _curves(records)),
        Section("settings", "Settings that differ", _settings(records)),
        Section("glossary", "What the words mean", [terms(list(GLOSSARY.items()))]),
    ]
    now = f"{datetime.datetime.now().astimezone():%d %B %Y, %H:%M %Z}"
    return page(title, head, parts, f"Written by mtnets on {now}.")


def _names(records: Sequence[Record]) -> list[str]:
    """What runs are called: by their folders, which are written out where two have one name."""
    names = [record.name for record in records]
    return [str(record.path) if names.count(name) > 1 else name for record, name in zip(records, names, strict=True)]


def _scores(records: Sequence[Record]) -> Iterator[Child]:
    rows = []
    for name, record in zip(_names(records), records, strict=True):
        test = record.test
        if test is None:
            rows.append([name, headline(record), str(record.config["seed"]), "–", "has not ended", "–", "–"])
            continue
        half = float(test.ci95[-1]) if not test.stream else float("nan")
        rows.append(
            [name, headline(record), str(record.config["seed"]), name_of(test.metric, record.config),
             plus_minus(test.final, half, test.metric), str(test.num_tasks), percent(float(test.diverged[-1]), 1)]
        )  # fmt: skip
    titles = ["run", "what", "seed", "score", "mean ± 95 %", "test tasks", "diverged"]
    yield table("Scores after the last inner step, with intervals over test tasks", titles, rows)


def _differences(records: Sequence[Record]) -> Iterator[Child]:
    ended = [record for record in records if record.test is not None]
    pairs = list(itertools.combinations(ended, 2))
    pairs = pairs if len(pairs) <= MOST_PAIRS else [(ended[0], other) for other in ended[1:]]
    names = dict(zip(map(id, records), _names(records), strict=True))
    rows, refused = [], []
    for one, other in pairs:
        try:
            both = compare(one.path, other.path)
        except MtnetsError as error:
            refused.append(str(error))
            continue
        mean, half = both.difference.tasks
        interval = " to ".join(plus_minus(end, float("nan"), both.metric, difference=True) for end in both.tasks[:2])
        told = {1: "yes, better", -1: "yes, worse", 0: "no"}[both.side]
        rows.append(
            [names[id(other)], names[id(one)],
             plus_minus(mean, half, both.metric, sign=True, difference=True), interval,
             "–" if np.isnan(both.tasks.p) else f"{both.tasks.p:.2g}", percent(both.wins), told]
        )  # fmt: skip
    titles = ["run", "against", "better by ± 95 %", "bootstrap 95 %", "p", "share of tasks won", "told apart"]
    if rows:
        yield table("How much better a run is than another on the same test tasks", titles, rows)
        these = f"{'This is' if len(rows) == 1 else 'These are'} {plural(len(rows), 'comparison')}"
        yield element(
            "p", f"{these}, not corrected for that; chance alone would "
            "tell about one of twenty apart. They speak of these learners on other tasks, not of other seeds: ",
            element("code", "mtnets compare"), " takes folders of several seeds.",
        )  # fmt: skip
    yield from (element("p", reason, class_="faint") for reason in dict.fromkeys(refused))
    if not (rows or refused):
        yield element("p", "Fewer than two of the runs have ended; there is nothing to compare.")


def _curves(records: Sequence[Record]) -> Iterator[Child]:
    pictures: list[Child] = []
    titles = {
        LEARNED: "Training loss after adaptation",
        BEFORE: "Training loss before",
        "validation": "Validation score",
    }
    for name, title in titles.items():
        shown = [(of, r.curves[name]) for of, r in zip(_names(records), records, strict=True) if name in r.curves]
        lines = [Line(of, curve.steps, curve.values) for of, curve in shown[:MOST_DRAWN]]
        if lines:
            left = len(shown) - len(lines)
            about = "A line for each run" + (f"; {plural(left, 'more run')} not drawn." if left else ".")
            pictures.append(figure(line_chart(title, about, lines, "meta-step", title), title, about))
    for test in [[record for record in records if record.test is not None][:MOST_DRAWN]]:
        metrics = {record.metric for record in test}
        if len(metrics) == 1:
            lines = []
            for record in test:
                estimate = record.test
                if estimate is not None:
                    mean, half = estimate.mean, estimate.ci95
                    lines.append(Line(record.name, np.arange(len(mean)), mean, mean - half, mean + half))
            title, about = "Score over inner steps", "Mean over test tasks with 95 % intervals."
            pictures.append(figure(line_chart(title, about, lines, "inner step", metrics.pop()), title, about))
    yield element("div", pictures, class_="charts") if pictures else element("p", "The logs hold no number yet.")


def _settings(records: Sequence[Record]) -> Iterator[Child]:
    every = [flat(dict(record.config)) for record in records]
    names = dict.fromkeys(name for settings in every for name in settings)
    differing = [name for name in names if len({str(settings.get(name, "–")) for settings in every}) > 1]
    if not differing:
        yield element("p", "None: they are the same but for where they are.")
        return
    rows = [[name, *(str(settings.get(name, "–")) for settings in every)] for name in differing]
    yield table("Settings that are not the same in all runs", ["setting", *_names(records)], rows, numbers=False)
