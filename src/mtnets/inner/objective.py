"""What a task is learned by and judged by: the contract of losses and of metrics.

A loss is one number per example of a prediction, or any function of the network and a batch.
"""

import abc
import contextlib
import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.errors import DataError, OptionError
from mtnets.inner.task import Batch
from mtnets.networks.model import Model
from mtnets.networks.weighing import weighing

Predict = Callable[[Any], Array]  # the network at the present weights, as a function of its inputs
Targets = Literal["numbers", "labels", "any"]


class Loss(abc.ABC):
    """What a network is judged by on a batch. A subclass is a frozen dataclass, whose fields are its options.

    Attributes:
      name: in `LOSSES`, in records and on the command line; `"custom"` for one of the user's.
      targets: what targets are: `"numbers"`, `"labels"` of classes (integers), or `"any"` arrays, which nothing but
        this loss reads.
      limits: the least and the largest number that a target may be; beyond, the loss means nothing.
    """

    name: ClassVar[str] = "custom"
    targets: ClassVar[Targets] = "any"
    limits: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    @property
    def labels(self) -> bool:
        """Whether targets are labels of classes, and outputs their logits."""
        return self.targets == "labels"

    @abc.abstractmethod
    def value(self, predict: Predict, batch: Batch, key: Array) -> Array:
        """The loss, a scalar.

        Args:
          predict: the network at the present weights: inputs `[examples, ...]` to outputs `[examples, ...]`. It may be
            called several times, and differentiated.
          batch: the examples.
          key: for whatever is random in the loss.
        """

    @property
    def outputs_per_target(self) -> int:
        """How many outputs the network must have for each number to predict."""
        return 1

    def check_limits(self, y: Any, what: str) -> None:
        """Raises DataError for targets beyond the limits; `what` has them. NaN is left to those who look for it."""
        low, high = self.limits
        beyond = y[(y < low) | (y > high)] if self.limits != Loss.limits else y[:0]
        if beyond.size:
            raise DataError(
                f"{what} the target {beyond.flat[0]:g}, and the loss {self.name} takes numbers from {low:g}"
                f"{f' to {high:g}' * (high < math.inf)}; give such numbers as they are, not standardised "
                "(scale_target=False for a table), or take another loss, such as 'mse'."
            )

    def shape_of_targets(self, outputs: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape that the targets of one example must have for outputs of a shape; None if any will do.

        Raises:
          OptionError: for outputs that the loss cannot take.
        """
        if self.targets == "any":
            return None
        if self.labels:
            return outputs[:-1]
        if outputs[-1] % self.outputs_per_target:
            raise OptionError(
                f"The network has {outputs[-1]} outputs; the loss {self.name} needs {self.outputs_per_target} for each "
                "number to predict."
            )
        return (*outputs[:-1], outputs[-1] // self.outputs_per_target)

    def point(self, outputs: Any) -> Any:
        """The one number for each target that outputs stand for, `[..., targets]`."""
        return outputs

    def interval(self, outputs: Any, coverage: float) -> tuple[Any, Any]:
        """Lower and upper ends of the central intervals that outputs stand for, `[..., targets]` each.

        Raises:
          OptionError: for a loss that says none of this coverage.
        """
        raise OptionError(f"The loss {self.name} says no intervals; train with 'gaussian' or 'quantile'.")

    def variance(self, outputs: Any) -> Any | None:
        """Variance of each target that outputs of a model say, `[..., targets]`; None for a loss that says none."""
        return None

    def mixed(self, outputs: Any) -> Any:
        """Outputs that stand for the equal mixture of several networks, `[..., outputs]`, from those of each,
        `[networks, ..., outputs]`: here the mean."""
        return np.mean(outputs, axis=0)

    def unscaled(self, outputs: Any, unscale: Callable[[Any], Any]) -> Any:
        """Outputs in units of the targets, from outputs in those of standardised targets."""
        return unscale(outputs)


class PerExample(Loss):
    """A loss that is a weighted mean over examples, of one number each."""

    @abc.abstractmethod
    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """The loss of each example, `[examples]`, for outputs `[examples, ...]`."""

    def value(self, predict: Predict, batch: Batch, key: Array) -> Array:
        """The weighted mean over the examples."""
        return batch.mean(self(predict(batch.x), batch))


class Standing(NamedTuple):
    """Where a task stands when its loss is taken.

    Attributes:
      step: inner steps taken before.
      means: of the network's weights, one for each layer that moves, `[layers]`.
    """

    step: Any
    means: Array


class LearnedLoss(PerExample):
    """A loss within a task that has meta-learned arrays of its own: an `inner_loss`. A subclass is a frozen dataclass.

    (The loss on the query set cannot be learned: it would learn to be small.) One that depends on where the task stands
    says so in `init_for` and `at`.
    """

    @abc.abstractmethod
    def init(self, key: Array) -> Any:
        """The meta-learned arrays at the start, a pytree."""

    @abc.abstractmethod
    def learned(self, arrays: Any, prediction: Array, batch: Batch) -> Array:
        """The loss of each example, `[examples]`, for outputs `[examples, ...]` and these arrays."""

    def init_for(self, key: Array, layers: int, steps: int) -> Any:
        """The arrays at the start, for so many layers that move and so many inner steps of training."""
        return self.init(key)

    def at(self, arrays: Any, standing: Standing, prediction: Array, batch: Batch) -> Array:
        """The loss of each example, `[examples]`, where a task stands."""
        return self.learned(arrays, prediction, batch)

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """The loss of each example with the arrays of the start."""
        return self.learned(self.init(fixed_key()), prediction, batch)


@dataclasses.dataclass(frozen=True, eq=False)
class WithArrays(PerExample):
    """A learned loss together with its arrays, where a task stands."""

    loss: LearnedLoss
    arrays: Any
    standing: Standing

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """The loss of each example."""
        return self.loss.at(self.arrays, self.standing, prediction, batch)


@dataclasses.dataclass(frozen=True)
class Function(PerExample):
    """A loss of the user's: `function(prediction, batch) -> [examples]`."""

    function: Callable[[Array, Batch], Array]

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """The loss of each example."""
        return self.function(prediction, batch)


@dataclasses.dataclass(frozen=True)
class Objective(Loss):
    """A loss of the user's of a more general kind: `function(predict, batch, key) -> scalar`.

    Examples of weight 0 are padding: the function has to leave them out (`batch.mean` does).
    """

    function: Callable[[Predict, Batch, Array], Array]

    def value(self, predict: Predict, batch: Batch, key: Array) -> Array:
        """What the function returns."""
        return self.function(predict, batch, key)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A score by which people compare learners.

    Attributes:
      function: `function(prediction, batch)`, which returns one number per example, `[examples]`, whose weighted mean
        is the score, or the score itself, a scalar; or `function(predict, batch, key)`, a scalar, which has the network
        as `Objective` has. JAX must be able to trace it.
      higher_is_better: whether a larger score is better. It has to be said of the metric that chooses the best learner.
      targets: what it compares predictions with, as for a loss.
      of_points: whether it takes the one number for each target that outputs stand for (`Loss.point`) in the place of
        the outputs, which may be several for each.

    Raises:
      OptionError: for a function of another number of arguments.
    """

    function: Callable[..., Array]
    higher_is_better: bool | None = None
    targets: Targets = "any"
    of_points: bool = False

    def __post_init__(self) -> None:
        _ = self.of_network

    @property
    def of_network(self) -> bool:
        """Whether it is a function of the network itself."""
        return takes_network(self.function, "metric")

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """The score of predictions `[examples, ...]` for a batch, a scalar.

        Raises:
          OptionError: for a metric of the network itself.
        """
        if self.of_network:
            raise OptionError(
                f"The metric {name_of(self.function)!r} is a function of the network itself, which predictions do not "
                "tell; use Metric.value(predict, batch, key), or mtnets.evaluate."
            )
        value = jnp.asarray(self.function(prediction, batch))
        return batch.mean(value) if value.ndim else value

    def value(self, predict: Predict, batch: Batch, key: Array) -> Array:
        """The score of a network on a batch, a scalar. Arguments are those of `Loss.value`."""
        if self.of_network:
            return jnp.asarray(self.function(predict, batch, key))
        return self(predict(batch.x), batch)


class Judged(NamedTuple):
    """A network on a batch.

    Attributes:
      loss: a scalar.
      state: the new state of the network.
      predict: the network at the present weights, whose outputs for the batch itself are computed once.
    """

    loss: Array
    state: Any
    predict: Predict


def judged(
    loss: Loss, model: Model, params: Any, state: Any, batch: Batch, key: Array | None, loss_key: Array
) -> Judged:
    """Runs a network on a batch and takes its loss.

    Args:
      loss: of the network on the batch.
      model, params, state: the network.
      batch: the examples.
      key: as for `Model.apply`: the network learns with one and predicts with None.
      loss_key: for whatever is random in the loss.
    """

    def apply(x: Any) -> tuple[Array, Any]:
        with weighing(batch.weights if x is batch.x else None):
            return model.apply(params, state, x, key)

    if isinstance(loss, PerExample):  # one pass over the batch serves the loss, the new state and all metrics
        prediction, new = apply(batch.x)

        def predict(x: Any) -> Array:
            return prediction if x is batch.x else apply(x)[0]

        return Judged(loss.value(predict, batch, loss_key), new, predict)

    def predict_anew(x: Any) -> Array:
        return apply(x)[0]

    # what a network would remember of the inputs that the function chooses means nothing to another task
    return Judged(loss.value(predict_anew, batch, loss_key), state, predict_anew)


def loss_of(function: Callable[..., Array]) -> Loss:
    """A function of the user's as a loss: of two arguments `(prediction, batch) -> [examples]`, or of three
    `(predict, batch, key) -> scalar`.

    Raises:
      OptionError: for a function of another number of arguments.
    """
    return Objective(function) if takes_network(function, "loss") else Function(function)


def takes_network(function: Callable[..., Any], what: str) -> bool:
    """Whether a function of the user's takes the network, `(predict, batch, key)`, or its predictions,
    `(prediction, batch)`.

    Args:
      function: a loss or a metric.
      what: which of them, for the error.

    Raises:
      OptionError: for a function of another number of arguments.
    """
    for arguments, of_network in ((2, False), (3, True)):
        with contextlib.suppress(TypeError, ValueError):
            inspect.signature(function).bind(*[None] * arguments)
            return of_network
    raise OptionError(
        f"The {what} {name_of(function)!r} cannot be called as {what}(prediction, batch), which returns one number per "
        f"example, nor as {what}(predict, batch, key), which returns one number."
    )


def name_of(function: Any) -> str:
    """What to call a function of the user's in an error."""
    return str(getattr(function, "__name__", function))


def import_path(function: Any) -> str | None:
    """Where a function can be imported from, `"module:name"`; None for a lambda, or what is defined within another."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    return f"{module}:{name}" if module and name and "<" not in name else None


def fixed_key() -> Array:
    """The key of a loss where nothing random is meant: evaluation and use."""
    return jax.random.key(0)
