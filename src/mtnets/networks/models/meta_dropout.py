"""Noise that is learned: a layer that tasks learn with, and predict without."""

import math

import jax
from flax import nnx
from jax import Array

from mtnets.networks.adapters import Warp

ONE = math.log(math.e - 1)  # softplus is 1 here


class MetaDropout(nnx.Module):
    """`f(x) ⊙ softplus(μ(x) + c + ε)`, a layer f whose outputs are scaled by noise that depends on the input:
    ε ~ N(0, 1) while a task learns and 0 where it predicts, c such that `softplus(c) = 1`.

    μ is meta-learned and moves in no task. With weights of zero, `kernel_init=nnx.initializers.zeros`, predictions are
    those of f at the start. Wrap the network with `norm="support"` (the default), also without batch norm: query sets
    are then predicted, in training too, and not learned from under noise.

    Args:
      layer: f.
      noise: μ, a layer of the same inputs and outputs.
      rngs: for ε, a stream of its own.

    References:
      Lee, Nam, Yang & Hwang, Meta Dropout: Learning to Perturb Latent Features for Generalization, ICLR 2020
      (convolutions; c = 0).
    """

    # Differs from Lee et al. (2020): the noise that they add to the logits of the last layer is left out; and at test,
    # as in training, a step sees one draw, where their code takes the mean over 30.
    def __init__(self, layer: nnx.Module, noise: nnx.Module, *, rngs: nnx.Rngs) -> None:
        self.layer, self.noise = layer, Warp(noise)
        self.rngs = rngs.dropout.fork()
        self.deterministic = False  # changed by .eval() and .train()

    def __call__(self, x: Array) -> Array:
        """`f(x)` under noise, of the shape of `f(x)`."""
        a = self.noise(x) + ONE
        if not self.deterministic:
            a = a + jax.random.normal(self.rngs(), a.shape, a.dtype)
        return self.layer(x) * jax.nn.softplus(a)  # type: ignore[operator]
