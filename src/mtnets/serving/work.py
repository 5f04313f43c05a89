"""What requests ask of the device. Works that are alike run as one compiled call, which pads them to a few sizes."""

import dataclasses
import functools
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mtnets.errors import MtnetsError, OptionError, RunError
from mtnets.inner import Batch
from mtnets.learner import AdaptedModel, Learner
from mtnets.learner.compiled import predict_each
from mtnets.learner.data import check_predictions, to_queries
from mtnets.learner.meeting import check_weighs
from mtnets.tasks import Inputs


class Work(Protocol):
    """Something that can be done together with others of its kind."""

    kind: str

    @property
    def alike(self) -> Hashable:
        """Equal for works that one call can do."""
        ...

    @classmethod
    def run(cls, works: Sequence[Any]) -> list[Any]:
        """The result of each of some works that are alike; an error in the place of one that failed."""
        ...


def power_of_two(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


@functools.lru_cache(maxsize=64)
def weighs(learner: Learner) -> bool:
    """Whether examples of weight 0 count for nothing, for the network too."""
    if learner.view.size is not None or learner.model.norm not in ("none", "support"):
        return False  # a step would see another part of the support set; statistics are of all examples
    x = jax.tree.map(lambda like: np.zeros((2, *like.shape), like.dtype), learner.model.inputs)
    try:
        check_weighs(learner.model, Batch(x, None, np.ones(2, np.float32)), "")  # type: ignore[arg-type]
    except OptionError:  # batch norm of another library, which does not ask for weights
        return False
    return True


def padded(learner: Learner, support: Batch) -> Batch:
    """A support set filled up to the next power of two with examples of weight 0, where these count for nothing."""
    if not weighs(learner):
        return learner.padded(support)
    count, size = support.size, power_of_two(support.size)
    weights = np.ones(count, np.float32) if support.weights is None else np.asarray(support.weights)
    places = np.arange(size)
    filled = jax.tree.map(np.asarray, support._replace(weights=weights)).take(places % count)
    return filled._replace(weights=np.where(places < count, filled.weights, np.float32(0)))


def shapes(tree: Any) -> Hashable:
    """Structure, shapes and types of some arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((np.shape(leaf), np.dtype(leaf.dtype).str) for leaf in leaves)


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of arrays as one, by NumPy: JAX would compile for this many."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)


def attempted(function: Any, *args: Any, **kwargs: Any) -> Any:
    """The result of a call, or its error, if that is one which a user can mend."""
    try:
        return function(*args, **kwargs)
    except MtnetsError as error:
        return error


@dataclasses.dataclass(frozen=True, eq=False)
class Adapting:
    """A task to learn.

    Attributes:
      learner: that learns it.
      support: its examples, padded.
      inputs: how the adapted model converts raw data.
      inner_steps: gradient steps; None for those of training.
    """

    kind = "adapt"

    learner: Learner
    support: Batch
    inputs: Inputs
    inner_steps: int | None = None

    @classmethod
    def of(
        cls, learner: Learner, x: Any, y: Any, inner_steps: int | None = None, inputs: Inputs | None = None
    ) -> "Adapting":
        """Raw examples, as `learner.adapt` takes them, read by the inputs of a task or, by default, by their own.
        Raises DataError as that does."""
        x = learner.inputs.collected(x)
        y = learner.inputs.target_of(x) if y is None else y
        inputs = learner.inputs.for_task(x, y) if inputs is None else inputs
        return cls(learner, padded(learner, learner.batch(x, y, inputs)), inputs, inner_steps)

    @property
    def alike(self) -> Hashable:
        """Learner, steps and shapes."""
        return self.kind, id(self.learner), self.inner_steps, shapes(self.support)

    @classmethod
    def run(cls, works: Sequence["Adapting"]) -> list[AdaptedModel | MtnetsError]:
        """The adapted models, those that `learner.adapt` gives but for rounding."""
        if len(works) == 1:
            return [attempted(works[0].alone)]
        learner, count = works[0].learner, power_of_two(len(works))
        filled = [works[i % len(works)] for i in range(count)]
        keys = jnp.broadcast_to(jax.random.key(0), (count,))  # that of `learner.adapt`
        inputs = tuple(work.inputs for work in filled)
        try:
            models = learner.adapt_batches(
                stacked([work.support for work in filled]), keys, inputs, inner_steps=works[0].inner_steps
            )
        except RunError:  # of one of them
            return [attempted(work.alone) for work in works]
        fields = ("params", "state", "moved", "used")
        arrays = jax.device_get({name: getattr(models, name) for name in fields})  # parts of which cost nothing
        models = dataclasses.replace(models, **arrays)
        return [models[i] for i in range(len(works))]

    def alone(self) -> AdaptedModel:
        """The adapted model."""
        model = self.learner.adapt_batch(self.support, self.inputs, inner_steps=self.inner_steps)
        return in_memory(model)


@dataclasses.dataclass(frozen=True, eq=False)
class Updating:
    """A task that goes on from where it is, with all its examples. Each runs by itself.

    Attributes:
      model: the task as it is.
      x, y: raw examples, old and new.
    """

    kind = "update"

    model: AdaptedModel
    x: Any
    y: Any

    @property
    def alike(self) -> Hashable:
        """Only itself."""
        return self.kind, id(self)

    @classmethod
    def run(cls, works: Sequence["Updating"]) -> list[AdaptedModel | MtnetsError]:
        """The models after their updates."""
        return [attempted(lambda work=work: in_memory(work.model.update(work.x, work.y))) for work in works]


@dataclasses.dataclass(frozen=True, eq=False)
class Predicting:
    """Inputs to predict.

    Attributes:
      model: that predicts them.
      x: inputs of its network, padded.
      count: how many there are without padding.
    """

    kind = "predict"

    model: AdaptedModel
    x: Any
    count: int

    @classmethod
    def of(cls, model: AdaptedModel, x: Any) -> "Predicting":
        """Raw inputs, as the model takes them. Raises DataError as that does."""
        x = model.inputs.collected(x)
        inputs, count = to_queries(model.model, x, model.inputs, "x")
        size = len(jax.tree.leaves(inputs)[0])
        if model.model.norm != "transductive":  # where predictions depend on their neighbours
            size = power_of_two(count)
        return cls(model, jax.tree.map(lambda leaf: np.asarray(leaf)[np.arange(size) % count], inputs), count)

    @property
    def alike(self) -> Hashable:
        """Network and shapes."""
        model = self.model
        return self.kind, id(model.learner), shapes((model.params, model.state)), shapes(self.x)

    @classmethod
    def run(cls, works: Sequence["Predicting"]) -> list[NDArray[Any] | MtnetsError]:
        """Outputs in units of the targets, `[examples, outputs]`; logits of unused outputs are −∞."""
        filled = [works[i % len(works)] for i in range(power_of_two(len(works)))]
        params, state, x = stacked([(work.model.params, work.model.state, work.x) for work in filled])
        outputs = np.asarray(predict_each(works[0].model.model, params, state, x))
        return [attempted(work.outputs, outputs[i, : work.count]) for i, work in enumerate(works)]

    def outputs(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Outputs of the network `[examples, outputs]` in units of the targets. Raises DataError unless finite."""
        model = self.model
        assert model.loss is not None
        numbers = np.asarray(model.loss.unscaled(raw, model.inputs.unscale))
        check_predictions(numbers, jax.tree.map(lambda leaf: leaf[: self.count], self.x), logits=model.loss.labels)
        return numbers if model.used is None else np.where(np.asarray(model.used), numbers, -np.inf)


def in_memory(model: AdaptedModel) -> AdaptedModel:
    """The same with arrays of NumPy, which are stacked without a copy from the device."""
    params, state, moved, used = jax.device_get((model.params, model.state, model.moved, model.used))
    return dataclasses.replace(model, params=params, state=state, moved=moved, used=used)


__all__ = ["Adapting", "Predicting", "Updating", "Work", "padded", "power_of_two"]
