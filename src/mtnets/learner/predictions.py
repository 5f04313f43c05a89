"""From files to predictions: a learner adapts to the examples of one file or folder and predicts those of another."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import OptionError
from mtnets.files import replacing
from mtnets.learner.learner import Learner
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


def predict_files(
    learner: Learner, support: str | Path, query: str | Path, *, inner_steps: int | None = None
) -> Predictions:
    """Adapts a learner to the examples of some files and predicts those of others.

    Args:
      learner: a learner of images or of tables.
      support: folder of class folders of images; or a table with the target column.
      query: image, folder of images, or of class folders; or a table.
      inner_steps: gradient steps. Defaults to those of training.

    Raises:
      OptionError: for a learner of neither, or more classes than it tells apart.
      DataError: for files that cannot be read or do not fit the learner.
    """
    files = learner.inputs.read_tasks(support, query)
    ways = len(files.classes)
    if ways > learner.outputs:
        raise OptionError(
            f"{support} has {ways} classes and this learner tells {learner.outputs} apart; remove some, or train a "
            f"learner that tells more apart: `mtnets train FAMILY --ways {ways}`."
        )
    answers = np.empty((len(files.queries), ways or learner.outputs))
    for task in files.tasks:
        model = learner.adapt(task.x, task.y, inner_steps=inner_steps)
        answers[task.places] = model.probabilities(task.query)[:, :ways] if ways else model(task.query)
    return _of_classes(files, answers) if ways else _of_numbers(files, answers)


def _of_classes(files: FileTasks, probabilities: NDArray[np.float64]) -> Predictions:
    predictions = [files.classes[best] for best in probabilities.argmax(1)]
    right = [p == true for p, true in zip(predictions, files.truth, strict=True) if true is not None]
    rows = [
        [*query, prediction, *(f"{share:.6f}" for share in shares)]
        for query, prediction, shares in zip(files.queries, predictions, probabilities, strict=True)
    ]
    titles = (*files.titles, "prediction", *(f"probability_{name}" for name in files.classes))
    return Predictions(titles, rows, _score("accuracy", right, files.known))


def _of_numbers(files: FileTasks, outputs: NDArray[np.float64]) -> Predictions:
    predictions = outputs[:, 0]
    errors = [abs(p - true) for p, true in zip(predictions, files.truth, strict=True) if true is not None]
    rows = [[*query, f"{prediction:.6g}"] for query, prediction in zip(files.queries, predictions, strict=True)]
    return Predictions((*files.titles, "prediction"), rows, _score("mean absolute error", errors, files.known))


def _score(name: str, values: Sequence[float], known: str) -> str:
    return f"{name} {np.mean(values):.4f} on {len(values)} {known}" if values else ""
