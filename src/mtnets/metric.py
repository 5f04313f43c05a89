"""Fold: how the weights that a task moves become the weights that the network runs with.

`y = (x W + b) T = x (W T) + b T`: a metric T after a linear layer is a reparametrization of the layer's own weights. So
no layer is added, gradient descent on `W, b` sees `G Tᵀ` through automatic differentiation, and what comes out after
adaptation are plain weights of the original architecture.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError
from mtnets.layers import Layer

Weights = Mapping[str, Array]  # the leaves that move, by path
Arrays = Any  # a pytree of meta-learned arrays


class Fold(NamedTuple):
    """A pair of pure functions.

    Attributes:
      init: `init(layers, weights) -> arrays`, the meta-learned arrays at the start, which change nothing.
      apply: `apply(layers, arrays, weights) -> weights`, folded.
    """

    init: "FoldInit"
    apply: "FoldApply"


class FoldInit(Protocol):
    """See `Fold`."""

    def __call__(self, layers: Sequence[Layer], weights: Weights) -> Arrays: ...


class FoldApply(Protocol):
    """See `Fold`."""

    def __call__(self, layers: Sequence[Layer], arrays: Arrays, weights: Weights) -> dict[str, Array]: ...


def identity() -> Fold:
    """The weights as they are."""
    return Fold(lambda layers, weights: {}, lambda layers, arrays, weights: dict(weights))


def metric() -> Fold:
    """`W, b ↦ W T, b T` with one square T per layer, the identity at the start.

    On the folded weights A = W T a gradient step of W reads `A ← A − α G Tᵀ T`: steepest descent under a metric.
    Layers with several output axes have one T on their flattening.

    Raises:
      OptionError: at `init`, for a grouped convolution.

    References:
      Lee & Choi, Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace, ICML 2018,
      arXiv 1801.05558, equations 3-5.
    """

    def init(layers: Sequence[Layer], weights: Weights) -> Arrays:
        for layer in layers:
            if layer.groups > 1:
                raise OptionError(
                    f"{layer.name} is a convolution of {layer.groups} groups, which a metric over all its outputs "
                    "would mix; adapt it with a method without metric (m_net, meta_sgd, maml)."
                )
        return {layer.name: jnp.eye(layer.units, dtype=weights[layer.weight].dtype) for layer in layers}

    def apply(layers: Sequence[Layer], arrays: Arrays, weights: Weights) -> dict[str, Array]:
        folded = dict(weights)
        for layer in layers:
            # full precision: a GPU's TF32 would round W even at T = I
            matrix = jnp.matmul(layer.matrix(weights), arrays[layer.name], precision=jax.lax.Precision.HIGHEST)
            folded |= layer.leaves(matrix)
        return folded

    return Fold(init, apply)
