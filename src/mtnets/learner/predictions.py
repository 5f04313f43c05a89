"""From files to predictions: a learner adapts to the examples of one file or folder and predicts those of another."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.arguments import Coverage, Steps, checked_arguments
from mtnets.errors import OptionError
from mtnets.files import replacing
from mtnets.inner import Distribution
from mtnets.learner.adapted import AdaptedModel
from mtnets.learner.adapted_ensemble import AdaptedEnsemble
from mtnets.learner.conformal import conformal
from mtnets.learner.learner import Learner, Masks
from mtnets.tasks import Family
from mtnets.tasks.inputs import FileTasks


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A table of predictions; printed, it is CSV.

    Attributes:
      titles: of its columns.
      rows: its cells.
      score: a sentence that tells how good they are, where the truth is known.
    """

    titles: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    score: str = ""

    def __str__(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.titles)
        writer.writerows(self.rows)
        return text.getvalue()

    def __bytes__(self) -> bytes:
        """UTF-8; names of files that are no text keep the bytes that they have."""
        try:
            return str(self).encode(errors="surrogateescape")
        except UnicodeEncodeError:  # half a character, which a file name cannot have
            return str(self).encode(errors="backslashreplace")

    def save(self, path: str | Path) -> None:
        """Writes it as a CSV file, whole or not at all."""
        with replacing(path) as file:
            file.write(bytes(self))


@checked_arguments
def predict_files(
    learner: Learner,
    support: str | Path,
    query: str | Path,
    *,
    inner_steps: Steps | None = None,
    masks: Masks | None = None,
    interval: Coverage | None = None,
    calibrate: Family | Distribution | None = None,
) -> Predictions:
    """Adapts a learner to the examples of some files and predicts those of others.

    Args:
      learner: a learner of images or of tables.
      support: folder of class folders of images; or a table with the target column.
      query: image, folder of images, or of class folders; or a table.
      inner_steps: gradient steps. Defaults to those of training.
      masks: with how many masks each task is learned, for methods that draw some. Defaults to one.
      interval: the share of targets that intervals of numbers are to cover: those that the loss predicts, or that the
        masks spread. Defaults to none.
      calibrate: tasks whose validation part says how wide intervals must be (`mtnets.conformal`), for any loss.

    Raises:
      OptionError: for a learner of neither, more classes than it tells apart, or intervals that it does not have.
      DataError: for files that cannot be read or do not fit the learner.
    """
    if interval is not None and learner.loss.labels:
        raise OptionError(
            f"interval is {interval}, and this learner predicts classes, which have none; leave it out: each class has "
            "its probability."
        )
    if interval is None and calibrate is not None:
        raise OptionError("calibrate is given without an interval; say which share is to be covered: interval=0.9.")
    files = learner.inputs.read_tasks(support, query)
    fit = None
    if interval is not None and calibrate is not None:
        fit = conformal(learner, calibrate, coverage=interval, inner_steps=inner_steps, masks=masks)
    ways = len(files.classes)
    if ways > learner.outputs:
        raise OptionError(
            f"{support} has {ways} classes and this learner tells {learner.outputs} apart; remove some, or train a "
            f"learner that tells more apart: `mtnets train FAMILY --ways {ways}`."
        )
    answers = np.empty((len(files.queries), ways or learner.outputs))
    ends = np.empty((len(files.queries), 0 if interval is None else 2))
    models = []
    for task in files.tasks:
        model: AdaptedModel | AdaptedEnsemble = learner.adapt(task.x, task.y, inner_steps=inner_steps, masks=masks)  # type: ignore[call-overload]
        answers[task.places] = model.probabilities(task.query)[:, :ways] if ways else model(task.query)
        if interval is not None:
            low, high = model.interval(task.query, interval) if fit is None else fit.ends(model, task.query)
            models.append(model)
            ends[task.places] = np.stack([low[:, 0], high[:, 0]], axis=1)
    if fit is not None:
        fit.warn_of_sizes(models)  # once for all tasks
    return _of_classes(files, answers) if ways else _of_numbers(files, learner.loss.point(answers)[:, 0], ends)


def _of_classes(files: FileTasks, probabilities: NDArray[np.float64]) -> Predictions:
    predictions = [files.classes[best] for best in probabilities.argmax(1)]
    right = [p == true for p, true in zip(predictions, files.truth, strict=True) if true is not None]
    rows = [
        [*query, prediction, *(f"{share:.6f}" for share in shares)]
        for query, prediction, shares in zip(files.queries, predictions, probabilities, strict=True)
    ]
    titles = (*files.titles, "prediction", *(f"probability_{name}" for name in files.classes))
    return Predictions(titles, rows, _score("accuracy", right, files.known))


def _of_numbers(files: FileTasks, predictions: NDArray[np.float64], ends: NDArray[np.float64]) -> Predictions:
    errors = [abs(p - true) for p, true in zip(predictions, files.truth, strict=True) if true is not None]
    rows = [
        [*query, *(f"{number:.6g}" for number in (prediction, *both))]
        for query, prediction, both in zip(files.queries, predictions, ends, strict=True)
    ]
    titles = (*files.titles, "prediction", *("lower", "upper")[: ends.shape[1]])
    return Predictions(titles, rows, _score("mean absolute error", errors, files.known))


def _score(name: str, values: Sequence[float], known: str) -> str:
    return f"{name} {np.mean(values):.4f} on {len(values)} {known}" if values else ""
