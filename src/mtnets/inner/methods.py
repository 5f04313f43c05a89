"""Every method is a choice of four parts: which layers move, how they fold, by which rule, and with which estimator.

| method | layers that move | fold | rule | estimator |
|---|---|---|---|---|
| `maml` | all | - | α, or learned rates | exact |
| `fomaml` | all | - | α | first order |
| `reptile` | all | - | α | displacement |
| `imaml` | all, pulled to their start | - | α | implicit |
| `anil` / `boil` | head / body | - | α, or learned rates | exact |
| `meta_sgd` | all | - | learned rate per weight | exact |
| `maml_plus_plus` | all | offsets per step | learned rate per layer and step | exact, multi-step loss |
| `sparse_maml` | all | - | 1[ζ > 0] → α | exact |
| `alfa` | all | - | generated rates and decays | exact |
| `cavia` | the first bias, along a learned subspace | - | CᵀC → α | exact |
| `meta_curvature` | all | - | Mₒ, Mᵢ, M_f → α | exact |
| `approximate_gap` | all | - | positive scale per unit → α | exact |
| `gap` | all | - | positive scale per singular value of G → α | exact |
| `t_net` | all | T, or S and T | α, or learned rates | exact |
| `warp_grad` | all but warp layers | T | α | along the trajectory |
| `m_net` | all | - | row mask → α, or learned rates | exact |
| `mt_net` | all | T, or S and T | row mask → α, or learned rates | exact |
| `mt_net_full` | all | T | element mask, redrawn at each step → α | exact |

A is the network's weight, W what a task moves, L the loss on the support set and G its gradient, α the inner rate.
Wherever there is a T, `metric=` says how it is stored: in full, as I + U Vᵀ, or as a diagonal.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import optax
from jax import Array

from mtnets.errors import OptionError
from mtnets.inner.estimators import ESTIMATORS
from mtnets.inner.folds import Kind, Sides, identity, step_offsets
from mtnets.inner.folds import metric as metric_of
from mtnets.inner.rules import (
    INNER_OPTIMISERS,
    MaskUse,
    Rates,
    chain,
    clip_norm,
    context_bias,
    element_mask,
    generated_rates,
    kronecker_factors,
    proximal,
    rate,
    row_mask,
    sgd,
    singular_scale,
    sparse_mask,
    unit_scale,
    weight_rates,
)
from mtnets.inner.seams import Estimator, Fold, Rule, Setting
from mtnets.networks.layers import Layer
from mtnets.trees import leaves_by_path

MetaGradient = Literal["exact", "first-order", "truncated", "implicit", "displacement", "trajectory"]
Adapts = str | Sequence[str] | Callable[[Layer], bool]
PARTS: dict[str, Callable[[tuple[Layer, ...]], tuple[Layer, ...]]] = {
    "all": tuple,
    "head": lambda layers: layers[-1:],
    "body": lambda layers: layers[:-1],
    "first": lambda layers: layers[:1],
}


FOLD = 1_000_000  # makes a key for the fold, unlike those of rules, which fold in small numbers


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
      inner_lr: α; None for the usual one of the task family.
      meta_gradient: the estimator, or its name.
      last_steps: of the truncated estimator, if that is named.
      estimator_options: arguments of the estimator that is named, as the method sets them.
      adapts: which layers move: `"all"`, `"head"` (the last used), `"body"` (all others), `"first"`, names of layers,
        or a predicate on `Layer`.
      proximal: λ of a pull `λ/2 |w − θ|²` on the weights toward their start, a part of the inner loss.
      inner_clip: clips the norm of a task's gradient; `meta_train` does as the task family does unless given.
      inner_optimiser: `"sgd"`, `"momentum"`, `"adam"`, or an Optax transformation from gradients to directions, on
        which the rule then acts (so that α or learned rates follow it).
      per_step_offsets: whether each inner step learns its own scales and offsets of normalisation.
      name: of the function that made this method.
      options: that function's own arguments.

    Raises:
      OptionError: for an estimator, optimiser or number that is not possible, or an estimator that gives no gradient to
        what the method learns.
    """

    fold: Fold
    rule: Rule
    test_rule: Rule | None = None
    inner_lr: float | None = None
    meta_gradient: str | Estimator = "exact"
    last_steps: int | None = None
    estimator_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    adapts: Adapts = "all"
    proximal: float = 0.0
    inner_clip: float | None = None
    inner_optimiser: str | optax.GradientTransformation = "sgd"
    per_step_offsets: bool = False
    name: str = "custom"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.inner_lr is not None and not 0 <= self.inner_lr < float("inf"):
            raise OptionError(f"The inner rate is {self.inner_lr}; it must be a number ≥ 0.")
        if not 0 <= self.proximal < float("inf"):
            raise OptionError(f"proximal is {self.proximal}; it must be a number ≥ 0.")
        learned = {"fold": self.fold.learns or self.per_step_offsets, "rule": self.rule.learns}
        for part in self.estimator.blind:
            if learned[part]:
                raise OptionError(
                    f"{self.name} learns arrays of its {part}, to which the {self.estimator.name} estimator gives no "
                    "gradient; use the exact or first-order estimator, or a method that learns none."
                )
        if self.estimator.name == "implicit" and not self.proximal:
            raise OptionError("The implicit estimator needs a pull toward the start: proximal=1.0, for example.")
        _ = self._before  # raises for what is not possible

    @functools.cached_property
    def estimator(self) -> Estimator:
        """From a task to its meta-gradient."""
        if self.last_steps is not None and self.meta_gradient != "truncated":
            raise OptionError(
                f"last_steps is {self.last_steps} and meta_gradient not 'truncated'; set both or neither."
            )
        if isinstance(self.meta_gradient, Estimator):
            return self.meta_gradient
        if self.meta_gradient not in ESTIMATORS:
            raise OptionError(f"There is no estimator {self.meta_gradient!r}; choose one of {', '.join(ESTIMATORS)}.")
        last = {} if self.last_steps is None else {"last_steps": self.last_steps}
        return ESTIMATORS[self.meta_gradient](**self.estimator_options, **last)

    @functools.cached_property
    def folding(self) -> Fold:
        """The fold, with offsets for each inner step if those are asked for."""
        return step_offsets(self.fold) if self.per_step_offsets else self.fold

    @functools.cached_property
    def _before(self) -> list[optax.GradientTransformation]:
        """What becomes of gradients before the rule."""
        optimiser = self.inner_optimiser
        if isinstance(optimiser, str):
            if optimiser not in INNER_OPTIMISERS:
                raise OptionError(
                    f"There is no inner optimiser {optimiser!r}; choose one of {', '.join(INNER_OPTIMISERS)}, or pass "
                    "an Optax transformation."
                )
            optimiser = INNER_OPTIMISERS[optimiser]()
        pull = [proximal(self.proximal)] if self.proximal else []
        clip = [clip_norm(self.inner_clip)] if self.inner_clip is not None else []
        return [*pull, *clip, optimiser]

    def begin(
        self, rule: Rule, layers: Sequence[Layer], arrays: Any, inner_lr: Any, key: Array
    ) -> optax.GradientTransformation:
        """From gradients to updates within one task, by this method's rule for training or for test."""
        return optax.chain(*self._before, rule.begin(layers, arrays, inner_lr, key))

    def choose(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The layers that move, of all layers in the order of their first use.

        Raises:
          OptionError: if there is none, or a layer that is named does not exist.
        """
        adapts = (self.adapts,) if isinstance(self.adapts, str) else self.adapts
        if isinstance(self.adapts, str) and self.adapts in PARTS:
            chosen = PARTS[self.adapts](tuple(layers))
        elif callable(adapts):
            chosen = tuple(layer for layer in layers if adapts(layer))
        else:
            names = [layer.name for layer in layers]
            for name in adapts:
                if name not in names:
                    parts = ", ".join(PARTS)
                    raise OptionError(
                        f"The network has no layer {name!r}; name some of {', '.join(names)}, or one of {parts} alone."
                    )
            chosen = tuple(layer for layer in layers if layer.name in adapts)
        if not chosen:
            raise OptionError(f"No layer of {', '.join(layer.name for layer in layers)} moves; adapts is {adapts!r}.")
        return chosen

    def init(
        self,
        key: Array,
        layers: Sequence[Layer],
        params: Any,
        inner_lr: Any,
        steps: int,
        fixed: Sequence[str] = (),
        norm: str = "none",
    ) -> Meta:
        """The meta-learned arrays at the start, where the fold changes nothing.

        Args:
          key: for what starts at random.
          layers: all layers of the network.
          params: its parameters.
          inner_lr: α.
          steps: inner steps of training.
          fixed: paths of containers that no task moves: warp layers.
          norm: what batch norm means in the network.
        """
        moving, leaves = self.choose(layers), leaves_by_path(params)
        weights = {path: leaves[path] for layer in moving for path in layer.paths}
        inside = {path for layer in layers for path in layer.paths}
        warps = tuple(f"{path}." for path in fixed)
        outside = {path: leaf for path, leaf in leaves.items() if path not in inside and not path.startswith(warps)}
        loose = {path: leaf for path, leaf in outside.items() if leaf.ndim == 1}
        setting = Setting(moving, weights, loose, inner_lr, steps, key, norm)
        own = setting._replace(key=jax.random.fold_in(key, FOLD))
        return Meta(params, self.folding.init(own), self.rule.init(setting))

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
        return {name: getattr(self, name) for name in COMMON} | dict(self.options)

    def to_json(self) -> dict[str, Any]:
        """Its name and record as plain values; what is none, such as a predicate of the user's, is `"custom"`."""
        record, plain = self.record(), (str, int, float, tuple, list, type(None))
        return {"name": self.name} | {
            name: value if isinstance(value, plain) and not hasattr(value, "_fields") else "custom"
            for name, value in record.items()
        }


# Arguments that every method has besides its own; None leaves the choice to the method.
COMMON = (
    "inner_lr",
    "meta_gradient",
    "last_steps",
    "adapts",
    "proximal",
    "inner_clip",
    "inner_optimiser",
    "per_step_offsets",
)
METHODS: dict[str, Callable[..., Method]] = {}


def method(build: Callable[..., Method]) -> Callable[..., Method]:
    """Registers a method: `METHODS` lists it, and its name and arguments are recorded with every learner.

    The function gets more arguments than its own, those of every method: `inner_lr` first, and by name `meta_gradient`,
    `last_steps`, `adapts`, `proximal`, `inner_clip`, `inner_optimiser` and `per_step_offsets`; see `Method`.
    """
    own = inspect.signature(build)

    @functools.wraps(build)
    def make(inner_lr: float | None = None, *args: Any, **options: Any) -> Method:
        given: dict[str, Any] = {name: options.pop(name) for name in COMMON[1:] if name in options}
        given["inner_lr"] = inner_lr
        unknown = options.keys() - own.parameters.keys()
        if unknown:
            known = ", ".join([*COMMON, *own.parameters])
            raise OptionError(f"{build.__name__} has no option {', '.join(sorted(unknown))}; it has {known}.")
        bound = own.bind(*args, **options)
        bound.apply_defaults()  # into the record: another default must not change what was saved
        made = build(*bound.args, **bound.kwargs)
        given = {name: value for name, value in given.items() if value is not None}
        if given.get("meta_gradient", made.meta_gradient) != made.meta_gradient:
            given = {"estimator_options": {}, "last_steps": None} | given  # those of another
        if not isinstance(given.get("adapts", ""), str) and not callable(given["adapts"]):
            given["adapts"] = tuple(given["adapts"])
        if "custom" in given.values():
            unknown = next(name for name, value in given.items() if value == "custom")
            raise OptionError(f"{unknown} was a function of your own, which is not recorded; pass the method again.")
        return dataclasses.replace(made, **given, name=build.__name__, options=dict(bound.arguments))

    parameter = inspect.Parameter
    common = [parameter(name, parameter.KEYWORD_ONLY, default=None) for name in COMMON[1:]]
    first = parameter("inner_lr", parameter.POSITIONAL_OR_KEYWORD, default=None)
    make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [first, *own.parameters.values(), *common], return_annotation=Method
    )
    METHODS[build.__name__] = make
    return make


