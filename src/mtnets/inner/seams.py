"""The contracts of the inner problem: what is learned, and what a fold, a rule and an estimator must provide.

The fourth seam, which layers move, is a choice among them: `Method.adapts`.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import optax
from jax import Array

from mtnets.inner.task import Task
from mtnets.networks.layers import Layer

T = TypeVar("T")
Weights = Mapping[str, Array]  # leaves of the network, by path
Arrays = Any  # a pytree of meta-learned arrays
Metrics = dict[str, Array]


# --- what is learned


class Meta(NamedTuple):
    """Everything that the meta-optimiser moves.

    Attributes:
      params: the parameters of the network, which every task starts from.
      fold: arrays of the fold.
      rule: arrays of the rule.
      head: arrays of the head, where that does not fix the number of classes.
      loss: arrays of a loss that is learned.
      start: arrays of a start that depends on the task.
    """

    params: Any
    fold: Arrays
    rule: Arrays
    head: Arrays = None
    loss: Arrays = None
    start: Arrays = None


class Learned(NamedTuple):
    """Everything that a training gives and that adaptation needs.

    Attributes:
      meta: what the meta-optimiser has moved.
      state: state of the network, such as running statistics.
      inner_lr: inner rate α.
    """

    meta: Meta
    state: Any
    inner_lr: Any


class Start(NamedTuple):
    """Where every task starts. It is the same for all of them, so that a batch of tasks computes it once.

    Attributes:
      meta: what is meta-learned.
      folded: the weights that move, folded.
    """

    meta: Meta
    folded: Mapping[str, Array]


class Adapted(NamedTuple):
    """A network adapted to a task.

    Attributes:
      params: plain parameters of the original architecture, folded.
      state: its state.
      weights: the weights that move, before folding.
      support_loss: loss on the support set before each inner step, `[steps]`.
      probed: what `probe` returned before the first step and after each, stacked, `[steps + 1, ...]`.
    """

    params: Any
    state: Any
    weights: dict[str, Array]
    support_loss: Array
    probed: Any


# --- the fold and the rule


class Setting(NamedTuple):
    """What the meta-learned arrays of a fold or a rule are made from.

    Attributes:
      layers: the layers that move, in the order of their first use.
      weights: the leaves that move, by path: those of the layers, and loose ones if the rule takes them.
      vectors: vectors that belong to no layer, by path, such as scales and offsets of normalisation.
      inner_lr: α.
      steps: inner steps of training.
      key: for arrays that start at random.
      norm: what batch norm means in the network.
    """

    layers: tuple[Layer, ...]
    weights: Weights
    vectors: Weights
    inner_lr: Any
    steps: int
    key: Array
    norm: str = "none"


class FoldApply(Protocol):
    """See `Fold`."""

    def __call__(self, layers: Sequence[Layer], arrays: Arrays, weights: Weights, step: Any) -> dict[str, Array]: ...


class RuleBegin(Protocol):
    """See `Rule`."""

    def __call__(
        self, layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array
    ) -> optax.GradientTransformation: ...


class Fold(NamedTuple):
    """How the weights that a task moves become leaves of the network: a pair of pure functions.

    Attributes:
      init: `init(setting) -> arrays`, the meta-learned arrays at the start, which change nothing.
      apply: `apply(layers, arrays, weights, step) -> leaves`: the network's own weights, and all other leaves that
        differ at this inner step.
      learns: whether it has arrays.
      spectra: `spectra(layers, arrays) -> {name: singular values of a metric, from the largest}`, for reports. It takes
        concrete arrays and leaves out metrics that are not finite.
    """

    init: Callable[[Setting], Arrays]
    apply: FoldApply
    learns: bool = True
    spectra: Callable[[Sequence[Layer], Arrays], Mapping[str, np.ndarray]] = lambda layers, arrays: {}


class Rule(NamedTuple):
    """From the gradients of a task to its updates: a pair of pure functions, and a third for reports.

    A rule is begun once per task, with a random key (this is where a mask is drawn). Its arrays get their gradient
    through the updates that it makes.

    Attributes:
      init: `init(setting) -> arrays`, the meta-learned arrays at the start.
      begin: `begin(layers, arrays, inner_lr, key) -> optax.GradientTransformation` for one task.
      probabilities: `probabilities(layers, arrays) -> {layer name: array}`: how likely a task is to move each unit of a
        layer, or each element of its weight; without a layer, nothing chooses.
      learns: whether it has arrays.
      surrogate: `"arrays"` or `"gradient"` if automatic differentiation does not give the derivative of the updates
        with respect to these, on purpose, so that finite differences disagree. Masks with a straight-through gradient
        are an example of the first, singular vectors held constant of the second.
      loose: whether it also updates leaves that lie in no layer. A rule that is defined by layers does not.
    """

    init: Callable[[Setting], Arrays]
    begin: RuleBegin
    probabilities: Callable[[Sequence[Layer], Arrays], Mapping[str, Array]] = lambda layers, arrays: {}
    learns: bool = True
    surrogate: Literal["arrays", "gradient"] | None = None
    loose: bool = False

    def moving(self, layers: Sequence[Layer], arrays: Arrays) -> dict[str, Array]:
        """The share of the units of each layer that a task moves, by the name of the layer."""
        return {name: each.mean() for name, each in self.probabilities(layers, arrays).items()}


class TaskStartApply(Protocol):
    """See `TaskStart`."""

    def __call__(
        self, layers: Sequence[Layer], arrays: Arrays, weights: Weights, gradient: Weights
    ) -> dict[str, Array]: ...


class TaskStart(NamedTuple):
    """Where the weights of a task start, if that depends on its support set: a pair of pure functions.

    Attributes:
      init: `init(setting) -> arrays`, the meta-learned arrays at the start.
      apply: `apply(layers, arrays, weights, gradient) -> weights`: where a task starts, from where all tasks do and the
        gradient of the support loss there, before the first inner step.
      surrogate: whether automatic differentiation does not give the derivative of this start, on purpose.
    """

    init: Callable[[Setting], Arrays]
    apply: TaskStartApply
    surrogate: bool = False


# --- the estimator


class Episode(Protocol):
    """A task while it is learned, as an estimator sees it (`mtnets.inner.episode.TaskEpisode` is the one)."""

    @property
    def task(self) -> Task:
        """Support and query set."""
        ...

    @property
    def inner_lr(self) -> Any:
        """α."""
        ...

    def adapt(self, start: Start, **options: Any) -> Adapted:
        """The network after the inner loop; see `mtnets.inner.loop.adapt` for the options."""
        ...

    def judge(self, params: Any, state: Any, support_loss: Array | None = None) -> tuple[Array, tuple[Any, Metrics]]:
        """`(query loss of a network, (its new state, metrics))`. The first of the support losses is the metric
        `pre_loss`."""
        ...

    def objective(self, start: Start, *, one_by_one: bool = False, **options: Any) -> tuple[Array, tuple[Any, Metrics]]:
        """The meta-loss as a function of the start, in the form of `judge`; options as those of `adapt`."""
        ...

    def support_loss(self, meta: Meta, weights: Weights, state: Any) -> Array:
        """Support loss of a network with these moved weights."""
        ...

    def network(self, meta: Meta, weights: Weights, state: Any) -> tuple[Any, Any]:
        """Parameters and state of the network with these moved weights."""
        ...


def added(default: T) -> T:
    """The default of an option that earlier versions did not have. Records leave it out where it has its default, so
    that they, and the fingerprints of learners, stay as they were."""
    return dataclasses.field(default=default, metadata={"added": True})  # type: ignore[return-value]


Part = Literal["fold", "rule", "loss"]  # of what is meta-learned, besides the start
Result = tuple[tuple[Array, tuple[Any, Metrics]], Start]
ESTIMATORS: "dict[str, type[Estimator]]" = {}


@dataclasses.dataclass(frozen=True)
class Estimator(abc.ABC):
    """How the meta-gradient is taken from one task. A subclass is a frozen dataclass whose fields are its options. One
    that sets `name` is listed in `ESTIMATORS` by it.

    Attributes:
      name: on the command line and in saved learners.
      blind: the parts, of `fold`, `rule` and `loss`, to which it gives no gradient; learning them is refused.
      weighs_steps: whether it takes weights of the query losses after each inner step, as a multi-step loss needs.
      starts_per_task: whether tasks may start each from weights of its own, or with a head of its own.
    """

    described: ClassVar[str] = "an estimator such as mtnets.FirstOrder() or mtnets.Truncated(last_steps=2)"  # in errors
    name: ClassVar[str] = ""
    blind: ClassVar[tuple[Part, ...]] = ()
    weighs_steps: ClassVar[bool] = True
    starts_per_task: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):
            ESTIMATORS[cls.name] = cls

    @abc.abstractmethod
    def gradient(self, episode: Episode, start: Start) -> Result:
        """`((loss, (state, metrics)), gradient with respect to the start)`."""

    @property
    def pull(self) -> float:
        """Strength λ of the pull toward the start that the inner problem must have for this estimator."""
        return 0.0
