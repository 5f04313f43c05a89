"""What the page on Python takes for granted: arrays of the user, images of five characters, and tables."""

import numpy as np
import pandas

random = np.random.default_rng(0)

images = random.integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
labels = np.arange(5)
new_images = random.integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)

X, y, X_new = random.normal(size=(12, 4)), np.repeat(["a", "b", "c"], 4), random.normal(size=(2, 4))

rows = pandas.DataFrame(
    {
        "patient": np.repeat(np.arange(20), 30),
        "day": np.tile(np.arange(30), 20),
        "pulse": random.normal(70, 9, 600),
        "score": random.normal(20, 3, 600),
    }
)
rows.to_csv("patients.csv", index=False)
first_days, later_days = rows[:10], rows[10:30]
