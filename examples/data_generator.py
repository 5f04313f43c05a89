"""Tasks that a function makes with NumPy: swings that die away, each learned from ten points.

python examples/data_generator.py        (a minute or two on two cores)

The compiled training calls the function for each task that it draws. No task is kept, and `resume=True` continues a
training to the last bit.
"""

import sys

import numpy as np

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000


def swing(rng: np.random.Generator):
    """Ten points of a damped oscillation to learn from, and ten to predict."""
    amplitude, phase, decay = rng.uniform([1, 0, 0.1], [5, np.pi, 0.5])
    x = rng.uniform(0, 8, (20, 1))
    y = amplitude * np.exp(-decay * x) * np.sin(2 * x - phase)
    return (x[:10], y[:10]), (x[10:], y[10:])


tasks = mtnets.tasks.from_function(swing, loss="mse")
network = mtnets.models.mlp(1, 40, 40, 1)
learner = mtnets.meta_train(network, mtnets.mt_net(0.01), tasks, meta_steps=STEPS, validate_every=min(1000, STEPS))
print(mtnets.evaluate(learner, tasks, num_tasks=min(1000, 4 * STEPS), inner_steps=5))
