"""A task seen step by step: the network before the first inner step and after each, and which units moved."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mtnets.compilation import compiled
from mtnets.errors import MtnetsError
from mtnets.inner import Batch, Inner, Learned, adapt
from mtnets.learner import AdaptedModel, Learner
from mtnets.learner.compiled import predict_each
from mtnets.serving.work import Predicting, attempted
from mtnets.trees import leaves_by_path


class Path(NamedTuple):
    """What a task did to the network.

    Attributes:
      outputs: before the first inner step and after each, `[steps + 1, examples, outputs]`, as `Predicting` gives them.
      moved: how far the units of each layer moved, `[units]` by name.
    """

    outputs: list[NDArray[Any]]
    moved: dict[str, NDArray[Any]]


@compiled(static=1)
def networks(inner: Inner, learned: Learned, support: Batch, key: Array) -> Any:
    """Parameters and state, `[steps + 1, ...]`."""
    return adapt(inner, learned, support, key, probe=lambda params, state, seen: (params, state)).probed


@dataclasses.dataclass(frozen=True, eq=False)
class Stepping:
    """Inputs to predict after each inner step, from where the learner starts. Each runs by itself.

    Attributes:
      learner: that learned the task.
      support: the examples of the task.
      predicting: the adapted model, and the inputs.
    """

    kind = "steps"

    learner: Learner
    support: Batch
    predicting: Predicting

    @property
    def alike(self) -> Hashable:
        """Only itself."""
        return self.kind, id(self)

    @classmethod
    def run(cls, works: Sequence["Stepping"]) -> list[Path | MtnetsError]:
        """The path of each."""
        return [attempted(work.alone) for work in works]

    def alone(self) -> Path:
        """The path of the task."""
        work, learner = self.predicting, self.learner
        ways = None if self.support.outputs is None or not learner.any_ways else len(self.support.outputs)
        inner = learner.inner_of(self.support.size, work.model.inner_steps, ways)
        params, state = jax.device_get(networks(inner, learner.learned, self.support, jax.random.key(0)))
        x = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (inner.steps + 1, *leaf.shape)), work.x)
        outputs = np.asarray(predict_each(learner.model, params, state, x))
        return Path([work.outputs(each[: work.count]) for each in outputs], moved(work.model, params))


def moved(model: AdaptedModel, params: Any) -> dict[str, NDArray[Any]]:
    """How far the units of each layer moved: the length of the change of a unit's weights, as a share of the mean
    length of the weights of a unit.

    Args:
      model: whose layers are meant.
      params: of the network by step, `[steps + 1, ...]`.
    """
    leaves = leaves_by_path(params)
    result = {}
    for layer in model.model.layers:
        weight = np.asarray(leaves[layer.weight], np.float64)
        inputs = tuple(axis for axis in range(weight.ndim - 1) if axis not in layer.out_axes)
        first, last = weight[0], weight[-1]
        length = np.sqrt((first**2).sum(inputs)).mean()  # of one unit it may be nearly 0
        change = np.sqrt(((last - first) ** 2).sum(inputs))
        units = change / (length or 1.0)
        used = None if model.used is None or layer is not model.model.layers[-1] else np.asarray(model.used)
        result[layer.name] = units.ravel() if used is None or used.shape != units.shape else units[used]
    return result
