"""The parts of a report on one run."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from mtnets.analysis.summary import Summary, summarise
from mtnets.errors import OptionError, listed
from mtnets.inner import LOSS, METHODS, method_from_json
from mtnets.learner.evaluate import DIVERGED, Estimate
from mtnets.learner.learner import Learner
from mtnets.outer.run import CONFIG, flat
from mtnets.reports.bins import bin_edges
from mtnets.reports.charts import Axis, Line, bar_chart, line_chart, number
from mtnets.reports.drawings import drawn
from mtnets.reports.elements import Child, element, folded, table
from mtnets.reports.examples import Example
from mtnets.reports.page import Section, figure, terms
from mtnets.reports.records import Curve, Record
from mtnets.reports.words import GLOSSARY, called, name_of, percent, plural, plus_minus
from mtnets.tasks import FAMILIES

MOST_LINES = 12  # of a table that repeats a chart
MOST_UNITS = 200  # bars of a layer; of more units, so many of the sorted ones
MOST_LAYERS = 24  # that are drawn
BINS = 24  # of the histogram of a score without steps
LEARNED, BEFORE = "post_loss", "pre_loss"  # as the log calls the training loss after and before adaptation
SHARES = (0.0, 1.0)  # the whole axis of shares and probabilities: near one half they hardly differ
UNDECIDED = 0.05  # distance from one half, where masks begin, within which a unit is not told apart from others
SHOWN = 0.99  # share of the test tasks that the histogram shows, where others are far away


def sections(record: Record, learner: Learner | None, shown: Sequence[Example], why_not: str) -> Iterator[Section]:
    """The parts, in their order.

    Args:
      record: of the run.
      learner: the best one; None where it cannot be read.
      shown: examples of test tasks.
      why_not: why there is no learner, or no example.
    """
    yield Section("what", "What was trained", [*_trained(record), *_layers(record, learner)])
    yield Section("training", "Training", _training(record))
    if record.test is not None:
        yield Section("steps", "Score over inner steps", _steps(record, record.test))
        yield Section("tasks", "Test tasks", _histogram(record, record.test))
    yield Section("masks", "Which units move", _masks(record, learner))
    if learner is not None and (spectra := learner.method.fold.spectra(learner.inner.layers, learner.meta.fold)):
        yield Section("metrics", "Metrics T", _spectra(spectra))
    yield Section("examples", "Examples", _examples(learner, shown, why_not))
    yield Section("again", "The same run again", _again(record))
    yield Section("glossary", "What the words mean", [terms([(term, text) for term, text in GLOSSARY.items()])])
    yield Section("machine", "Machine, versions, time", _machine(record))


def headline(record: Record) -> str:
    """What was trained, in a line."""
    method, family = str(record.config["method"].get("name")), record.family or "tasks of your own"
    return f"{method.replace('_', '-')} on {family}"


def sentence(record: Record) -> str:
    """The result."""
    test, result = record.test, record.result
    if test is None or result is None:
        return "This run has not ended: there is no result on test tasks yet."
    name, steps = name_of(test.metric, record.config), test.scores.shape[1] - 1
    half = float(test.ci95[-1]) if not test.stream else float("nan")
    score = plus_minus(test.final, half, test.metric)
    before = plus_minus(float(test.mean[0]), float("nan"), test.metric)
    where = "along the stream" if test.stream else f"after {plural(steps, 'inner step')}"
    interval = f", with its 95 % interval over {plural(test.num_tasks, 'test task')}" if math.isfinite(half) else ""
    told = f"The {name} {where} is {score}{interval}" + ("." if test.stream else f"; before adaptation it is {before}.")
    if not math.isfinite(test.final) and not test.stream:
        told += f" Its median is {plus_minus(float(test.median[-1]), float('nan'), test.metric)}."
    failed = result["failed"]
    return told + ("" if failed is None else f" The training ended at meta-step {failed}: a loss was not finite.")


def _trained(record: Record) -> Iterator[Child]:
    config, training = record.config, record.config["training"]
    method = config["method"]
    steps = training.get("inner_steps")
    pairs: list[tuple[str, Child]] = [
        ("tasks", f"{record.family or 'of your own'}: {called(config['tasks'], ('family', 'network'))}"),
        ("method", [element("strong", str(method.get("name")).replace("_", "-")), *_equation(method)]),
        ("inner steps", f"{steps} of size α = {method.get('inner_lr')}"),
        ("network", called(config["model"], leave=()) if config.get("model") else "one of your own"),
        ("loss", name_of(LOSS, config)),
        ("meta-training", f"{training.get('meta_steps')} meta-steps of {training.get('meta_batch')} tasks, rate "
         f"{training.get('meta_lr')}, {training.get('schedule', 'constant')}; seed {config['seed']}"),
    ]  # fmt: skip
    if record.result is not None:
        result = record.result
        best = "" if result["validation"] is None else f", {plus_minus(result['validation'], np.nan, record.metric)}"
        name = name_of(record.metric, config)
        pairs.append(
            ("best learner", f"of meta-step {result['best_meta_step']}, by its validation score ({name}{best})")
        )
        if result["norm"] not in (None, "none"):
            pairs.append(("batch norm", result["norm"]))
    yield terms(pairs)
    rows = [[name, str(value)] for name, value in flat({part: config[part] for part in config}).items()]
    yield folded(
        "All settings", table("Everything that the learner depends on", ["setting", "value"], rows, numbers=False)
    )


def _equation(recorded: Mapping[str, Any]) -> Iterator[Child]:
    """What a method does, with the options on record; nothing of one that the record does not hold."""
    try:
        method = method_from_json(recorded)
    except OptionError:  # a class or a function of the user's own
        return
    if method.step:
        yield from (". One inner step: ", element("code", method.step), ".")
        if method.learns:
            yield f" Learned besides the start: {method.learns}."
        if method.paper:
            yield f" {method.paper}."


def _layers(record: Record, learner: Learner | None) -> Iterator[Child]:
    if learner is None:
        return
    summary: Summary = summarise(learner.model, learner.method, learner.inner_steps)
    kinds = list(summary.learned)
    rows = [
        [row.name, " × ".join(map(str, row.shape)), str(row.units), "yes" if row.moves else "no",
         f"{row.parameters:,}", *(f"{row.learned.get(kind, 0):,}" for kind in kinds)]
        for row in summary.rows
    ]  # fmt: skip
    caption = (
        f"Layers of the network: {summary.parameters:,} numbers of its own, {summary.total:,} with all that "
        f"{summary.method} learns"
    )
    titles = ["layer", "weight", "units", "a task moves it", "numbers", *(f"learned: {kind}" for kind in kinds)]
    yield table(caption, titles, rows)


def _training(record: Record) -> Iterator[Child]:
    pictures = [_curve_figure(record, name) for name in _logged(record)]
    if not pictures:
        yield element("p", "The log holds no number yet.")
        return
    yield element("div", pictures, class_="charts")
    if record.skipped:
        yield element("p", f"{plural(record.skipped, 'meta-step')} were left out: a loss or gradient was not finite.")


def _logged(record: Record) -> list[str]:
    """Names of the curves that are drawn: the training loss, and the validation score."""
    return [name for name in (LEARNED, "validation") if name in record.curves]


def curve_title(record: Record, name: str) -> tuple[str, str]:
    """What a curve of the log is: a title, and a sentence."""
    if name == "validation":
        score = name_of(record.metric, record.config)
        best = (
            ""
            if record.result is None
            else f" The best learner is that of meta-step {record.result['best_meta_step']}."
        )
        return f"Validation: {score}", f"On tasks that are not trained on, after the last inner step.{best}"
    every = record.config["training"].get("log_every")
    mean = f", mean of {plural(every, 'meta-step')} each" if every else ""
    return "Training: loss", f"On the query sets of training tasks{mean}."


def _curve_figure(record: Record, name: str) -> Child:
    curve, (title, about) = record.curves[name], curve_title(record, name)
    curves = {"score" if name == "validation" else "after adaptation": curve}
    if name == LEARNED and BEFORE in record.curves:
        curves["before"] = record.curves[BEFORE]
    lines = [Line(of, each.steps, each.values) for of, each in curves.items()]
    picture = line_chart(title, about, lines, "meta-step", title.partition(": ")[2])
    return figure(picture, title, about, folded("Its numbers", _thinned(title, curves)))


def _thinned(title: str, curves: Mapping[str, Curve]) -> Child:
    """A table of some of the numbers of curves that have the same steps."""
    steps = next(iter(curves.values())).steps
    few = np.unique(np.linspace(0, len(steps) - 1, min(MOST_LINES, len(steps))).astype(int))
    rows = [[str(steps[i]), *(number(float(curve.values[i])) for curve in curves.values())] for i in few]
    some = f" ({len(few)} of {len(steps)} lines of the log)" if len(few) < len(steps) else ""
    return table(title + some, ["meta-step", *curves], rows)


def _steps(record: Record, test: Estimate) -> Iterator[Child]:
    name, steps = name_of(test.metric, record.config), np.arange(test.scores.shape[1])
    mean, half = test.mean, test.ci95
    about = (
        f"Mean over {plural(test.num_tasks, 'test task')} before the first inner step and after each, with 95 % "
        f"intervals; training took {plural(len(steps) - 1, 'step')}."
    )
    lines = [Line("mean", steps, mean, mean - half, mean + half), Line("median", steps, test.median)]
    picture = line_chart(f"{name} over inner steps", about, lines, "inner step", name)
    titles = ["inner step", "mean ± 95 %", "median", "diverged"]
    rows = [
        [str(step), plus_minus(float(mean[step]), float(half[step]), test.metric),
         plus_minus(float(test.median[step]), np.nan, test.metric), percent(float(test.diverged[step]), 1)]
        for step in steps
    ]  # fmt: skip
    numbers = table(f"{name} over inner steps on {plural(test.num_tasks, 'test task')}", titles, rows)
    yield element("div", figure(picture, name.capitalize(), about), element("div", numbers), class_="beside")
    others = [metric for metric in test.each if metric not in (test.metric, LOSS)]
    if others:
        rows = []
        for metric in others:
            other = test.of(metric)
            halves = zip(other.mean, other.ci95, strict=True)
            rows.append([metric, *(plus_minus(float(m), float(h), metric) for m, h in halves)])
        yield table(
            "Other scores that were measured, mean ± 95 %; they chose nothing",
            ["score", *(f"after {step}" for step in steps)],
            rows,
        )


def _histogram(record: Record, test: Estimate) -> Iterator[Child]:
    name, every = name_of(test.metric, record.config), np.ma.compressed(np.ma.asarray(test.final_scores))
    scores = every[np.isfinite(every)]
    if len(scores) < 2:
        yield element("p", "Fewer than two test tasks have a finite score; there is no distribution to draw.")
        return
    top = float(np.quantile(scores, SHOWN))
    far = scores.max() > top + 2 * (top - scores.min())
    shown = scores[scores <= top] if far else scores
    counts, edges = np.histogram(shown, bin_edges(shown, BINS))
    marked = [("mean", float(every.mean())), ("median", float(np.median(every)))]
    about = f"Scores of {plural(len(shown), 'test task')} of {len(every)} after the last inner step."
    if far:
        about += f" {plural(len(scores) - len(shown), 'task')} beyond {number(top)} are not drawn."
    if len(scores) < len(every):
        about += f" {plural(len(every) - len(scores), 'task')} have no finite score."
    if edges[0] == edges[-1]:
        edges = edges + np.linspace(-0.5, 0.5, len(edges))
    picture = bar_chart(
        "How test tasks differ",
        about,
        edges,
        counts,
        name,
        Axis(0, float(counts.max()) * 1.05, "tasks", whole=True),
        marked,
    )
    rows = [
        [f"{number(a)} to {number(b)}", str(count)]
        for a, b, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    ]
    order = np.argsort(scores)
    places = np.flatnonzero(np.isfinite(np.ma.filled(np.ma.asarray(test.final_scores), np.nan)))
    ends = table(
        "Tasks with the least and the largest scores",
        ["test task", name],
        [[str(places[i]), number(float(scores[i]))] for i in (*order[:3], *order[-3:])] if len(order) > 5 else
        [[str(places[i]), number(float(scores[i]))] for i in order],
    )  # fmt: skip
    more = folded("Its numbers", table("Number of test tasks by score", [name, "tasks"], rows))
    yield element("div", figure(picture, "How test tasks differ", about, more), element("div", ends), class_="beside")
    diverged = round(float(test.diverged[-1]) * test.num_tasks)
    yield element(
        "p", f"{plural(diverged, 'task')} diverged (not finite, or the loss became {DIVERGED:g} times as large)."
    )


def _masks(record: Record, learner: Learner | None) -> Iterator[Child]:
    if learner is None:
        yield element("p", "The learner cannot be read; what moves is not known here.")
        return
    layers = {layer.name: layer for layer in learner.inner.layers}
    chances = learner.method.rule.probabilities(learner.inner.layers, learner.meta.rule)
    if not chances:
        moved = listed(list(layers), MOST_LAYERS)
        yield element("p", f"{learner.method.name.replace('_', '-')} has no masks: a task moves all units of {moved}.")
        return
    drawn_layers, left = list(chances.items())[:MOST_LAYERS], len(chances) - MOST_LAYERS
    yield element(
        "p", "The learned probability that a task moves each unit, in the best learner. "
        "0.5 is where training began for masks of units; 0 means never, 1 always.",
    )  # fmt: skip
    yield element("div", [_mask(name, np.asarray(each)) for name, each in drawn_layers], class_="charts")
    if left > 0:
        yield element("p", f"{plural(left, 'more layer')} are in the table.")
    rows = [
        [name, str(np.size(each)), f"{np.mean(each):.3f}", f"{np.min(each):.3f}", f"{np.max(each):.3f}"]
        for name, each in chances.items()
    ]
    titles = ["layer", "units or elements", "mean probability", "least", "largest"]
    yield table("How likely a task is to move the units of each layer", titles, rows)
    if record.moving:
        about = "Mean probability over the units of each layer, as the log holds it; not of each unit alone."
        lines = [Line(name, curve.steps, curve.values) for name, curve in record.moving.items()]
        picture = line_chart("Share of units that move", about, lines[:MOST_LAYERS], "meta-step", "share", ends=SHARES)
        numbers = folded("Its numbers", _thinned("Share of units that move", record.moving))
        yield element("div", figure(picture, "Over training", about, numbers), class_="charts")


def masks_in_words(chances: np.ndarray) -> str:
    """How many units are likely to move, `[units]`, or not to; nothing of those near one half."""
    more, less = (chances > 0.5 + UNDECIDED).sum(), (chances < 0.5 - UNDECIDED).sum()
    if not more + less:
        ends = f"{chances.min():.2f} to {chances.max():.2f}"
        return f"None of {plural(len(chances), 'unit')} is told apart yet ({ends})."
    near = len(chances) - more - less
    told = f"{plural(len(chances), 'unit')}: {more} more likely to move than not, {less} less"
    return told + (f", {near} not told apart yet." if near else ".")


def _mask(name: str, chances: np.ndarray) -> Child:
    """The bars of a layer."""
    every = chances.ravel()
    many = len(every) > MOST_UNITS
    bars = np.sort(every)[np.linspace(0, len(every) - 1, MOST_UNITS).astype(int)] if many else every
    x = "units or elements, sorted, in per cent" if many else "unit"
    edges = np.linspace(0, 100, len(bars) + 1) if many else np.arange(len(bars) + 1) - 0.5
    about = masks_in_words(every)
    axis = Axis(*SHARES, "probability")
    return figure(bar_chart(f"Units of {name} that move", about, edges, bars, x, axis, whole=not many), name, about)


def _spectra(spectra: Mapping[str, np.ndarray]) -> Iterator[Child]:
    about = (
        "Singular values of the T of each layer, from the largest. All were 1 at the start; the square of one is the "
        "factor on α in its direction."
    )
    shown = dict(list(spectra.items())[:MOST_LAYERS])
    lines = [Line(name, np.arange(1, len(s) + 1), s) for name, s in shown.items()]
    picture = line_chart("Singular values of T", about, lines, "number of the singular value", "singular value")
    rows = [
        [name, str(len(s)), number(float(s[0])), number(float(s[-1])), number(float(s[0] / max(s[-1], 1e-30))),
         number(float((s**2).mean()))]
        for name, s in spectra.items()
    ]  # fmt: skip
    titles = ["layer", "values", "largest", "least", "condition number", "mean factor on α"]
    numbers = table("Metrics T", titles, rows)
    yield element("div", figure(picture, "Singular values of T", about), element("div", numbers), class_="beside")


def _examples(learner: Learner | None, shown: Sequence[Example], why_not: str) -> Iterator[Child]:
    if not shown or learner is None:
        yield element("p", why_not or "Tasks of this form are not shown.")
        return
    yield element(
        "p",
        "Three of the test tasks: the worst, the median and the best by their final score. The worst and the best are "
        "extremes of many; the median is what to expect.",
    )
    kinds = [drawn(learner, example) for example in shown]
    curves = shown[0].grid is not None
    yield element("div", kinds, class_="charts" if curves else None)


def _again(record: Record) -> Iterator[Child]:
    config = record.config
    own = [
        what
        for what, is_own in {
            "tasks": record.family not in FAMILIES,
            "a network": not config.get("model"),
            "an optimiser": config.get("optimiser", "adam") != "adam",
            "a method": config["method"].get("name") not in METHODS,
        }.items()
        if is_own
    ]
    if own:
        yield element("p", f"The run has {listed(own)} of your own; call meta_train again in Python, as you did.")
        return
    place = shlex.quote(str(record.path / CONFIG))
    yield element(
        "pre", element("code", f"mtnets train {record.family} --config {place} --out NEW_FOLDER"), tabindex="0"
    )
    yield element(
        "p", "On the same machine, versions and number of devices it gives the same numbers, bit for bit. In Python: ",
        element("code", f"mtnets.load({str(record.path)!r})"), " is the learner.",
    )  # fmt: skip


def _machine(record: Record) -> Iterator[Child]:
    pairs: list[tuple[str, Child]] = [("folder", element("code", str(record.path)))]
    if record.result is not None:
        result = record.result
        speed, steps, compiling = (result[n] for n in ("seconds_per_meta_step", "meta_steps", "compile_seconds"))
        if None not in (speed, steps, compiling):
            told = f"{speed * steps:.1f} s of meta-steps ({speed * 1000:.3g} ms each), "
            pairs.append(("time", f"{told}{compiling:.1f} s of compilation"))
        if (memory := result["peak_memory_bytes"]) is not None:
            pairs.append(("most memory", f"{memory / 2**20:,.0f} MiB"))
        pairs += [(str(name).replace("_", " "), str(value)) for name, value in (result["machine"] or {}).items()]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("mtnets", "jax", "optax", "numpy"))
    pairs.append(("this page was written with", versions))
    yield terms(pairs)