@method
def maml(*, rates: Rates = "fixed") -> Method:
    """`A ← A − α G`.

    Learned: nothing; with `rates`, those.

    Args:
      rates: `fixed` (α itself), or learned: one per `weight` (Meta-SGD), or per layer and inner step (`layer-step`,
        MAML++).

    References:
      Finn, Abbeel & Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017,
      arXiv 1703.03400.
    """
    return Method(identity(), rate(rates))


@method
def fomaml() -> Method:
    """`A ← A − α G` with G held constant in the meta-gradient.

    Learned: nothing.

    References:
      Finn, Abbeel & Levine 2017, arXiv 1703.03400, section 5.2.
    """
    return Method(identity(), sgd(), meta_gradient="first-order")


@method
def reptile() -> Method:
    """`A ← A − α G`; the start moves toward where tasks arrive, after one more step on the query set.

    Learned: nothing.

    References:
      Nichol, Achiam & Schulman, On First-Order Meta-Learning Algorithms, 2018, arXiv 1803.02999.
    """
    return Method(identity(), sgd(), meta_gradient="displacement")


@method
def imaml(*, cg_steps: int = 10, damping: float = 0.0) -> Method:
    """`W ← W − α (G + λ (W − θ))`; the meta-gradient is that of the minimum, `λ (H + λ)⁻¹ ∇L_query`.

    Learned: nothing.

    λ is `proximal`, 1 unless given. It wants enough inner steps to come near the minimum. Where the loss has negative
    curvature of more than λ, as that of sine regression has at the start, only damping beyond that makes it learn; much
    damping d makes it first order, times λ / (λ + d). λ = 1 and 10 steps are our defaults.

    Args:
      cg_steps: steps of conjugate gradients for the inverse.
      damping: added to λ in the inverse; 0 is exact.

    References:
      Rajeswaran, Finn, Kakade & Levine, Meta-Learning with Implicit Gradients, NeurIPS 2019, arXiv 1909.04630.
    """
    options = {"cg_steps": cg_steps, "damping": damping}
    return Method(identity(), sgd(), meta_gradient="implicit", estimator_options=options, proximal=1.0)


