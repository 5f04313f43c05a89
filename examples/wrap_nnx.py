"""A Flax NNX network becomes an MT-net and learns to learn sine curves.

python examples/wrap_nnx.py        (half a minute on two cores)
"""

import sys

from flax import nnx

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000


class Network(nnx.Module):
    """Two hidden layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.inside = nnx.List([nnx.Linear(1, 40, rngs=rngs), nnx.Linear(40, 40, rngs=rngs)])
        self.head = nnx.Linear(40, 1, rngs=rngs)

    def __call__(self, x):
        for layer in self.inside:
            x = nnx.relu(layer(x))
        return self.head(x)


model = mtnets.wrap(Network, input_shape=(1,))  # Network(nnx.Rngs(0)) would keep the weights that it has
method, tasks = mtnets.mt_net(0.01), mtnets.tasks.sinusoid(shots=10)
print(mtnets.summarise(model, method))
learner = mtnets.meta_train(model, method, tasks, meta_steps=STEPS, validate_every=0)
print(mtnets.evaluate(learner, tasks, num_tasks=min(600, 4 * STEPS)))
