"""Arrays with labels: an MT-net learns to tell two new handwritten digits apart, from one drawing of each.

pip install 'mtnets[sklearn]'        python examples/data_arrays.py        (a minute or two on two cores)
"""

import sys

import numpy as np
from sklearn.datasets import load_digits

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000

x, y = (np.asarray(values) for values in load_digits(return_X_y=True))
x = x / 16  # [1797, 64] between 0 and 1, and the digits 0 … 9
splits = {"train": [0, 1, 2, 3, 4, 5], "validation": [6, 7], "test": [8, 9]}
tasks = mtnets.tasks.arrays(x, y, ways=2, shots=1, queries=10, splits=splits)
learner = mtnets.meta_train(None, mtnets.mt_net(), tasks, meta_steps=STEPS, validate_every=min(200, STEPS))
print(mtnets.evaluate(learner, tasks, num_tasks=min(600, 4 * STEPS)))

model = learner.adapt(x[8:10], y[8:10] - 8)  # an 8 and a 9
print("An 8 is taken for an 8 with probability", model.probabilities(x[y == 8][1:2])[0, 0])
