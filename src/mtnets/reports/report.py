"""`mtnets.report`: a run, or several side by side, as one page of HTML."""

import dataclasses
import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from mtnets.arguments import checked_arguments
from mtnets.errors import MtnetsError, OptionError
from mtnets.files import check_place, replacing
from mtnets.inner import Distribution
from mtnets.learner.learner import Learner, load
from mtnets.reports.elements import element
from mtnets.reports.examples import Example, examples
from mtnets.reports.page import page
from mtnets.reports.records import Record, read_record, runs_in
from mtnets.reports.sections import headline, sections, sentence
from mtnets.reports.side_by_side import side_by_side
from mtnets.tasks import Family, family_from_record

REPORT = "report.html"
MOST_RUNS = 48  # side by side; a page of more could not be read


@checked_arguments
def report(
    runs: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    tasks: Family | Distribution | None = None,
    data: str | None = None,
) -> Path:
    """Writes a report as one page of HTML, which needs nothing beside it: what was trained, how it went, how well it
    does and on which tasks, what moves, examples, and the words that it uses.

    Several runs, a folder with a folder for each seed, or that of a sweep stand side by side: their curves, scores,
    paired differences and the settings in which they differ.

    Args:
      runs: the folder of a run; or several of them, or of their seeds, or that of a sweep.
      out: the file. Defaults to report.html in the folder; of several folders it has to be named.
      tasks: what the run was trained on, for examples of its test tasks. Defaults to those on record.
      data: where the data of these are now. Defaults to where they were in training.

    Returns:
      Where the page is.

    Raises:
      OptionError: for several runs without a file.
      RunError: for a folder without a run, or one whose files are damaged.
    """
    named = [Path(runs)] if isinstance(runs, str | Path) else [Path(run) for run in runs]
    if not named:
        raise OptionError("runs is empty; name the folder of a run, or several.")
    if out is None and len(named) > 1:
        raise OptionError("out is None, and several runs have no folder in common; name a file: out='report.html'.")
    path = named[0] / REPORT if out is None else Path(out)
    check_place(path)
    folders = [folder for each in named for folder in runs_in(each, of_sweep=True)]
    records = [read_record(folder) for folder in folders]
    if len(records) > MOST_RUNS:
        raise OptionError(
            f"runs are {len(records)}, and up to {MOST_RUNS} can be read side by side; name some: mtnets report "
            f"{shlex.join(map(str, folders[:2]))} --out report.html"
        )
    if len(records) > 1:
        return _write(path, side_by_side(records))
    try:
        learner = load(folders[0])
    except MtnetsError as error:
        return _write(path, _of_run(records[0], None, [], f"The learner cannot be shown: {error}"))
    shown, why_not = _shown(records[0], learner, tasks, data)
    return _write(path, _of_run(records[0], learner, shown, why_not))


def write_report(folder: Path, learner: Learner, tasks: Family | Distribution) -> Path:
    """Writes the report of a run that has just ended into its folder."""
    # arrays of the host: those of several processes belong to all of them, and this one alone is here
    learner = dataclasses.replace(learner, learned=jax.tree.map(np.asarray, learner.learned))
    record = read_record(folder)
    shown, why_not = _shown(record, learner, tasks, None)
    return _write(folder / REPORT, _of_run(record, learner, shown, why_not))


def _shown(
    record: Record, learner: Learner, tasks: Family | Distribution | None, data: str | None
) -> tuple[list[Example], str]:
    """Examples of test tasks, or why there are none."""
    if record.test is None:
        return [], "There are no examples before the run has ended."
    try:
        if tasks is None:
            tasks = family_from_record(record.config["tasks"], data=data)
        # a metric of the user's own is with the learner, unless that was read from a file without it
        higher = record.metric == learner.criterion.best and learner.criterion.higher_is_better
        return examples(learner, tasks, record.test, higher), ""
    except MtnetsError as error:
        return [], f"There are no examples: {error}"


def _of_run(record: Record, learner: Learner | None, shown: Sequence[Example], why_not: str) -> bytes:
    head = [
        element("p", sentence(record), class_="lead"),
        element("p", element("code", str(record.path)), f" · seed {record.config['seed']}", class_="faint"),
    ]
    return page(headline(record), head, list(sections(record, learner, shown, why_not)), _foot())


def _foot() -> str:
    return f"Written by mtnets on {datetime.datetime.now().astimezone():%d %B %Y, %H:%M %Z}."


def _write(path: Path, content: bytes) -> Path:
    with replacing(path) as file:
        file.write(content)
    return path
