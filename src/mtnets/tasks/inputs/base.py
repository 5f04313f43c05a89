"""What every kind of inputs answers: how raw data become inputs and targets of a network, and its outputs predictions.

The inputs are kept with a learner, so that data are read in use as they were in training.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from mtnets.errors import DataError, OptionError
from mtnets.tasks.inputs.file_tasks import FileTasks
from mtnets.tasks.inputs.raw_form import RawForm, as_they_are

KINDS: "dict[str, type[Inputs]]" = {}


class Usage(NamedTuple):
    """A line of example code for a learner: `model = learner.adapt(SUPPORT)  # ABOUT`, then `model(QUERY)`.

    Attributes:
      support: the arguments of `adapt`.
      query: the argument of the adapted model.
      about: what the support is.
    """

    support: str
    query: str
    about: str


class Inputs:
    """Data that are inputs of the network already. Other kinds convert them.

    Raw data pass through `prepare`, on the host, and then `scale`, which also runs in compiled and exported programs.
    A subclass is a frozen dataclass. It sets `kind`, under which its fields are saved with a learner.

    Attributes:
      kind: name in saved learners; None for this class, of which nothing is saved.
      shared_classes: whether an output means the same class in every task. Otherwise the classes of each task are
        numbered from 0, and outputs without a class in its support set are masked.
      named: whether raw data are tables with named columns; `prepare` makes rows of numbers of them.
      rows_dtype: type in which scikit-learn reads arrays for these inputs; `"numeric"` keeps that of the array.
    """

    kind: ClassVar[str | None] = None
    named: ClassVar[bool] = False
    rows_dtype: ClassVar[Any] = np.float64
    shared_classes: bool = False

    def __init_subclass__(cls) -> None:
        if cls.kind is not None:
            KINDS[cls.kind] = cls

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)  # dataclasses among the subclasses compare their fields

    def __hash__(self) -> int:
        return hash(type(self))

    # --- from raw data to a network, and back

    def for_task(self, x: Any, y: Any, weights: NDArray[np.float64] | None = None) -> "Inputs":
        """The inputs of one task, where they depend on its support set; otherwise these.

        Args:
          x: raw examples of the support set.
          y: their targets or labels.
          weights: for how many examples each counts, `[examples]`. Defaults to one.
        """
        return self

    def prepare(self, x: Any) -> np.ndarray:
        """Raw examples as an array of numbers, `[examples, ...]`.

        Raises:
          DataError: for data of another kind.
        """
        return np.asarray(x)

    def scale(self, x: Any) -> Any:
        """Inputs of the network from a prepared array (NumPy or JAX)."""
        return x

    def collected(self, x: Any) -> Any:
        """Raw examples in memory, where a query may compute them and give others the next time."""
        return x

    def target_of(self, x: Any) -> Any:
        """The targets among the raw examples.

        Raises:
          DataError: where there are none.
        """
        raise DataError("y is None; pass the targets of the examples: adapt(x, y).")

    def prepare_targets(self, y: Any) -> np.ndarray:
        """Targets of the network `[examples, outputs]`, or labels `[examples]`.

        Raises:
          DataError: for a class that training did not have, or targets of another kind.
        """
        return np.asarray(y)

    def unscale(self, prediction: ArrayLike) -> Any:
        """Predictions in units of the targets, from outputs of the network `[..., outputs]`."""
        return prediction

    def raw_form(self, like: Any) -> RawForm:
        """How an exported program takes raw examples.

        Args:
          like: shapes and types of one input of the network, or of several.
        """
        return as_they_are(like)

    def check_single_precision(self) -> None:
        """Raises OptionError for raw numbers that single precision, in which exported programs take them, cannot tell
        apart."""

    def check_network(self, input_shape: tuple[int, ...], outputs: int) -> None:
        """Raises DataError for a network of these inputs and outputs to which raw data cannot be converted."""

    # --- where data come from

    def read_tasks(self, support: str | Path, query: str | Path) -> FileTasks:
        """Reads tasks from a file or folder of support examples and one of queries.

        Raises:
          OptionError: for a kind that no files have.
          DataError: for files that cannot be read or do not fit.
        """
        raise OptionError("This learner takes neither images nor tables; adapt it in Python: learner.adapt(x, y).")

    def from_rows(self, rows: NDArray[Any], shape: tuple[int, ...]) -> Any:
        """Raw examples from rows `[examples, numbers]`, which is how scikit-learn keeps all data.

        Args:
          rows: the numbers of each example in a row.
          shape: of one input of the network.

        Raises:
          DataError: for another number of columns than the network has inputs.
        """
        if rows.shape[1] != math.prod(shape):
            sides = " × ".join(map(str, shape))
            raise DataError(f"X has {rows.shape[1]} features; this learner needs {math.prod(shape)} ({sides}).")
        return rows.reshape(-1, *shape)

    @property
    def learned(self) -> bool:
        """Whether they hold what was learned from training tasks, such as means and classes."""
        return False

    def check_tasks(self, tasks: "Inputs") -> None:
        """Raises DataError where tasks with other inputs mean nothing to a learner with these.

        Tasks whose numbers come as they are give raw data, which the learner reads.
        """
        if self != tasks and (self.learned or tasks.learned):
            raise DataError(
                "The table has changed since training, or is another one: its columns, their means or its classes are "
                "not those that the learner keeps. Name the file as it was, or adapt to new rows: learner.adapt(rows)."
            )
        if self.kind != tasks.kind and None not in (self.kind, tasks.kind):
            raise DataError(
                f"The tasks have {tasks.describe()}, and the learner takes {self.describe()}; evaluate it on tasks "
                "like those of its training."
            )

    # --- for people and files

    def describe(self) -> str:
        """The raw data that a learner with these inputs takes, for its model card."""
        return "arrays of numbers, as the network takes them"

    def usage(self, shape: tuple[int, ...], targets: str) -> Usage:
        """Example code for a learner with these inputs.

        Args:
          shape: of one input of the network.
          targets: what targets or labels are.
        """
        return Usage("x_support, y_support", "x_query", f"[{', '.join(['examples', *map(str, shape)])}], {targets}")

    def to_json(self) -> dict[str, Any] | None:
        """As plain values, for saved learners; `inputs_from_json` reads them."""
        return None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From the values that `to_json` returns, without the kind."""
        return cls(**values)


def check_digits(name: str, mean: float, spread: float) -> None:
    """Raises OptionError for a column whose numbers single precision cannot tell apart."""
    if np.isfinite(spread) and spread <= 10 * np.finfo(np.float32).eps * abs(mean):
        raise OptionError(
            f"{name} is {mean:.4g} ± {spread:.2g}, which single precision cannot tell apart, and exported programs "
            "compute with it; subtract the mean from that column and train again."
        )


class SameClasses(Inputs):
    """The same where outputs mean the same classes in all tasks: letters of a text, parts of an image."""

    kind: ClassVar[str | None] = "same-classes"
    shared_classes = True

    def to_json(self) -> dict[str, Any] | None:
        """See `Inputs.to_json`."""
        return {"kind": self.kind}


AS_THEY_ARE = Inputs()
SAME_CLASSES = SameClasses()
