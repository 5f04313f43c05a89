"""How raw data become inputs and targets of a network, and its outputs predictions. Kept with a learner, so that data
are read in use as they were in training."""

from typing import Any

import numpy as np
from jax.typing import ArrayLike

from mtnets.errors import DataError


class Inputs:
    """This one leaves everything as it is: for data that are the network's inputs already. `Images` and `Columns` do
    more."""

    # Whether an output means the same class in every task. Else a task's classes are numbered anew, and outputs that
    # do not occur in its support are masked.
    shared_classes: bool = False

    def prepare(self, x: Any) -> np.ndarray:
        """Examples as an array of numbers `[examples, ...]`, in units of their own."""
        return np.asarray(x)

    def scale(self, x: Any) -> Any:
        """Inputs of the network from such an array, NumPy's or JAX's, also when compiled."""
        return x

    def target_of(self, x: Any) -> Any:
        """The targets that come with the examples. Raises DataError where there are none."""
        raise DataError("y is None; pass the targets of the examples: adapt(x, y).")

    def prepare_targets(self, y: Any) -> np.ndarray:
        """Targets of the network `[examples, outputs]`, or labels `[examples]`."""
        return np.asarray(y)

    def unscale(self, prediction: ArrayLike) -> Any:
        """Predictions in units of the targets, from outputs of the network."""
        return prediction

    def to_json(self) -> dict[str, Any] | None:
        """As it is kept with a learner."""
        return None


AS_THEY_ARE = Inputs()