@method
def anil(*, rates: Rates = "fixed") -> Method:
    """`A ← A − α G` for the head, the layer used last; the body does not move within a task.

    Learned: nothing; with `rates`, those.

    Args:
      rates: as in `maml`.

    References:
      Raghu, Raghu, Bengio & Vinyals, Rapid Learning or Feature Reuse? ICLR 2020, arXiv 1909.09157.
    """
    return Method(identity(), rate(rates), adapts="head")


@method
def boil(*, rates: Rates = "fixed") -> Method:
    """`A ← A − α G` for the body, all layers but the last used; the head does not move within a task.

    Learned: nothing; with `rates`, those.

    Args:
      rates: as in `maml`.

    References:
      Oh, Yoo, Kim & Yun, BOIL: Towards Representation Change for Few-shot Learning, ICLR 2021, arXiv 2008.08882.
    """
    return Method(identity(), rate(rates), adapts="body")


@method
def meta_sgd() -> Method:
    """`A ← A − α ⊙ G` with one learned rate per weight.

    Learned: a rate per weight.

    References:
      Li, Zhou, Chen & Li, Meta-SGD: Learning to Learn Quickly for Few-Shot Learning, 2017, arXiv 1707.09835.
    """
    return Method(identity(), weight_rates())


@method
def maml_plus_plus() -> Method:
    """`A ← A − α_lt G` with one learned rate per layer l and inner step t, and offsets of normalisation per step.

    Learned: a rate per layer and step, offsets of normalisation per step.

    The rest of MAML++ is in how it is trained, and serves any method: `multi_step_loss=…`, `first_order_steps=…` and
    `schedule="cosine"` of `meta_train`. For a network without normalisation: `per_step_offsets=False`.

    References:
      Antoniou, Edwards & Storkey, How to train your MAML, ICLR 2019, arXiv 1810.09502.
    """
    return Method(identity(), rate("layer-step"), per_step_offsets=True)


