"""From files to predictions: a learner adapts to the examples of one file or folder and predicts those of another."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtnets.errors import DataError, OptionError
from mtnets.files import replacing
from mtnets.learner.learner import Learner
from mtnets.tasks.families.table import read_table, rows_by_task
from mtnets.tasks.inputs.images import Images, read_folder, read_query
from mtnets.tasks.inputs.table_inputs import Columnar, Columns, as_text, is_missing, listed, to_numbers


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A table of predictions; printed, it is CSV.

    Attributes:
      titles: of its columns.
      rows: its cells.
      score: how good they are, in words, where the truth is known.
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

    def save(self, path: str | Path) -> None:
        """Writes it as a CSV file, whole or not at all."""
        with replacing(path) as file:
            file.write(str(self).encode())


def predict_files(
    learner: Learner, support: str | Path, query: str | Path, *, inner_steps: int | None = None
) -> Predictions:
    """Adapts a learner to the examples of some files and predicts those of others.

    Args:
      learner: of images or of tables.
      support: folder of class folders of images; or a table with the target column.
      query: image, folder of images, or of class folders; or a table.
      inner_steps: gradient steps; those of training unless given.

    Raises:
      OptionError: for a learner of neither, or more classes than it tells apart.
      DataError: for files that cannot be read or do not fit the learner.
    """
    if isinstance(learner.inputs, Columns):
        return _rows(learner, learner.inputs, read_table(support), read_table(query), inner_steps)
    if isinstance(learner.inputs, Images):
        return _images(learner, learner.inputs, support, query, inner_steps)
    raise OptionError("This learner takes neither images nor tables; adapt it in Python: learner.adapt(x, y).")


def _images(
    learner: Learner, images: Images, support: str | Path, query: str | Path, inner_steps: int | None
) -> Predictions:
    classes = read_folder(support, images)
    names = list(classes)
    if len(names) > learner.outputs:
        raise OptionError(
            f"{support} has {len(names)} classes and this learner tells {learner.outputs} apart; remove some or train "
            f"with --ways {len(names)}."
        )
    queries, pixels = read_query(query, images)
    labels = np.concatenate([np.full(len(examples), i) for i, (_, examples) in enumerate(classes.values())])
    examples = np.concatenate([examples for _, examples in classes.values()])
    model = learner.adapt(examples, labels, inner_steps=inner_steps)
    probabilities = np.asarray(model.probabilities(pixels))[:, : len(names)]
    predictions = [names[i] for i in probabilities.argmax(1)]
    known = [p == true for (_, true), p in zip(queries, predictions, strict=True) if true in names]
    rows = [
        [path, prediction, *(f"{p:.6f}" for p in row)]
        for (path, _), prediction, row in zip(queries, predictions, probabilities, strict=True)
    ]
    score = f"accuracy {np.mean(known):.4f} on {len(known)} images of known class" if known else ""
    return Predictions(("path", "prediction", *(f"probability_{name}" for name in names)), rows, score)


def _rows(
    learner: Learner, columns: Columns, support: Columnar, query: Columnar, inner_steps: int | None
) -> Predictions:
    by_task = columns.task in support
    if by_task and columns.task not in query:
        raise DataError(
            f"The support has the task column {columns.task} and the query has not; add it there, or leave it out of "
            "the support where all rows are of one task."
        )
    asked, given = (
        rows_by_task(table, columns.task) if by_task else {"": np.arange(len(next(iter(table.values()))))}
        for table in (query, support)
    )
    count = sum(len(places) for places in asked.values())
    if count == 0 or count < len(next(iter(query.values()))):
        raise DataError(
            f"The query has {len(next(iter(query.values())))} rows, {count} of them with a task in column "
            f"{columns.task}; it needs at least one, and a task in each."
        )
    unknown = [name for name in asked if name not in given]
    if unknown:
        raise DataError(
            f"The support has no rows of task {listed(unknown)}; add some, or leave those out of the query."
        )
    rows, misses = [], []
    truth = query.get(columns.target.name)
    if truth is not None and not columns.classes:
        truth = to_numbers(columns.target.name, truth)
    for name, places in asked.items():
        model = learner.adapt({title: cells[given[name]] for title, cells in support.items()}, inner_steps=inner_steps)
        outputs = np.asarray(model({title: cells[places] for title, cells in query.items()}))
        shares = np.asarray(jax.nn.softmax(outputs)) if columns.classes else outputs[:, :0]
        for row, output, share in zip(places, outputs, shares, strict=True):
            prediction = columns.classes[int(output.argmax())] if columns.classes else f"{output[0]:.6g}"
            rows.append([*([name] if by_task else []), row, prediction, *(f"{p:.6f}" for p in share)])
            if truth is not None and not is_missing(truth[row]):
                right = as_text(truth[row]) == prediction
                misses.append(float(right) if columns.classes else abs(float(truth[row]) - float(output[0])))
    rows.sort(key=lambda row: row[by_task])  # as in the query
    score = "accuracy" if columns.classes else "mean absolute error"
    known = f"{score} {np.mean(misses):.4f} on {len(misses)} rows of known {columns.target.name}" if misses else ""
    titles = (*([columns.task] if by_task else []), "row", "prediction", *(f"probability_{c}" for c in columns.classes))
    return Predictions(titles, rows, known)
