"""What docs/tabular.md takes for granted: rows with labels, and images with the same labels."""

import numpy as np

random = np.random.default_rng(0)

X, y = random.normal(size=(10, 4)), np.repeat(list("abcde"), 2)
X_new, X_more, y_more = random.normal(size=(2, 4)), random.normal(size=(5, 4)), np.array(list("abcde"))
images = random.integers(0, 256, (10, 28, 28, 1), dtype=np.uint8)
