"""Conditioning of features by a context vector: a network whose tasks move a few numbers and nothing else."""

import jax.numpy as jnp
from flax import nnx
from jax import Array

from mtnets.networks.adapters import Warp


class FiLM(nnx.Module):
    """`(1 + γ) ⊙ x + β` with `(γ, β) = φ C`, a scale and an offset per channel from a context vector φ.

    With φ alone moving, this is CAVIA for convolutions, which stands after batch norm as well:
    `mtnets.maml(1.0, adapts="film.context")` for a network with `self.film = FiLM(...)`. φ starts at zero, where it
    changes nothing. C is meta-learned and moves in no task. Where φ starts is meta-learned too, in the place of the
    offset of C that CAVIA has.

    Args:
      context: elements of φ.
      channels: size of the last axis of x.
      rngs: for C.

    References:
      Perez, Strub, de Vries, Dumoulin & Courville, FiLM: Visual Reasoning with a General Conditioning Layer, AAAI 2018,
      arXiv 1709.07871; Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson, Fast Context Adaptation via Meta-Learning, ICML
      2019, arXiv 1810.03642 (CAVIA, with γ in the place of 1 + γ).
    """

    def __init__(self, context: int, channels: int, *, rngs: nnx.Rngs) -> None:
        # a layer of one input, which is 1, so that methods find it among the layers
        self.context = nnx.Linear(1, context, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=rngs)
        self.generator = Warp(nnx.Linear(context, 2 * channels, use_bias=False, rngs=rngs))

    def __call__(self, x: Array) -> Array:
        """Scales and shifts `x` of shape `[..., channels]`."""
        gamma, beta = jnp.split(self.generator(self.context(jnp.ones((1, 1), x.dtype)))[0], 2)
        return x * (1 + gamma) + beta
