"""Rules: from the gradients of a task to its updates. Each is an Optax transformation with meta-learned arrays.

A rule is begun once per task, with a random key (there a mask is drawn); its arrays get their gradient through the
updates that it makes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from mtnets.errors import OptionError
from mtnets.layers import Layer
from mtnets.metric import Arrays, Weights

MaskUse = Literal["sample", "mean", "threshold"]


class Rule(NamedTuple):
    """A pair of pure functions, and a third for the reader.

    Attributes:
      init: `init(layers, weights, inner_lr, key) -> arrays`, the meta-learned arrays at the start.
      begin: `begin(layers, arrays, inner_lr, key) -> optax.GradientTransformation` for one task.
      moving: `moving(layers, arrays) -> {layer name: share of its units that a task moves}`.
    """

    init: "RuleInit"
    begin: "RuleBegin"
    moving: "RuleMoving" = lambda layers, arrays: {}


class RuleInit(Protocol):
    """See `Rule`."""

    def __call__(self, layers: Sequence[Layer], weights: Weights, inner_lr: Any, key: Array) -> Arrays: ...


class RuleBegin(Protocol):
    """See `Rule`."""

    def __call__(
        self, layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array
    ) -> optax.GradientTransformation: ...


class RuleMoving(Protocol):
    """See `Rule`."""

    def __call__(self, layers: Sequence[Layer], arrays: Arrays) -> Mapping[str, Array]: ...


def chain(**rules: Rule) -> Rule:
    """Rules one after another, in the order given; the names are those of their arrays."""

    def init(layers: Sequence[Layer], weights: Weights, inner_lr: Any, key: Array) -> Arrays:
        items = enumerate(rules.items())
        return {n: r.init(layers, weights, inner_lr, jax.random.fold_in(key, i)) for i, (n, r) in items}

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        # fold_in, not split: a key that no rule uses then costs nothing
        items = enumerate(rules.items())
        return optax.chain(*(r.begin(layers, arrays[n], inner_lr, jax.random.fold_in(key, i)) for i, (n, r) in items))

    def moving(layers: Sequence[Layer], arrays: Arrays) -> Mapping[str, Array]:
        return {name: share for n, r in rules.items() for name, share in r.moving(layers, arrays[n]).items()}

    return Rule(init, begin, moving)


def sgd() -> Rule:
    """`Δ = −α G`."""
    return Rule(
        lambda layers, weights, inner_lr, key: {},
        lambda layers, arrays, inner_lr, key: optax.scale(-inner_lr),
    )


def weight_rates() -> Rule:
    """`Δ = −α ⊙ G` with one learned rate per weight, all α at the start.

    References:
      Li, Zhou, Chen & Li, Meta-SGD, 2017, arXiv 1707.09835.
    """

    def init(layers: Sequence[Layer], weights: Weights, inner_lr: Any, key: Array) -> Arrays:
        return {path: jnp.full_like(weight, inner_lr) for path, weight in weights.items()}

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        def update(updates: Any, params: Any = None) -> Any:
            return {path: -arrays[path] * g for path, g in updates.items()}

        return optax.stateless(update)

    return Rule(init, begin)


def row_mask(*, temperature: float = 1.0, use: MaskUse = "sample") -> Rule:
    """`Δ = m ⊙ G`: one mask per output unit, shared by its weights and bias, drawn once per task.

    `m_j = 1` with probability σ(ζ_j); ζ = 0 at the start.

    Args:
      temperature: τ of the straight-through Gumbel-softmax.
      use: `sample` draws masks, `mean` takes σ(ζ) itself, `threshold` takes 1[ζ > 0].

    References:
      Lee & Choi 2018, equations 6-8.
    """
    _check_mask(temperature, use)

    def init(layers: Sequence[Layer], weights: Weights, inner_lr: Any, key: Array) -> Arrays:
        return {layer.name: jnp.zeros(layer.units, weights[layer.weight].dtype) for layer in layers}

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        masks = _masks(arrays, key, temperature, use)

        def update(updates: Any, params: Any = None) -> Any:
            masked = dict(updates)
            for layer in layers:
                masked |= layer.leaves(layer.matrix(updates) * masks[layer.name])
            return masked

        return optax.stateless(update)

    return Rule(init, begin, lambda layers, arrays: {n: jax.nn.sigmoid(z).mean() for n, z in arrays.items()})


class ElementMaskState(NamedTuple):
    """Inner steps taken so far."""

    step: Array


def element_mask(*, temperature: float = 1.0, use: MaskUse = "sample") -> Rule:
    """`Δ = m ⊙ G`: one mask per element of every weight and bias, drawn anew at each inner step.

    ζ starts from a truncated normal, of scale 0.1 for dense layers and 0.01 for convolutions (Lee & Choi's code).

    Args:
      temperature: τ of the straight-through Gumbel-softmax.
      use: as in `row_mask`.
    """
    _check_mask(temperature, use)

    def init(layers: Sequence[Layer], weights: Weights, inner_lr: Any, key: Array) -> Arrays:
        scale = {path: 0.1 if len(layer.shape) == 2 else 0.01 for layer in layers for path in layer.paths}
        keys = jax.random.split(key, len(weights))
        return {
            path: scale[path] * jax.random.truncated_normal(k, -2.0, 2.0, weight.shape, weight.dtype)
            for (path, weight), k in zip(weights.items(), keys, strict=True)
        }

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        def update(updates: Any, state: ElementMaskState, params: Any = None) -> tuple[Any, ElementMaskState]:
            masks = _masks(arrays, jax.random.fold_in(key, state.step), temperature, use)
            return {path: g * masks[path] for path, g in updates.items()}, ElementMaskState(state.step + 1)

        return optax.GradientTransformation(
            lambda params: ElementMaskState(jnp.zeros((), jnp.int32)),
            update,  # type: ignore[arg-type]
        )

    def moving(layers: Sequence[Layer], arrays: Arrays) -> Mapping[str, Array]:
        return {layer.name: jax.nn.sigmoid(arrays[layer.weight]).mean() for layer in layers}

    return Rule(init, begin, moving)


def straight_through_mask(logits: Array, key: Array, temperature: float = 1.0) -> Array:
    """Draws `m = 1[s > ½]` with the gradient of `s = σ((ζ + L)/τ)`, `L ~ Logistic(0, 1)`.

    This is the straight-through Gumbel-softmax with the two classes (ζ, 0), since the difference of two Gumbel
    variables is logistic (Jang et al. 2017, arXiv 1611.01144). `m = 1` with probability σ(ζ).

    Args:
      logits: ζ, of any shape.
      key: for L.
      temperature: τ.

    Returns:
      The mask, of the shape of ζ.
    """
    soft = jax.nn.sigmoid((logits + jax.random.logistic(key, logits.shape, logits.dtype)) / temperature)
    hard = (soft > 0.5).astype(logits.dtype)
    return hard + (soft - jax.lax.stop_gradient(soft))  # the bracket is exactly 0


def _masks(logits: Mapping[str, Array], key: Array, temperature: float, use: MaskUse) -> dict[str, Array]:
    if use == "mean":
        return {name: jax.nn.sigmoid(zeta) for name, zeta in logits.items()}
    if use == "threshold":
        return {name: (zeta > 0).astype(zeta.dtype) for name, zeta in logits.items()}
    # drawn as one vector: random numbers cost by the call more than by the number
    flat, unravel = ravel_pytree(dict(logits))
    return unravel(straight_through_mask(flat, key, temperature))


def _check_mask(temperature: float, use: str) -> None:
    if not 0 < temperature < float("inf"):
        raise OptionError(f"The temperature of a mask is {temperature}; it must be a number above 0.")
    if use not in get_args(MaskUse):
        raise OptionError(f"A mask cannot be used as {use!r}; choose one of {', '.join(get_args(MaskUse))}.")