@method
def sparse_maml(*, start: float = 0.1) -> Method:
    """`A ← A − α 1[ζ > 0] ⊙ G` with one learned ζ per weight.

    Learned: ζ per weight.

    Args:
      start: ζ at the start.

    References:
      von Oswald et al., Learning where to learn: Gradient sparsity in meta and continual learning, NeurIPS 2021,
      arXiv 2110.14402.
    """
    return Method(identity(), chain(mask=sparse_mask(start=start), rate=sgd()))


@method
def alfa() -> Method:
    """`A ← β A − α G`, α and β per layer generated at each step from means of weights and gradients.

    Learned: the generator of rates and decays, and what these start from per layer and step.

    References:
      Baik, Choi, Choi, Kim & Lee, Meta-Learning with Adaptive Hyperparameters, NeurIPS 2020, arXiv 2011.00209.
    """
    return Method(identity(), generated_rates())


@method
def cavia(*, context: int = 5) -> Method:
    """`φ ← φ − α ∂L/∂φ` for a context vector φ, one more input of the first layer; on its bias, `b ← b − α (G_b Cᵀ) C`.

    Learned: C, which takes the context to the first layer.

    Args:
      context: elements of the context vector.

    References:
      Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson, Fast Context Adaptation via Meta-Learning, ICML 2019,
      arXiv 1810.03642.
    """
    return Method(identity(), chain(context=context_bias(context), rate=sgd()), adapts="first")


