"""A ResNet-12 becomes an MT-net, with a diagonal metric for its wide layers: five new characters from one drawing each.

python examples/wrap_resnet.py        (some ten minutes on two cores)
"""

import sys

import flax.linen as nn
import jax.numpy as jnp

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
FILTERS = (16, 32, 64, 128)


class Block(nn.Module):
    """Three convolutions beside a shortcut, then halving."""

    filters: int

    @nn.compact
    def __call__(self, x, train):
        y = x
        for i in range(3):
            y = nn.Conv(self.filters, (3, 3), use_bias=False)(y)
            y = nn.BatchNorm(use_running_average=not train, momentum=0.0)(y)
            y = nn.leaky_relu(y, 0.1) if i < 2 else y
        x = nn.BatchNorm(use_running_average=not train, momentum=0.0)(nn.Conv(self.filters, (1, 1), use_bias=False)(x))
        return nn.max_pool(nn.leaky_relu(x + y, 0.1), (2, 2), (2, 2), "SAME")


class ResNet12(nn.Module):
    """Four blocks, a mean over the image, and a head."""

    @nn.compact
    def __call__(self, x, train=False):
        for filters in FILTERS:
            x = Block(filters)(x, train)
        return nn.Dense(5)(jnp.mean(x, (1, 2)))


model = mtnets.wrap(
    ResNet12(), input_shape=(28, 28, 1), norm="support", learning={"train": True}, predicting={"train": False}
)
method = mtnets.mt_net(0.1, metric="diagonal", inner_clip=10.0)
print(mtnets.summarise(model, method))
tasks = mtnets.tasks.glyphs(ways=5, shots=1, queries=3)
learner = mtnets.meta_train(model, method, tasks, meta_steps=STEPS, meta_batch=4, validate_every=0)
print(mtnets.evaluate(learner, tasks, num_tasks=min(600, 4 * STEPS)))
