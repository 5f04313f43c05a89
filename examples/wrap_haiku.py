"""A Haiku function becomes an MT-net and learns to learn sine curves; a new one is learned from ten of its points.

pip install dm-haiku        python examples/wrap_haiku.py        (half a minute on two cores)
"""

import sys

import haiku as hk
import numpy as np

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000


def network(x):
    """Two hidden layers."""
    return hk.nets.MLP([40, 40, 1])(x)


transformed = hk.transform(network)
model = mtnets.wrap(transformed, input_shape=(1,))
method = mtnets.mt_net(0.01)
print(mtnets.summarise(model, method))
learner = mtnets.meta_train(model, method, mtnets.tasks.sinusoid(shots=10), meta_steps=STEPS, validate_every=0)

x = np.random.default_rng(0).uniform(-5, 5, (10, 1)).astype(np.float32)
adapted = learner.adapt(x, 3 * np.sin(x - 1), inner_steps=5)
grid = np.linspace(-5, 5, 200, dtype=np.float32)[:, None]
prediction = transformed.apply(adapted.params, None, grid)  # the very same function, with the adapted weights
print(f"squared error {np.mean((prediction - 3 * np.sin(grid - 1)) ** 2):.3f} on the curve")
