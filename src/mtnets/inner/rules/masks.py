"""Masks: which units, or which elements, a task may move."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from mtnets.errors import OptionError
from mtnets.inner.rules.chain import by_step
from mtnets.inner.seams import Arrays, Rule, Setting
from mtnets.networks.layers import Layer

MaskUse = Literal["sample", "mean", "threshold"]


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

    def init(setting: Setting) -> Arrays:
        return {layer.name: jnp.zeros(layer.units, setting.weights[layer.weight].dtype) for layer in setting.layers}

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        masks = _masks(arrays, key, temperature, use)

        def update(updates: Any, params: Any = None) -> Any:
            masked = dict(updates)
            for layer in layers:
                masked |= layer.leaves(layer.matrix(updates) * masks[layer.name])
            return masked

        return optax.stateless(update)

    def probabilities(layers: Sequence[Layer], arrays: Arrays) -> Mapping[str, Array]:
        return {name: jax.nn.sigmoid(zeta) for name, zeta in arrays.items()}

    return Rule(init, begin, probabilities, surrogate="arrays")


def element_mask(*, temperature: float = 1.0, use: MaskUse = "sample") -> Rule:
    """`Δ = m ⊙ G`: one mask per element of every weight and bias, drawn anew at each inner step.

    ζ starts from a truncated normal, of scale 0.1 for dense layers and 0.01 for convolutions (Lee & Choi's code).

    Args:
      temperature: τ of the straight-through Gumbel-softmax.
      use: as in `row_mask`.
    """
    _check_mask(temperature, use)

    def init(setting: Setting) -> Arrays:
        scale = {path: 0.1 if len(layer.shape) == 2 else 0.01 for layer in setting.layers for path in layer.paths}
        keys = jax.random.split(setting.key, len(setting.weights))
        return {
            path: scale[path] * jax.random.truncated_normal(k, -2.0, 2.0, weight.shape, weight.dtype)
            for (path, weight), k in zip(setting.weights.items(), keys, strict=True)
        }

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        def update(updates: Any, step: Array, params: Any) -> Any:
            masks = _masks(arrays, jax.random.fold_in(key, step), temperature, use)
            return {path: g * masks[path] for path, g in updates.items()}

        return by_step(update)

    def probabilities(layers: Sequence[Layer], arrays: Arrays) -> Mapping[str, Array]:
        return {layer.name: jax.nn.sigmoid(arrays[layer.weight]) for layer in layers}

    return Rule(init, begin, probabilities, surrogate="arrays")


def sparse_mask(*, start: float = 0.1, half_closed: bool = False) -> Rule:
    """`Δ = 1[ζ > 0] ⊙ G` with one ζ per element of every weight and bias, without noise; its gradient goes straight
    through the step function, as if that were the identity.

    Args:
      start: ζ at the start, where everything moves (our choice).
      half_closed: whether ζ starts from uniform draws between −start and start instead, where half of it moves.

    Raises:
      OptionError: for a start that is not above 0.

    References:
      von Oswald et al., Learning where to learn: Gradient sparsity in meta and continual learning, NeurIPS 2021,
      arXiv 2110.14402.
    """
    if not 0 < start < float("inf"):
        raise OptionError(f"start is {start}; it must be a number above 0, where everything moves.")

    def init(setting: Setting) -> Arrays:
        if not half_closed:
            return {path: jnp.full_like(weight, start) for path, weight in setting.weights.items()}
        keys = jax.random.split(setting.key, len(setting.weights))
        return {
            path: jax.random.uniform(key, weight.shape, weight.dtype, -start, start)
            for (path, weight), key in zip(setting.weights.items(), keys, strict=True)
        }

    def begin(layers: Sequence[Layer], arrays: Arrays, inner_lr: Any, key: Array) -> optax.GradientTransformation:
        def open_or_not(zeta: Array) -> Array:
            return (zeta > 0).astype(zeta.dtype) + (zeta - jax.lax.stop_gradient(zeta))  # the bracket is exactly 0

        masks = jax.tree.map(open_or_not, arrays)
        return optax.stateless(lambda updates, params: jax.tree.map(jnp.multiply, masks, updates))

    def probabilities(layers: Sequence[Layer], arrays: Arrays) -> Mapping[str, Array]:
        return {layer.name: 1.0 * (arrays[layer.weight] > 0) for layer in layers}

    return Rule(init, begin, probabilities, surrogate="arrays", loose=True)


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
        raise OptionError(f"temperature is {temperature}; it must be a number above 0.")
    if use not in get_args(MaskUse):
        raise OptionError(f"A mask cannot be used as {use!r}; choose one of {', '.join(get_args(MaskUse))}.")
