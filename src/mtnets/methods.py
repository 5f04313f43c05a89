"""Every method is a choice of four parts: which layers move, how they fold, by which rule, and with which estimator.

| method | layers that move | fold | rule | estimator |
|---|---|---|---|---|
| `maml` | all | - | α | exact |
| `fomaml` | all | - | α | first order |
| `meta_sgd` | all | - | learned rate per weight | exact |
| `t_net` | all | T | α | exact |
| `m_net` | all | - | row mask → α | exact |
| `mt_net` | all | T | row mask → α | exact |
| `mt_net_full` | all | T | element mask, redrawn at each step → α | exact |
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec

from jax import Array

from mtnets.errors import OptionError
from mtnets.estimators import ESTIMATORS, Estimator
from mtnets.layers import Layer, leaves_by_path
from mtnets.metric import Fold, identity, metric
from mtnets.rules import MaskUse, Rule, chain, element_mask, row_mask, sgd, weight_rates

MetaGradient = Literal["exact", "first-order"]
P = ParamSpec("P")


class Meta(NamedTuple):
    """Everything that is meta-learned.

    Attributes:
      params: the parameters of the network, which every task starts from.
      fold: arrays of the fold.
      rule: arrays of the rule.
    """

    params: Any
    fold: Any
    rule: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """A choice from the four columns.

    Attributes:
      fold: how weights that move become weights of the network.
      rule: from gradients to updates while training.
      test_rule: the same at test; a mask may be used otherwise there.
      adapts: picks the layers that move from all layers.
      meta_gradient: name of the estimator.
      inner_lr: α; None for the usual one of the task family.
      name: of the function that made this method.
      options: its arguments, apart from `inner_lr` and `meta_gradient`.
    """

    fold: Fold
    rule: Rule
    test_rule: Rule | None = None
    adapts: Callable[[Sequence[Layer]], Sequence[Layer]] = tuple
    meta_gradient: str = "exact"
    inner_lr: float | None = None
    name: str = "custom"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.meta_gradient not in ESTIMATORS:
            raise OptionError(f"There is no estimator {self.meta_gradient!r}; choose one of {', '.join(ESTIMATORS)}.")
        if self.inner_lr is not None and not 0 <= self.inner_lr < float("inf"):
            raise OptionError(f"The inner rate is {self.inner_lr}; it must be a number ≥ 0.")

    @property
    def estimator(self) -> Estimator:
        """From the loss of an adapted task to the meta-gradient."""
        return ESTIMATORS[self.meta_gradient]

    def init(self, key: Array, layers: Sequence[Layer], params: Any, inner_lr: Any) -> Meta:
        """The meta-learned arrays at the start, where the fold changes nothing."""
        moving = self.adapts(layers)
        leaves = leaves_by_path(params)
        weights = {path: leaves[path] for layer in moving for path in layer.paths}
        return Meta(params, self.fold.init(moving, weights), self.rule.init(moving, weights, inner_lr, key))

    def with_options(self, **options: Any) -> "Method":
        """The same method with other arguments, `method.with_options(mask="mean")`.

        Raises:
          OptionError: if the method has no such argument.
        """
        if self.name not in METHODS:
            raise OptionError(f"A method of your own has no options to change: {', '.join(options)}.")
        known = inspect.signature(METHODS[self.name]).parameters
        for option in options:
            if option not in known:
                raise OptionError(f"{self.name} has no option {option!r}; it has {', '.join(known)}.")
        return METHODS[self.name](**{**self.record(), **options})

    def record(self) -> dict[str, Any]:
        """The arguments that make this method again."""
        return {"inner_lr": self.inner_lr, "meta_gradient": self.meta_gradient, **self.options}


METHODS: dict[str, Callable[..., Method]] = {}


def method(build: Callable[P, Method]) -> Callable[Concatenate[float | None, P], Method]:
    """Registers a method: `METHODS` lists it, and its name and arguments are recorded with every learner.

    The function gets two arguments more: `inner_lr` (α; None for the task family's) and `meta_gradient`.
    """
    own = inspect.signature(build)

    @functools.wraps(build)
    def make(inner_lr: float | None = None, *args: Any, meta_gradient: str | None = None, **options: Any) -> Method:
        bound = own.bind(*args, **options)
        bound.apply_defaults()  # into the record: another default must not change what was saved
        made = build(*bound.args, **bound.kwargs)
        return dataclasses.replace(
            made,
            inner_lr=inner_lr,
            meta_gradient=meta_gradient or made.meta_gradient,
            name=build.__name__,
            options=dict(bound.arguments),
        )

    parameter = inspect.Parameter
    make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            parameter("inner_lr", parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=float | None),
            *own.parameters.values(),
            parameter("meta_gradient", parameter.KEYWORD_ONLY, default=None, annotation=str | None),
        ],
        return_annotation=Method,
    )
    METHODS[build.__name__] = make
    return make  # type: ignore[return-value]


@method
def maml() -> Method:
    """`θ ← θ − α ∇L(θ)`; the starting point θ is meta-learned.

    References:
      Finn, Abbeel & Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017,
      arXiv 1703.03400.
    """
    return Method(identity(), sgd())


@method
def fomaml() -> Method:
    """MAML whose meta-gradient holds the inner gradients constant.

    References:
      Finn, Abbeel & Levine 2017, arXiv 1703.03400, section 5.2.
    """
    return Method(identity(), sgd(), meta_gradient="first-order")


@method
def meta_sgd() -> Method:
    """`θ ← θ − α ⊙ ∇L(θ)`; the starting point θ and a rate for each weight are meta-learned.

    References:
      Li, Zhou, Chen & Li, Meta-SGD: Learning to Learn Quickly for Few-Shot Learning, 2017, arXiv 1707.09835.
    """
    return Method(identity(), weight_rates())


@method
def t_net() -> Method:
    """`W ← W − α ∇L(W T)`; W and the metric T of each layer are meta-learned.

    On the folded weights A = W T this is `A ← A − α G Tᵀ T`.

    References:
      Lee & Choi, Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace, ICML 2018,
      arXiv 1801.05558, section 3.1.
    """
    return Method(metric(), sgd())


@method
def m_net(*, mask: MaskUse = "sample", temperature: float = 1.0) -> Method:
    """`W ← W − α m ⊙ ∇L(W)`: the mask of an MT-net without its metric (an ablation).

    Args:
      mask: how masks are used at test: `sample`, `mean` or `threshold`; training always samples.
      temperature: τ of the straight-through Gumbel-softmax.

    References:
      Lee & Choi 2018, arXiv 1801.05558.
    """
    return Method(identity(), *_masked(row_mask, mask, temperature))


@method
def mt_net(*, mask: MaskUse = "sample", temperature: float = 1.0) -> Method:
    """`W ← W − α m ⊙ ∇L(W T)`; W, the metric T and the probability σ(ζ) that a unit moves are meta-learned.

    On the folded weights A = W T this is `A ← A − α (m ⊙ (G Tᵀ)) T`: gradient descent in the span of the unmasked rows
    of T, under the metric that T defines. One mask per output unit, drawn once per task.

    Args:
      mask: how masks are used at test: `sample` (the paper's), `mean` or `threshold`; training always samples.
      temperature: τ of the straight-through Gumbel-softmax.

    References:
      Lee & Choi 2018, arXiv 1801.05558, section 3.2.
    """
    return Method(metric(), *_masked(row_mask, mask, temperature))


@method
def mt_net_full(*, mask: MaskUse = "sample", temperature: float = 1.0) -> Method:
    """`W ← W − α M_t ⊙ ∇L(W T)`: an MT-net that masks every element of W and b apart, redrawn at each inner step t.

    Args:
      mask: how masks are used at test: `sample`, `mean` or `threshold`; training always samples.
      temperature: τ of the straight-through Gumbel-softmax.

    References:
      Lee & Choi 2018, arXiv 1801.05558; the authors' code.
    """
    return Method(metric(), *_masked(element_mask, mask, temperature))


def _masked(mask_rule: Callable[..., Rule], use: MaskUse, temperature: float) -> tuple[Rule, Rule]:
    """A mask followed by α, for training and for test."""
    return (
        chain(mask=mask_rule(temperature=temperature), rate=sgd()),
        chain(mask=mask_rule(temperature=temperature, use=use), rate=sgd()),
    )
