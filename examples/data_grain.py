"""Tasks from Grain: a pipeline makes a thousand curves, which are fetched by index as training draws them.

pip install grain        python examples/data_grain.py        (a minute or two on two cores)
"""

import sys

import grain
import numpy as np

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000


def curve(i: int) -> np.ndarray:
    """Twenty points `[20, 2]` of a parabola, the i-th."""
    rng = np.random.default_rng(i)
    a, b, x = rng.uniform(-1, 1), rng.uniform(-2, 2), rng.uniform(-2, 2, 20)
    return np.stack([x, a * x**2 + b], 1)


def task(points: np.ndarray):
    """Half of the points to learn from, half to predict."""
    x, y = points[:, :1], points[:, 1:]
    return (x[:10], y[:10]), (x[10:], y[10:])


tasks = grain.MapDataset.range(1200).map(curve).map(task)
tasks = mtnets.tasks.from_sequence(tasks[:1000], tasks[1000:1100], tasks[1100:], loss="mse")
learner = mtnets.meta_train(None, mtnets.mt_net(0.01), tasks, meta_steps=STEPS, validate_every=min(1000, STEPS))
print(mtnets.evaluate(learner, tasks, num_tasks=min(1000, 4 * STEPS), inner_steps=5))