@method
def meta_curvature(*, factors: str = "oif") -> Method:
    """`A ← A − α Mₒ G M_f Mᵢ` with learned matrices on outputs, inputs and filter positions.

    Learned: Mₒ, Mᵢ, M_f per layer, a factor per bias.

    Args:
      factors: which are learned: `oif` for all, or some of them.

    References:
      Park & Oliva, Meta-Curvature, NeurIPS 2019, arXiv 1902.03356.
    """
    return Method(identity(), chain(curvature=kronecker_factors(factors), rate=sgd()))


@method
def approximate_gap() -> Method:
    """`A ← A − α G diag(s)` with a learned positive scale per output unit.

    Learned: a scale per output unit.

    References:
      Kang, Hwang, Eo, Kim & Rhee, Meta-Learning with a Geometry-Adaptive Preconditioner, CVPR 2023, arXiv 2304.01552.
    """
    return Method(identity(), chain(scale=unit_scale(), rate=sgd()))


@method
def gap() -> Method:
    """`A ← A − α U diag(s) Σ Vᵀ` for `G = U Σ Vᵀ`, with a learned positive scale per singular value.

    Learned: a scale per singular value.

    References:
      Kang, Hwang, Eo, Kim & Rhee, Meta-Learning with a Geometry-Adaptive Preconditioner, CVPR 2023, arXiv 2304.01552.
    """
    return Method(identity(), chain(scale=singular_scale(), rate=sgd()))


@method
def t_net(*, sides: Sides = 1, rates: Rates = "fixed", metric: Kind = "full", rank: int = 8) -> Method:
    """`W ← W − α ∇L(W T)`; on the folded weights A = W T, `A ← A − α G Tᵀ T`.

    Learned: T per layer; with `sides=2` S too; with `rates`, those.

    Args:
      sides: 1 for the paper's metric T on outputs; 2 for one on inputs as well, A = S W T.
      rates: as in `maml`, for W.
      metric: how T is stored: `full`, units² numbers; `low-rank`, `T = I + U Vᵀ`; or `diagonal`.
      rank: of a low-rank metric; in layers with fewer units, as many as those.

    References:
      Lee & Choi, Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace, ICML 2018,
      arXiv 1801.05558, section 3.1.
    """
    return Method(metric_of(sides, metric, rank), rate(rates))


