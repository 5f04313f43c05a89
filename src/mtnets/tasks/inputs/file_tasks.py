"""Tasks that were read from files: examples to learn from, and examples to predict."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class FileTask(NamedTuple):
    """One task.

    Attributes:
      x: support examples, as `Learner.adapt` takes them.
      y: their labels; None where they are a part of x.
      query: the examples to predict.
      places: the place of each of these among the queries of all tasks, `[examples]`.
    """

    x: Any
    y: Any
    query: Any
    places: NDArray[np.intp]


class FileTasks(NamedTuple):
    """Tasks with what is needed to write their predictions into one table.

    Attributes:
      tasks: the tasks.
      titles: the titles of the columns that tell queries apart.
      queries: the cells of these columns for each query, `[queries][columns]`.
      truth: for each query its class or its number; None where it is not known.
      classes: the names of the classes, in the order of the outputs; empty in regression.
      known: what queries of known truth are, for the sentence that tells the score.
    """

    tasks: Sequence[FileTask]
    titles: tuple[str, ...]
    queries: Sequence[tuple[Any, ...]]
    truth: Sequence[Any]
    classes: tuple[str, ...]
    known: str
