"""A small vision transformer becomes an MT-net: five new characters from one drawing of each.

    python examples/wrap_vit.py        (about five minutes on two cores)

Every dense layer and attention projection gets a metric of its own; wide ones are of low rank.
"""

import sys

import jax.numpy as jnp
from flax import nnx

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 300
WIDTH, PATCH = 48, 7


class Block(nnx.Module):
    """Attention and a small network, each with a layer norm before it."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(4, WIDTH, decode=False, rngs=rngs)
        self.wide, self.narrow = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs), nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.norms[0](x))
        return x + self.narrow(nnx.gelu(self.wide(self.norms[1](x))))


class Transformer(nnx.Module):
    """Patches, places, two blocks, and a head on their mean."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.patches = nnx.Conv(1, WIDTH, (PATCH, PATCH), strides=PATCH, rngs=rngs)
        self.places = nnx.Param(0.02 * rngs.params.normal((16, WIDTH)))
        self.blocks = nnx.List([Block(rngs) for _ in range(2)])
        self.head = nnx.Linear(WIDTH, 5, rngs=rngs)

    def __call__(self, x):
        x = self.patches(x).reshape(len(x), 16, WIDTH) + self.places[...]
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(x, 1))


model = mtnets.wrap(Transformer, input_shape=(28, 28, 1), norm="none")
method = mtnets.mt_net(0.05, metric="low-rank", rank=8, rates="weight", inner_clip=10.0)
print(mtnets.summarise(model, method))
tasks = mtnets.tasks.glyphs(ways=5, shots=1, queries=3)
learner = mtnets.meta_train(model, method, tasks, meta_steps=STEPS, meta_batch=16, inner_steps=2, validate_every=0)
print(mtnets.evaluate(learner, tasks, num_tasks=min(600, 4 * STEPS)))
