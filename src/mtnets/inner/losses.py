"""The losses that ship. Each is a frozen dataclass: its fields are its options, its docstring the equation."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from mtnets.arguments import check_fields
from mtnets.errors import OptionError
from mtnets.inner.objective import LearnedLoss, PerExample, Standing, Targets
from mtnets.inner.task import Batch

LOSSES: dict[str, type["Shipped"]] = {}
MASKED = -1e9  # logit of an output that is no class of the task: finite, since the gradient at −∞ is NaN


class Shipped(PerExample):
    """A loss that ships, listed in `LOSSES` by its name. Numbers of an example are averaged over its outputs."""

    targets: ClassVar[Targets] = "numbers"

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):
            LOSSES[cls.name] = cls

    def __str__(self) -> str:
        return self.name

    def __post_init__(self) -> None:
        check_fields(self)


# --- numbers


@dataclasses.dataclass(frozen=True)
class Squared(Shipped):
    """`(f − y)²`."""

    name: ClassVar[str] = "mse"

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """Mean over outputs, `[examples]`, for outputs of the shape of the targets."""
        return _mean(jnp.square(prediction - batch.y))


@dataclasses.dataclass(frozen=True)
class Absolute(Shipped):
    """`|f − y|`."""

    name: ClassVar[str] = "mae"

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """Mean over outputs, `[examples]`, for outputs of the shape of the targets."""
        return _mean(jnp.abs(prediction - batch.y))


@dataclasses.dataclass(frozen=True)
class Huber(Shipped):
    """`½ (f − y)²` where `|f − y| ≤ δ`, beyond it `δ |f − y| − ½ δ²`.

    Attributes:
      delta: δ, in units of the targets.

    References:
      Huber, Robust Estimation of a Location Parameter, Annals of Mathematical Statistics 1964.
    """

    name: ClassVar[str] = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "delta")

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """Mean over outputs, `[examples]`, for outputs of the shape of the targets."""
        return _mean(optax.huber_loss(prediction, batch.y, delta=self.delta))


@dataclasses.dataclass(frozen=True)
class Gaussian(Shipped):
    """`½ (ln 2π + v + (f − y)² e⁻ᵛ)`: a normal distribution of mean `f` and log-variance `v`, which the network returns
    side by side: the first half of its outputs are means, the second log-variances.

    Attributes:
      smallest: lower bound of `v`; a task of few examples could otherwise become certain beyond all bounds.

    References:
      Nix & Weigend, Estimating the Mean and Variance of the Target Probability Distribution, ICNN 1994.
    """

    name: ClassVar[str] = "gaussian"
    smallest: float = -10.0

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """Mean over targets, `[examples]`, for outputs `[examples, 2 · targets]`."""
        mean, v = self.moments(prediction)
        return _mean(0.5 * (jnp.log(2 * jnp.pi) + v + jnp.square(mean - batch.y) * jnp.exp(-v)))

    def moments(self, prediction: Array) -> tuple[Array, Array]:
        """Mean and log-variance, `[examples, targets]` each."""
        mean, v = jnp.split(prediction, 2, axis=-1)
        return mean, jnp.maximum(v, self.smallest)

    def interval(self, outputs: Any, coverage: float) -> tuple[Any, Any]:
        """Ends of the interval of the normal distribution."""
        if not 0 < coverage < 1:
            raise OptionError(f"coverage is {coverage}; it must be between 0 and 1.")
        mean, v = jnp.split(jnp.asarray(outputs), 2, axis=-1)  # models return them with the bound of v, in its units
        half = statistics.NormalDist().inv_cdf((1 + coverage) / 2) * jnp.exp(v / 2)
        return mean - half, mean + half

    def point(self, outputs: Any) -> Any:
        """The means."""
        return outputs[..., : outputs.shape[-1] // 2]

    def variance(self, outputs: Any) -> Any:
        """`eᵛ`."""
        return np.exp(outputs[..., outputs.shape[-1] // 2 :])

    def mixed(self, outputs: Any) -> Any:
        """Mean and log-variance of the mixture, by the law of total variance (Lakshminarayanan, Pritzel & Blundell
        2017, arXiv 1612.01474, section 2.4)."""
        means, variance = self.point(outputs), self.variance(outputs)
        total = np.mean(variance, axis=0) + np.var(means, axis=0)
        return np.concatenate([np.mean(means, axis=0), np.log(total)], axis=-1)

    @property
    def outputs_per_target(self) -> int:
        """A mean and a log-variance."""
        return 2

    def unscaled(self, outputs: Any, unscale: Callable[[Any], Any]) -> Any:
        """Means in units of the targets, and log-variances in their squares."""
        mean, v = self.moments(jnp.asarray(outputs))
        unit = unscale(jnp.ones_like(mean)) - unscale(jnp.zeros_like(mean))
        return jnp.concatenate([unscale(mean), v + 2 * jnp.log(unit)], axis=-1)


@dataclasses.dataclass(frozen=True)
class Quantile(Shipped):
    """`max(q (y − f), (q − 1) (y − f))`, mean over the levels `q`, for which the network returns an output each: those
    of the first target, then those of the second, and so on.

    Attributes:
      levels: from 0 to 1, rising.

    References:
      Koenker & Bassett, Regression Quantiles, Econometrica 1978.
    """

    name: ClassVar[str] = "quantile"
    levels: tuple[float, ...] = (0.05, 0.5, 0.95)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            not self.levels
            or sorted(set(self.levels)) != list(self.levels)
            or not 0 < min(self.levels) <= max(self.levels) < 1
        ):
            raise OptionError(f"levels is {self.levels}; it must be rising numbers between 0 and 1.")

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """Mean over targets and levels, `[examples]`, for outputs `[examples, targets · levels]`."""
        error = batch.y[..., None] - self.of_levels(prediction)
        levels = jnp.asarray(self.levels, error.dtype)
        return _mean(jnp.maximum(levels * error, (levels - 1) * error))

    def interval(self, outputs: Any, coverage: float) -> tuple[Any, Any]:
        """The quantiles of two levels, in order."""
        ends = [(1 - coverage) / 2, (1 + coverage) / 2]
        places = [next((i for i, q in enumerate(self.levels) if abs(q - end) < 1e-6), None) for end in ends]
        if None in places:
            raise OptionError(
                f"coverage is {coverage}, which needs the levels {ends[0]:g} and {ends[1]:g}; the learner was trained "
                f"with {', '.join(map(str, self.levels))}."
            )
        quantiles = np.sort(self.of_levels(jnp.asarray(outputs)), axis=-1)  # levels may cross
        return quantiles[..., places[0]], quantiles[..., places[1]]

    def point(self, outputs: Any) -> Any:
        """The quantiles of the level that is nearest to one half."""
        middle = min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - 0.5))
        return outputs[..., middle :: len(self.levels)]

    @property
    def outputs_per_target(self) -> int:
        """One for each level."""
        return len(self.levels)

    def of_levels(self, prediction: Array) -> Array:
        """Quantiles, `[examples, targets, levels]`."""
        return prediction.reshape(*prediction.shape[:-1], -1, len(self.levels))


@dataclasses.dataclass(frozen=True)
class Poisson(Shipped):
    """`eᶠ − y f`: counts `y` whose logarithmic rate is `f`."""

    name: ClassVar[str] = "poisson"
    limits: ClassVar[tuple[float, float]] = (0, math.inf)

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """Mean over outputs, `[examples]`, for outputs of the shape of the targets."""
        return _mean(jnp.exp(prediction) - batch.y * prediction)

    def point(self, outputs: Any) -> Any:
        """The rates."""
        return np.exp(outputs)

    def variance(self, outputs: Any) -> Any:
        """The rates too."""
        return np.exp(outputs)

    def mixed(self, outputs: Any) -> Any:
        """Logarithm of the mean rate."""
        return _log_mean_exp(outputs)


# --- classes


@dataclasses.dataclass(frozen=True)
class CrossEntropy(Shipped):
    """`−ln softmax(f)_y`, for integer labels `y`.

    Attributes:
      smoothing: share of each label that is spread over all classes of the task.
      class_weights: of the classes, by their labels; the loss of an example counts so much. None for all the same. The
        mean is over examples, not over weights.

    References:
      Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, section 7 (label smoothing).

    # Differs from Lee & Choi (2018): their code sums over N·K examples and divides by K, N times the mean over
    # examples; their inner rates are multiplied by N here.
    """

    name: ClassVar[str] = "cross-entropy"
    targets: ClassVar[Targets] = "labels"
    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise OptionError(f"smoothing is {self.smoothing}; it must be from 0 to below 1.")
        _check_weights(self.class_weights)

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """Mean over places, `[examples]`, for logits `[examples, ..., classes]` and labels `[examples, ...]`."""
        logits = masked_logits(prediction, batch)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
        if self.smoothing:
            used = _used(logits.shape[-1], batch)
            used = jnp.ones(logits.shape[-1], bool) if used is None else used
            log_likelihoods = jnp.where(used, jax.nn.log_softmax(logits), 0.0)
            uniform = -log_likelihoods.sum(-1) / used.sum()
            loss = (1 - self.smoothing) * loss + self.smoothing * uniform
        return _mean(loss * _weights_of(self.class_weights, batch.y, loss.dtype))

    def mixed(self, outputs: Any) -> Any:
        """Logarithm of the mean of the probabilities."""
        return _log_mean_exp(outputs - np.logaddexp.reduce(outputs, axis=-1, keepdims=True))


@dataclasses.dataclass(frozen=True)
class Focal(CrossEntropy):
    """`−(1 − p_y)^γ ln p_y` with `p = softmax(f)`: examples that are told apart already count less.

    Attributes:
      gamma: γ.

    References:
      Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """

    name: ClassVar[str] = "focal"
    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smoothing:
            raise OptionError("smoothing is not defined for the focal loss; leave it out.")
        if self.gamma < 0:
            raise OptionError(f"gamma is {self.gamma}; it must be at least 0.")

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """Mean over places, `[examples]`, for logits `[examples, ..., classes]` and labels `[examples, ...]`."""
        nll = optax.softmax_cross_entropy_with_integer_labels(masked_logits(prediction, batch), batch.y)
        # a power of 0 has no second derivative below γ = 2: one part in 10⁷ away from it
        loss = jnp.maximum(-jnp.expm1(-nll), 1e-7) ** self.gamma * nll
        return _mean(loss * _weights_of(self.class_weights, batch.y, loss.dtype))


@dataclasses.dataclass(frozen=True)
class Binary(Shipped):
    """`−y ln σ(f) − (1 − y) ln σ(−f)`: a yes or no for each output, any number of which may be yes (several labels).

    Attributes:
      class_weights: of the yes of each output; None for 1.
    """

    name: ClassVar[str] = "binary"
    limits: ClassVar[tuple[float, float]] = (0, 1)
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weights(self.class_weights)

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """Mean over outputs, `[examples]`, for logits and targets from 0 to 1, of the same shape."""
        weights = 1.0 if self.class_weights is None else jnp.asarray(self.class_weights, prediction.dtype)
        yes, no = jax.nn.softplus(-prediction), jax.nn.softplus(prediction)
        return _mean(weights * batch.y * yes + (1 - batch.y) * no)

    def mixed(self, outputs: Any) -> Any:
        """Logit of the mean of the probabilities."""
        return _logit_of_mean(outputs)


@dataclasses.dataclass(frozen=True)
class Dice(Shipped):
    """`1 − (2 Σ p y + s) / (Σ p + Σ y + s)` with `p = σ(f)`: the overlap of regions, over all places of an example.

    Attributes:
      smooth: s, which an example without a region needs.

    References:
      Milletari, Navab & Ahmadi, V-Net, 3DV 2016 (there with squares in the denominator).
    """

    name: ClassVar[str] = "dice"
    limits: ClassVar[tuple[float, float]] = (0, 1)
    smooth: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "smooth")

    def __call__(self, prediction: Array, batch: Batch) -> Array:
        """`[examples]`, for logits and targets from 0 to 1, of the same shape."""
        places = tuple(range(1, prediction.ndim))
        p = jax.nn.sigmoid(prediction)
        both, each = jnp.sum(p * batch.y, places), jnp.sum(p, places) + jnp.sum(batch.y, places)
        return 1 - (2 * both + self.smooth) / (each + self.smooth)

    def mixed(self, outputs: Any) -> Any:
        """Logit of the mean of the probabilities."""
        return _logit_of_mean(outputs)


# --- learned


class _OnALoss(LearnedLoss, Shipped):
    """What the learned losses that stand on a shipped one, by its name `loss`, share."""

    loss: str

    @property
    def targets(self) -> Targets:  # type: ignore[override]
        """Those of that loss."""
        return self._base.targets

    @property
    def limits(self) -> tuple[float, float]:  # type: ignore[override]
        """Those of that loss."""
        return self._base.limits

    @property
    def outputs_per_target(self) -> int:
        """That of that loss."""
        return self._base.outputs_per_target

    @property
    def _base(self) -> "Shipped":
        return LOSSES[self.loss]()


@dataclasses.dataclass(frozen=True)
class LearnedWeights(_OnALoss):
    """`2 σ(V(ℓ)) ℓ` for the loss ℓ of an example, with a meta-learned perceptron V of one hidden layer, 0 at the start:
    a weight for each example by its loss, from 0 to twice the usual one. For `inner_loss=`; it learns which examples of
    a support set to trust, where labels or numbers may be wrong.

    Attributes:
      loss: name of ℓ.
      hidden: units of the hidden layer.

    References:
      Shu et al., Meta-Weight-Net: Learning an Explicit Mapping for Sample Weighting, NeurIPS 2019, arXiv 1902.07379;
      there without the factor 2, and outside of few-shot learning.
    """

    name: ClassVar[str] = "learned-weights"
    loss: str = "cross-entropy"
    hidden: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in LOSSES or issubclass(LOSSES[self.loss], LearnedLoss):
            raise OptionError(f"There is no loss {self.loss!r} to weigh; choose one of {', '.join(LOSSES)}.")
        if self.hidden < 1:
            raise OptionError(f"hidden is {self.hidden}; it must be at least 1.")

    def init(self, key: Array) -> Any:
        """The perceptron, `[1, hidden]` and `[hidden]`."""
        return {
            "w": jax.random.normal(key, (1, self.hidden)),
            "b": jnp.zeros(self.hidden),
            "v": jnp.zeros(self.hidden),
            "c": jnp.zeros(()),
        }

    def learned(self, arrays: Any, prediction: Array, batch: Batch) -> Array:
        """`[examples]`, for outputs as the loss takes them."""
        loss = self._base(prediction, batch)
        hidden = jax.nn.relu(loss[:, None] * arrays["w"][0] + arrays["b"])
        return 2 * jax.nn.sigmoid(jnp.sum(hidden * arrays["v"], -1) + arrays["c"]) * loss


@dataclasses.dataclass(frozen=True)
class MeTAL(_OnALoss):
    """`ℓ + mean_k m_t(τ, f_k, y_k)` for the loss ℓ of an example: a perceptron m_t of two layers, one for each inner
    step t, says what else is to be made small, from the outputs f_k, the targets y_k and the state τ of the task.

    `τ = (mean ℓ, w̄_1, …, w̄_n)`, with the mean w̄_l of the weights of each layer that moves, standardised over its
    elements. Another perceptron per step makes scales and shifts `(γ_i, δ_i)` of it, by which the i-th of the four
    arrays of m_t becomes that of the task: `φ_i ← (1 + p_i γ_i) φ_i + q_i δ_i`. The last layer of m_t, p and q are zero
    at the start, so that the loss is ℓ there. Steps beyond those of training use the last m_t. For labels, f_k is the
    log-probability of class k, and y_k is 1 for the class of the example and 0 for others.

    With `mtnets.alfa()` it is ALFA + MeTAL; it goes with any method.

    Attributes:
      loss: name of ℓ, which takes one output for each target.

    References:
      Baik, Choi, Kim, Cho, Min & Lee, Meta-Learning with Task-Adaptive Loss Function for Few-Shot Learning, ICCV 2021,
      arXiv 2110.03909; the equations follow the authors' code.
    """

    # Differs from Baik et al. (2021): m_t sees one output at a time, and not all of them side by side, so that classes
    # are alike, and any number of them will do; of m_t's inputs only τ is standardised; m_t starts at zero; and there
    # is no second loss of unlabelled queries, which would make a prediction depend on the others of its batch.
    name: ClassVar[str] = "metal"
    loss: str = "cross-entropy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in LOSSES or issubclass(LOSSES[self.loss], LearnedLoss):
            raise OptionError(f"There is no loss {self.loss!r} to add to; choose one of {', '.join(LOSSES)}.")
        if self.outputs_per_target != 1:
            raise OptionError(
                f"loss is {self.loss!r}, of {self.outputs_per_target} outputs for each target; metal needs one with a "
                "single output, such as 'mse' or 'cross-entropy'."
            )

    def init(self, key: Array) -> Any:
        """The perceptrons of a single step, for weights that are not looked at."""
        return self.init_for(key, 0, 1)

    def init_for(self, key: Array, layers: int, steps: int) -> Any:
        """The perceptrons, `[steps, ...]`."""
        steps, state = max(1, steps), layers + 1
        inputs = state + 2  # an output and a target
        keys = [jax.random.fold_in(key, i) for i in range(3)]

        def normal(i: int, rows: int, columns: int) -> Array:
            return jax.random.normal(keys[i], (steps, rows, columns)) / rows**0.5

        return {
            "loss": {
                "w": normal(0, inputs, inputs),
                "b": jnp.zeros((steps, inputs)),
                "v": jnp.zeros((steps, inputs)),
                "c": jnp.zeros((steps,)),
            },
            "adapter": {
                "w": normal(1, state, state),
                "b": jnp.zeros((steps, state)),
                "v": normal(2, state, 2 * len(ADAPTED)),
                "c": jnp.zeros((steps, 2 * len(ADAPTED))),
            },
            "scale": jnp.zeros((steps, len(ADAPTED))),
            "shift": jnp.zeros((steps, len(ADAPTED))),
        }

    def learned(self, arrays: Any, prediction: Array, batch: Batch) -> Array:
        """`[examples]`, before the first step, for weights of mean zero."""
        layers = arrays["adapter"]["w"].shape[-1] - 1
        return self.at(arrays, Standing(0, jnp.zeros(layers, prediction.dtype)), prediction, batch)

    def at(self, arrays: Any, standing: Standing, prediction: Array, batch: Batch) -> Array:
        """`[examples]`, for outputs as the loss takes them."""
        base = self._base(prediction, batch)
        now = jax.tree.map(lambda each: each[jnp.minimum(standing.step, len(each) - 1)], arrays)
        state = jnp.concatenate([batch.mean(base)[None], standing.means])
        state = (state - state.mean()) / jnp.sqrt(state.var() + SMALLEST_VARIANCE)
        generated = _hidden(now["adapter"], state) @ now["adapter"]["v"] + now["adapter"]["c"]
        gamma, delta = jnp.split(generated, 2)
        scales, shifts = 1 + now["scale"] * gamma, now["shift"] * delta
        m = {name: scales[i] * now["loss"][name] + shifts[i] for i, name in enumerate(ADAPTED)}
        used = None
        f, y = prediction, batch.y
        if self.labels:
            used = _used(f.shape[-1], batch)
            f, y = jax.nn.log_softmax(masked_logits(f, batch)), jax.nn.one_hot(y, f.shape[-1], dtype=f.dtype)
            f = f if used is None else jnp.where(used, f, 0)  # far below: what a class that is none must not be
        each = jnp.concatenate([jnp.broadcast_to(state, (*f.shape, len(state))), f[..., None], y[..., None]], -1)
        each = _hidden(m, each) @ m["v"] + m["c"]
        if used is not None:
            each = jnp.where(used, each, 0) * (used.size / used.sum())
        return base + _mean(each)


ADAPTED = ("w", "b", "v", "c")  # the arrays of the perceptron that a task adapts
SMALLEST_VARIANCE = 1e-12  # of what is standardised: the derivative of a root is infinite at 0


def _hidden(perceptron: Any, x: Array) -> Array:
    """The hidden layer of a perceptron, `[..., units]`."""
    return jax.nn.relu(x @ perceptron["w"] + perceptron["b"])


def masked_logits(logits: Array, batch: Batch) -> Array:
    """Logits of the outputs that are classes of the task; those of others are `MASKED`."""
    used = _used(logits.shape[-1], batch)
    return logits if used is None else jnp.where(used, logits, MASKED)


def _used(outputs: int, batch: Batch) -> Array | None:
    """Which of a network's outputs are classes of the task, `[outputs]`; None for all."""
    if batch.outputs is None:
        return None
    return jnp.pad(
        batch.outputs, (0, outputs - len(batch.outputs))
    )  # a task may have fewer than the network tells apart


def _mean(values: Array) -> Array:
    """Mean over all axes but that of examples."""
    return jnp.mean(values, axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values


def _log_mean_exp(values: Any) -> Any:
    """Logarithm of the mean of the exponentials over the first axis, which does not overflow."""
    return np.logaddexp.reduce(values, axis=0) - np.log(np.asarray(len(values), values.dtype))


def _logit_of_mean(logits: Any) -> Any:
    """Logit of the mean over the first axis of the probabilities that these are logits of."""
    return _log_mean_exp(-np.logaddexp(0, -logits)) - _log_mean_exp(-np.logaddexp(0, logits))


def _weights_of(class_weights: tuple[float, ...] | None, labels: Array, dtype: np.dtype) -> Array | float:
    return 1.0 if class_weights is None else jnp.asarray(class_weights, dtype)[labels]


def _check_weights(weights: Sequence[float] | None) -> None:
    if weights is not None and (not weights or min(weights) < 0 or max(weights) == 0):
        raise OptionError(f"class_weights is {weights}; they must be at least 0, and not all 0.")


def _check_positive(loss: Shipped, name: str) -> None:
    if getattr(loss, name) <= 0:
        raise OptionError(f"{name} is {getattr(loss, name)}; it must be above 0.")
