"""The methods: each chooses which layers move, how they fold, by which rule, and with which estimator.

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
| `l2f` | all, from a start that the task attenuates | - | α, or learned rates | exact |
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
Wherever there is a T, `metric` says how it is stored: in full, as I + U Vᵀ, or as a diagonal.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

from mtnets.inner.estimators import Displacement, FirstOrder, Implicit, Trajectory
from mtnets.inner.folds import Kind, Sides, identity, metric
from mtnets.inner.method import Adapts, Method, Parts
from mtnets.inner.rules import (
    MaskUse,
    Rates,
    chain,
    context_bias,
    element_mask,
    generated_rates,
    kronecker_factors,
    rate,
    row_mask,
    sgd,
    singular_scale,
    sparse_mask,
    unit_scale,
    weight_rates,
)
from mtnets.inner.seams import Estimator, Fold, Rule, added
from mtnets.inner.starts import attenuation

LEE_CHOI = "Lee & Choi 2018, arXiv 1801.05558"
# What is learned, in words, by the options that choose it
METRICS: Mapping[Sides, str] = {1: "T per layer", 2: "S and T per layer"}
RATES: Mapping[Rates, str] = {"fixed": "", "weight": "a rate α per weight", "layer-step": "a rate α per layer and step"}


def besides(rates: Rates, *parts: str) -> str:
    """What is learned besides the start: these parts, and rates."""
    return ", ".join(filter(None, [*parts, RATES[rates]])) or "nothing"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAML(Method):
    """`A ← A − α G`. Learned: the start, and rates if `rates` says so.

    Attributes:
      rates: `fixed` (α itself), or learned: one per `weight` (Meta-SGD), or per layer and inner step (`layer-step`,
        MAML++).

    References:
      Finn, Abbeel & Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017,
      arXiv 1703.03400.
    """

    equation: ClassVar[str] = "A ← A − α G"
    learned: ClassVar[str] = "nothing, or rates"
    paper: ClassVar[str] = "Finn et al. 2017, arXiv 1703.03400"

    rates: Rates = "fixed"

    @property
    def learns(self) -> str:
        return besides(self.rates)

    def parts(self) -> Parts:
        return Parts(identity(), rate(self.rates))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FOMAML(Method):
    """`A ← A − α G` with G held constant in the meta-gradient. Learned: the start.

    References:
      Finn, Abbeel & Levine 2017, arXiv 1703.03400, section 5.2.
    """

    equation: ClassVar[str] = "A ← A − α G, G held constant in the meta-gradient"
    learned: ClassVar[str] = "nothing"
    paper: ClassVar[str] = "Finn et al. 2017, arXiv 1703.03400"

    estimator: Estimator = FirstOrder()

    def parts(self) -> Parts:
        return Parts(identity(), sgd())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reptile(Method):
    """`A ← A − α G`; the start moves toward the adapted weights, after one more step on the query set. Learned: the
    start.

    References:
      Nichol, Achiam & Schulman, On First-Order Meta-Learning Algorithms, 2018, arXiv 1803.02999.
    """

    equation: ClassVar[str] = "A ← A − α G; the start moves toward the adapted weights"
    learned: ClassVar[str] = "nothing"
    paper: ClassVar[str] = "Nichol et al. 2018, arXiv 1803.02999"

    estimator: Estimator = Displacement()

    def parts(self) -> Parts:
        return Parts(identity(), sgd())


@dataclasses.dataclass(frozen=True, kw_only=True)
class IMAML(Method):
    """`W ← W − α (G + λ (W − θ))`; the meta-gradient is that of the minimum, `λ (H + λ)⁻¹ ∇L_query`. Learned: the
    start θ.

    λ and the conjugate gradients are options of the estimator: `imaml(estimator=Implicit(proximal=0.1, damping=10.0))`.
    It needs enough inner steps to come near the minimum. Where the loss has negative curvature of more than λ, as that
    of sine regression has at the start, it learns only with damping beyond that; much damping d makes it first order,
    times λ / (λ + d). λ = 1 and 10 steps are our defaults.

    References:
      Rajeswaran, Finn, Kakade & Levine, Meta-Learning with Implicit Gradients, NeurIPS 2019, arXiv 1909.04630.
    """

    equation: ClassVar[str] = "W ← W − α (G + λ (W − θ)); implicit meta-gradient λ (H + λ)⁻¹ ∇L_query"
    learned: ClassVar[str] = "nothing"
    paper: ClassVar[str] = "Rajeswaran et al. 2019, arXiv 1909.04630"

    estimator: Estimator = Implicit()

    def parts(self) -> Parts:
        return Parts(identity(), sgd())


@dataclasses.dataclass(frozen=True, kw_only=True)
class ANIL(Method):
    """`A ← A − α G` for the head, the layer used last; the body does not move within a task. Learned: the start, and
    rates if `rates` says so.

    Attributes:
      rates: as in `maml`.

    References:
      Raghu, Raghu, Bengio & Vinyals, Rapid Learning or Feature Reuse? ICLR 2020, arXiv 1909.09157.
    """

    equation: ClassVar[str] = "A ← A − α G for the head alone"
    learned: ClassVar[str] = "nothing, or rates"
    paper: ClassVar[str] = "Raghu et al. 2020, arXiv 1909.09157"

    adapts: Adapts = "head"
    rates: Rates = "fixed"

    @property
    def learns(self) -> str:
        return besides(self.rates)

    def parts(self) -> Parts:
        return Parts(identity(), rate(self.rates))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BOIL(Method):
    """`A ← A − α G` for the body, all layers but the last used; the head does not move within a task. Learned: the
    start, and rates if `rates` says so.

    Attributes:
      rates: as in `maml`.

    References:
      Oh, Yoo, Kim & Yun, BOIL: Towards Representation Change for Few-shot Learning, ICLR 2021, arXiv 2008.08882.
    """

    equation: ClassVar[str] = "A ← A − α G for the body alone"
    learned: ClassVar[str] = "nothing, or rates"
    paper: ClassVar[str] = "Oh et al. 2021, arXiv 2008.08882"

    adapts: Adapts = "body"
    rates: Rates = "fixed"

    @property
    def learns(self) -> str:
        return besides(self.rates)

    def parts(self) -> Parts:
        return Parts(identity(), rate(self.rates))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaSGD(Method):
    """`A ← A − α ⊙ G` with one learned rate per weight. Learned: the start and the rates.

    Attributes:
      between: each rate starts from a uniform draw between these two, for example (0.005, 0.1). Defaults to all from α.

    References:
      Li, Zhou, Chen & Li, Meta-SGD: Learning to Learn Quickly for Few-Shot Learning, 2017, arXiv 1707.09835.
    """

    equation: ClassVar[str] = "A ← A − α ⊙ G"
    learned: ClassVar[str] = "a rate per weight"
    paper: ClassVar[str] = "Li et al. 2017, arXiv 1707.09835"

    between: tuple[float, float] | None = added(None)

    def parts(self) -> Parts:
        return Parts(identity(), weight_rates(self.between))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAMLPlusPlus(Method):
    """`A ← A − α_lt G` with one learned rate per layer l and inner step t. Learned: the start, the rates, offsets of
    normalisation per step.

    The rest of MAML++ is in how it is trained, and serves any method: `multi_step_loss=…`, `first_order_steps=…` and
    `schedule="cosine"` of `meta_train`. For a network without normalisation: `per_step_offsets=False`.

    References:
      Antoniou, Edwards & Storkey, How to train your MAML, ICLR 2019, arXiv 1810.09502.
    """

    equation: ClassVar[str] = "A ← A − α_lt G"
    learned: ClassVar[str] = "a rate per layer and step, offsets of normalisation per step"
    paper: ClassVar[str] = "Antoniou et al. 2019, arXiv 1810.09502"

    per_step_offsets: bool = True

    def parts(self) -> Parts:
        return Parts(identity(), rate("layer-step"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SparseMAML(Method):
    """`A ← A − α 1[ζ > 0] ⊙ G` with one learned ζ per weight. Learned: the start and ζ.

    Attributes:
      start: ζ at the start.
      half_closed: whether ζ starts anywhere between −start and start instead, so that half of the weights do not move,
        as in the authors' code.

    References:
      von Oswald et al., Learning where to learn: Gradient sparsity in meta and continual learning, NeurIPS 2021,
      arXiv 2110.14402.
    """

    equation: ClassVar[str] = "A ← A − α 1[ζ > 0] ⊙ G"
    learned: ClassVar[str] = "ζ per weight"
    paper: ClassVar[str] = "von Oswald et al. 2021, arXiv 2110.14402"

    start: float = 0.1
    half_closed: bool = added(False)

    def parts(self) -> Parts:
        mask = sparse_mask(start=self.start, half_closed=self.half_closed)
        return Parts(identity(), chain(mask=mask, rate=sgd()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ALFA(Method):
    """`A ← β A − α G`, α and β per layer generated at each step from means of weights and gradients. Learned: the
    start, the generator, and the rates and decays that it scales, per layer and step.

    Attributes:
      detached: whether the means of gradients enter the generator as constants of the meta-gradient, as in the authors'
        code.

    References:
      Baik, Choi, Choi, Kim & Lee, Meta-Learning with Adaptive Hyperparameters, NeurIPS 2020, arXiv 2011.00209.
    """

    equation: ClassVar[str] = "A ← β A − α G, α and β generated at each step"
    learned: ClassVar[str] = "the generator of rates and decays, and what it scales"
    paper: ClassVar[str] = "Baik et al. 2020, arXiv 2011.00209"

    detached: bool = added(False)

    def parts(self) -> Parts:
        return Parts(identity(), generated_rates(detached=self.detached))


@dataclasses.dataclass(frozen=True, kw_only=True)
class L2F(Method):
    """`A ← A − α G` from `γ A₀`: before the first step each layer forgets a part of the start, by a factor γ_l that is
    generated from the means of all layers' gradients there. Learned: the start and the generator, and rates if `rates`
    says so.

    One inner loop has one gradient more than its steps.

    Attributes:
      rates: as in `maml`.
      start: γ at the start of training.
      detached: whether the means of gradients enter the generator as constants of the meta-gradient, as in the authors'
        code.

    References:
      Baik, Hong & Lee, Learning to Forget for Meta-Learning, CVPR 2020, arXiv 1906.05895.
    """

    equation: ClassVar[str] = "A ← A − α G from γ A, γ generated from the gradient at the start"
    learned: ClassVar[str] = "the generator of a factor γ per layer, and rates if chosen"
    paper: ClassVar[str] = "Baik et al. 2020, arXiv 1906.05895"

    rates: Rates = "fixed"
    start: float = 0.9
    detached: bool = False

    @property
    def learns(self) -> str:
        return besides(self.rates, "the generator of a factor γ per layer")

    def parts(self) -> Parts:
        return Parts(identity(), rate(self.rates), start=attenuation(start=self.start, detached=self.detached))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CAVIA(Method):
    """`φ ← φ − α ∂L/∂φ` for a context vector φ, one more input of the first layer; on the bias of that layer,
    `b ← b − α (G_b Cᵀ) C`. Learned: the start and C, which takes the context to the first layer.

    Attributes:
      context: elements of the context vector.

    References:
      Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson, Fast Context Adaptation via Meta-Learning, ICML 2019,
      arXiv 1810.03642.
    """

    equation: ClassVar[str] = "φ ← φ − α ∂L/∂φ, on the first bias b ← b − α (G_b Cᵀ) C"
    learned: ClassVar[str] = "C, from the context to the first layer"
    paper: ClassVar[str] = "Zintgraf et al. 2019, arXiv 1810.03642"

    adapts: Adapts = "first"
    context: int = 5

    def parts(self) -> Parts:
        return Parts(identity(), chain(context=context_bias(self.context), rate=sgd()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaCurvature(Method):
    """`A ← A − α Mₒ G M_f Mᵢ` with matrices on outputs, inputs and filter positions. Learned: the start, Mₒ, Mᵢ and M_f
    per layer, a factor per bias.

    Attributes:
      factors: which are learned: `oif` for all, or some of them.

    References:
      Park & Oliva, Meta-Curvature, NeurIPS 2019, arXiv 1902.03356.
    """

    equation: ClassVar[str] = "A ← A − α Mₒ G M_f Mᵢ"
    learned: ClassVar[str] = "Mₒ, Mᵢ, M_f per layer, a factor per bias"
    paper: ClassVar[str] = "Park & Oliva 2019, arXiv 1902.03356"

    factors: str = "oif"

    def parts(self) -> Parts:
        return Parts(identity(), chain(curvature=kronecker_factors(self.factors), rate=sgd()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApproximateGAP(Method):
    """`A ← A − α G diag(s)` with a positive scale per output unit. Learned: the start and the scales.

    References:
      Kang, Hwang, Eo, Kim & Rhee, Meta-Learning with a Geometry-Adaptive Preconditioner, CVPR 2023, arXiv 2304.01552.
    """

    equation: ClassVar[str] = "A ← A − α G diag(s)"
    learned: ClassVar[str] = "a scale per output unit"
    paper: ClassVar[str] = "Kang et al. 2023, arXiv 2304.01552"

    def parts(self) -> Parts:
        return Parts(identity(), chain(scale=unit_scale(), rate=sgd()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GAP(Method):
    """`A ← A − α U diag(s) Σ Vᵀ` for `G = U Σ Vᵀ`, with a positive scale per singular value. Learned: the start and the
    scales.

    Singular vectors are constants of the meta-gradient, as in the authors' code. That code does this to the 4-D kernels
    of convolutions alone (`gap(biases=False, beta=2.0)` is nearest to it), and holds no experiment on sine curves: the
    0.04 published there at 10 shots could not be reproduced (`docs/methods-on-sine.md`).

    Attributes:
      biases: whether the bias is one more row of G; otherwise it moves by α.
      beta: β of the softplus that keeps scales positive.

    References:
      Kang, Hwang, Eo, Kim & Rhee, Meta-Learning with a Geometry-Adaptive Preconditioner, CVPR 2023, arXiv 2304.01552.
    """

    equation: ClassVar[str] = "A ← A − α U diag(s) Σ Vᵀ for G = U Σ Vᵀ"
    learned: ClassVar[str] = "a scale per singular value"
    paper: ClassVar[str] = "Kang et al. 2023, arXiv 2304.01552"

    biases: bool = added(True)
    beta: float = added(1.0)

    def parts(self) -> Parts:
        return Parts(identity(), chain(scale=singular_scale(biases=self.biases, beta=self.beta), rate=sgd()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TNet(Method):
    """`W ← W − α ∇L(W T)`; on the folded weights A = W T, `A ← A − α G Tᵀ T`. Learned: the start and T per layer, S too
    with `sides=2`, and rates if `rates` says so.

    Attributes:
      sides: 1 for the paper's metric T on outputs; 2 for one on inputs as well, A = S W T.
      rates: as in `maml`, for W.
      metric: how T is stored: `full`, units² numbers; `low-rank`, `T = I + U Vᵀ`; or `diagonal`.
      rank: of a low-rank metric; at most the units of the layer.

    References:
      Lee & Choi, Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace, ICML 2018,
      arXiv 1801.05558, section 3.1.
    """

    equation: ClassVar[str] = "A ← A − α (G Tᵀ) T"
    learned: ClassVar[str] = "T per layer (S too with sides=2), and rates if chosen"
    paper: ClassVar[str] = LEE_CHOI

    sides: Sides = 1
    rates: Rates = "fixed"
    metric: Kind = "full"
    rank: int = 8

    @property
    def step(self) -> str:
        return self.equation if self.sides == 1 else "A ← A − α S (Sᵀ G Tᵀ) T"

    @property
    def learns(self) -> str:
        return besides(self.rates, METRICS[self.sides])

    def parts(self) -> Parts:
        return Parts(metric(self.sides, self.metric, self.rank), rate(self.rates))


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarpGrad(Method):
    """`W ← W − α ∇L(W T)`; T, and warp layers of the network, learn from each step of the trajectory by itself.
    Learned: the start, T per layer, warp layers.

    T is the linear case of a warp layer; for non-linear ones see `mtnets.models.Warp`.

    Attributes:
      metric: as in `t_net`.
      rank: as in `t_net`.

    References:
      Flennerhag, Rusu, Pascanu, Visin, Yin & Hadsell, Meta-Learning with Warped Gradient Descent, ICLR 2020,
      arXiv 1909.00025.
    """

    equation: ClassVar[str] = "A ← A − α (G Tᵀ) T; learned along the trajectory"
    learned: ClassVar[str] = "T per layer, warp layers"
    paper: ClassVar[str] = "Flennerhag et al. 2020, arXiv 1909.00025"

    estimator: Estimator = Trajectory()
    metric: Kind = "full"
    rank: int = 8

    def parts(self) -> Parts:
        return Parts(metric(1, self.metric, self.rank), sgd())


@dataclasses.dataclass(frozen=True, kw_only=True)
class MNet(Method):
    """`A ← A − α m ⊙ G`: the mask of an MT-net without its metric (an ablation). Learned: the start and ζ per unit,
    and rates if `rates` says so.

    Attributes:
      mask: how masks are used at test: `sample`, `mean` or `threshold`; training always samples.
      temperature: τ of the straight-through Gumbel-softmax.
      rates: as in `maml`.

    References:
      Lee & Choi 2018, arXiv 1801.05558.
    """

    equation: ClassVar[str] = "A ← A − α m ⊙ G"
    learned: ClassVar[str] = "ζ per unit, and rates if chosen"
    paper: ClassVar[str] = LEE_CHOI

    mask: MaskUse = "sample"
    temperature: float = 1.0
    rates: Rates = "fixed"

    @property
    def learns(self) -> str:
        return besides(self.rates, "ζ per unit")

    def parts(self) -> Parts:
        return masked(identity(), row_mask, self.mask, self.temperature, self.rates)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MTNet(Method):
    """`W ← W − α m ⊙ ∇L(W T)`; on the folded weights A = W T, `A ← A − α (m ⊙ (G Tᵀ)) T`. Learned: the start, T per
    layer and ζ per unit, S too with `sides=2`, and rates if `rates` says so.

    This is gradient descent in the span of the unmasked rows of T, under the metric that T defines. A unit moves with
    probability σ(ζ): one mask per output unit, drawn once per task.

    Attributes:
      mask: how masks are used at test: `sample` (the paper's), `mean` or `threshold`; training always samples.
      temperature: τ of the straight-through Gumbel-softmax.
      sides: as in `t_net`.
      rates: as in `maml`, for W.
      metric: as in `t_net`.
      rank: as in `t_net`.

    References:
      Lee & Choi 2018, arXiv 1801.05558, section 3.2.
    """

    equation: ClassVar[str] = "A ← A − α (m ⊙ (G Tᵀ)) T"
    learned: ClassVar[str] = "T per layer (S too with sides=2) and ζ per unit, and rates if chosen"
    paper: ClassVar[str] = LEE_CHOI

    mask: MaskUse = "sample"
    temperature: float = 1.0
    sides: Sides = 1
    rates: Rates = "fixed"
    metric: Kind = "full"
    rank: int = 8

    @property
    def step(self) -> str:
        return self.equation if self.sides == 1 else "A ← A − α S (m ⊙ (Sᵀ G Tᵀ)) T"

    @property
    def learns(self) -> str:
        return besides(self.rates, METRICS[self.sides], "ζ per unit")

    def parts(self) -> Parts:
        fold = metric(self.sides, self.metric, self.rank)
        return masked(fold, row_mask, self.mask, self.temperature, self.rates)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MTNetFull(Method):
    """`W ← W − α M_t ⊙ ∇L(W T)`: an MT-net with a mask for every element of W and b, redrawn at each inner step t.
    Learned: the start, T per layer and ζ per weight, and rates if `rates` says so.

    Attributes:
      mask: how masks are used at test: `sample`, `mean` or `threshold`; training always samples.
      temperature: τ of the straight-through Gumbel-softmax.
      rates: as in `maml`, for W.
      metric: as in `t_net`.
      rank: as in `t_net`.

    References:
      Lee & Choi 2018, arXiv 1801.05558; the authors' code.
    """

    equation: ClassVar[str] = "W ← W − α M_t ⊙ ∇L(W T), with a mask for every element"
    learned: ClassVar[str] = "T per layer and ζ per weight, and rates if chosen"
    paper: ClassVar[str] = f"{LEE_CHOI}, code"

    mask: MaskUse = "sample"
    temperature: float = 1.0
    rates: Rates = "fixed"
    metric: Kind = "full"
    rank: int = 8

    @property
    def learns(self) -> str:
        return besides(self.rates, "T per layer", "ζ per weight")

    def parts(self) -> Parts:
        return masked(metric(1, self.metric, self.rank), element_mask, self.mask, self.temperature, self.rates)


def masked(fold: Fold, mask: Callable[..., Rule], use: MaskUse, temperature: float, rates: Rates) -> Parts:
    """A mask followed by rates; training always samples it."""
    return Parts(
        fold,
        chain(mask=mask(temperature=temperature), rate=rate(rates)),
        chain(mask=mask(temperature=temperature, use=use), rate=rate(rates)),
    )


maml, fomaml, reptile, imaml, anil, boil = MAML, FOMAML, Reptile, IMAML, ANIL, BOIL
meta_sgd, maml_plus_plus, sparse_maml, alfa, l2f, cavia = MetaSGD, MAMLPlusPlus, SparseMAML, ALFA, L2F, CAVIA
meta_curvature, approximate_gap, gap = MetaCurvature, ApproximateGAP, GAP
t_net, warp_grad, m_net, mt_net, mt_net_full = TNet, WarpGrad, MNet, MTNet, MTNetFull
