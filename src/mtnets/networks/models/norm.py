"""Batch norm with statistics of the current batch, of the support set, or averaged over training."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from mtnets.networks.model import Norm
from mtnets.networks.weighing import mean_over_examples


class BatchNorm(nnx.Module):
    """`(x − mean) / √(var + ε) + offset`, over all axes but the last; examples of weight 0 do not count.

    It has no scale, as in the code of MAML and MT-net. `nnx.BatchNorm` stops the gradient at the statistics that it
    keeps; here the gradient passes, because statistics of the support set depend on the adapted weights.

    Args:
      features: size of the last axis.
      momentum: share of the old statistics that each batch keeps; with 0 they are those of the last batch.
      epsilon: added to the variance.
      rngs: not used, as nothing is random.
    """

    def __init__(self, features: int, *, momentum: float = 0.99, epsilon: float = 1e-3, rngs: nnx.Rngs) -> None:
        del rngs
        self.bias = nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.var = nnx.BatchStat(jnp.ones(features))
        self.momentum = momentum
        self.epsilon = epsilon
        self.use_running_average = False  # changed by .eval() and .train()

    def __call__(self, x: Array) -> Array:
        """Normalises `x` of shape `[..., features]`."""
        if self.use_running_average:
            mean, var = self.mean[...], self.var[...]
        else:
            axes = tuple(range(x.ndim - 1))
            mean = mean_over_examples(x, axes)
            var = mean_over_examples(jnp.square(x - mean), axes)
            self.mean[...] = self.momentum * self.mean[...] + (1 - self.momentum) * mean
            self.var[...] = self.momentum * self.var[...] + (1 - self.momentum) * var
        return (x - mean) * jax.lax.rsqrt(var + self.epsilon) + self.bias[...]


def batch_norm_factory(norm: Norm) -> Callable[..., BatchNorm] | None:
    """The constructor of batch norm for a meaning of it, see `Model.norm`; None for `none`."""
    return None if norm == "none" else functools.partial(BatchNorm, momentum=0.0 if norm == "support" else 0.99)