@method
def warp_grad(*, metric: Kind = "full", rank: int = 8) -> Method:
    """`W ← W − α ∇L(W T)`; T, and a network's own warp layers, learn from each step of the trajectory apart.

    Learned: T per layer.

    A T is the linear case of a warp layer; for non-linear ones see `mtnets.models.Warp`.

    Args:
      metric: as in `t_net`.
      rank: as in `t_net`.

    References:
      Flennerhag, Rusu, Pascanu, Visin, Yin & Hadsell, Meta-Learning with Warped Gradient Descent, ICLR 2020,
      arXiv 1909.00025.
    """
    return Method(metric_of(1, metric, rank), sgd(), meta_gradient="trajectory")


@method
def m_net(*, mask: MaskUse = "sample", temperature: float = 1.0, rates: Rates = "fixed") -> Method:
    """`A ← A − α m ⊙ G`: the mask of an MT-net without its metric (an ablation).

    Learned: ζ per unit; with `rates`, those.

    Args:
      mask: how masks are used at test: `sample`, `mean` or `threshold`; training always samples.
      temperature: τ of the straight-through Gumbel-softmax.
      rates: as in `maml`.

    References:
      Lee & Choi 2018, arXiv 1801.05558.
    """
    return Method(identity(), *_masked(row_mask, mask, temperature, rates))


@method
def mt_net(
    *,
    mask: MaskUse = "sample",
    temperature: float = 1.0,
    sides: Sides = 1,
    rates: Rates = "fixed",
    metric: Kind = "full",
    rank: int = 8,
) -> Method:
    """`W ← W − α m ⊙ ∇L(W T)`; on the folded weights A = W T, `A ← A − α (m ⊙ (G Tᵀ)) T`.

    Learned: T per layer and ζ per unit; with `sides=2` S too; with `rates`, those.

    This is gradient descent in the span of the unmasked rows of T, under the metric that T defines. A unit moves with
    probability σ(ζ): one mask per output unit, drawn once per task.

    Args:
      mask: how masks are used at test: `sample` (the paper's), `mean` or `threshold`; training always samples.
      temperature: τ of the straight-through Gumbel-softmax.
      sides: as in `t_net`.
      rates: as in `maml`, for W.
      metric: as in `t_net`.
      rank: as in `t_net`.

    References:
      Lee & Choi 2018, arXiv 1801.05558, section 3.2.
    """
    return Method(metric_of(sides, metric, rank), *_masked(row_mask, mask, temperature, rates))


@method
def mt_net_full(
    *,
    mask: MaskUse = "sample",
    temperature: float = 1.0,
    rates: Rates = "fixed",
    metric: Kind = "full",
    rank: int = 8,
) -> Method:
    """`W ← W − α M_t ⊙ ∇L(W T)`: an MT-net that masks every element of W and b apart, redrawn at each inner step t.

    Learned: T per layer and ζ per weight; with `rates`, those.

    Args:
      mask: how masks are used at test: `sample`, `mean` or `threshold`; training always samples.
      temperature: τ of the straight-through Gumbel-softmax.
      rates: as in `maml`, for W.
      metric: as in `t_net`.
      rank: as in `t_net`.

    References:
      Lee & Choi 2018, arXiv 1801.05558; the authors' code.
    """
    return Method(metric_of(1, metric, rank), *_masked(element_mask, mask, temperature, rates))


def _masked(mask_rule: Callable[..., Rule], use: MaskUse, temperature: float, rates: Rates) -> tuple[Rule, Rule]:
    """A mask followed by rates, for training and for test."""
    return (
        chain(mask=mask_rule(temperature=temperature), rate=rate(rates)),
        chain(mask=mask_rule(temperature=temperature, use=use), rate=rate(rates)),
    )
