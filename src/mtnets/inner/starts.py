"""Starts that depend on the task: where its weights begin, by what its support set says of where all tasks begin."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError
from mtnets.inner.folds import product
from mtnets.inner.seams import Arrays, Setting, TaskStart, Weights
from mtnets.networks.layers import Layer


def attenuation(*, start: float = 0.9, detached: bool = False) -> TaskStart:
    """`W ← γ_l W` before the first inner step, where a perceptron of two layers generates a factor γ_l between 0 and 1
    per layer l from the means of every layer's gradient there: `γ = σ(B relu(A ḡ + a) + b)`. B is zero at the start.

    Args:
      start: γ at the start, for all tasks and layers.
      detached: whether the means of gradients are constants of the meta-gradient.

    Raises:
      OptionError: for a start that is not between 0 and 1.

    References:
      Baik, Hong & Lee, Learning to Forget for Meta-Learning, CVPR 2020, arXiv 1906.05895 (L2F).
    """
    # Differs from Baik, Hong & Lee (2020): in their code weight and bias are two layers, here they are one; and B
    # starts at random there, so that γ is about 0.5.
    if not 0 < start < 1:
        raise OptionError(
            f"start is {start}; it must be between 0, where all is forgotten, and 1, which γ never reaches."
        )

    def init(setting: Setting) -> Arrays:
        count, dtype = len(setting.layers), setting.weights[setting.layers[0].weight].dtype
        return {
            "A": jax.random.normal(setting.key, (count, count), dtype) / count**0.5,
            "a": jnp.zeros(count, dtype),
            "B": jnp.zeros((count, count), dtype),
            "b": jnp.full(count, math.log(start / (1 - start)), dtype),
        }

    def apply(layers: Sequence[Layer], arrays: Arrays, weights: Weights, gradient: Weights) -> dict[str, Array]:
        means = jnp.stack([layer.matrix(gradient).mean() for layer in layers])
        means = jax.lax.stop_gradient(means) if detached else means
        hidden = jax.nn.relu(product(means, arrays["A"]) + arrays["a"])
        factors = jax.nn.sigmoid(product(hidden, arrays["B"]) + arrays["b"])
        kept = {path: factors[i] * weights[path] for i, layer in enumerate(layers) for path in layer.paths}
        return {**weights, **kept}

    return TaskStart(init, apply, surrogate=detached)
