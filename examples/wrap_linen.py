"""A Flax Linen network with batch norm and dropout becomes an MT-net: five new characters from one drawing of each.

python examples/wrap_linen.py        (some minutes on two cores)
"""

import sys

from flax import linen as nn

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 300


class Network(nn.Module):
    """Two strided convolutions and a head."""

    @nn.compact
    def __call__(self, x, train=False):
        for _ in range(2):
            x = nn.Conv(16, (3, 3), strides=4)(x)
            # momentum=0 remembers the support set alone
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.0)(x))
        x = nn.Dropout(0.1, deterministic=not train)(x.reshape(len(x), -1))
        return nn.Dense(5)(x)


learning, predicting = {"train": True}, {"train": False}
model = mtnets.wrap(Network(), (28, 28, 1), norm="support", learning=learning, predicting=predicting)
method, tasks = mtnets.mt_net(0.5, inner_clip=10.0), mtnets.tasks.glyphs(ways=5, shots=1, queries=3)
print(mtnets.summarise(model, method))
learner = mtnets.meta_train(model, method, tasks, meta_steps=STEPS, meta_batch=8, validate_every=0)
print(mtnets.evaluate(learner, tasks, num_tasks=min(600, 4 * STEPS)))
