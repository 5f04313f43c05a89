"""A CSV file in which each shop is a task: ten days of a new shop are enough to predict its other days.

pip install 'mtnets[table]'        python examples/data_table.py        (half a minute on two cores)

The same from the command line:
    mtnets train table shops.csv --task-column shop --target sales --out runs/shops
    mtnets adapt runs/shops --support new-shop.csv --query other-days.csv
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
SHOPS, DAYS = 200, 40


def days(shops: int, seed: int) -> pandas.DataFrame:
    """Sales depend on price, weather and weekday, in each shop in its own way."""
    random = np.random.default_rng(seed)
    shop = np.repeat(np.arange(shops), DAYS)
    price, weather = random.uniform(10, 30, len(shop)), random.choice(["sun", "rain"], len(shop))
    slope, rainy, size = (random.normal(mean, spread, shops)[shop] for mean, spread in ((-3, 1), (-20, 10), (200, 50)))
    sales = size + slope * (price - 20) + rainy * (weather == "rain") + random.normal(0, 2, len(shop))
    return pandas.DataFrame({"shop": shop, "price": price, "weather": weather, "sales": sales})


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "shops.csv"
    days(SHOPS, seed=0).to_csv(path, index=False)
    tasks = mtnets.tasks.table(path, task_column="shop", target="sales", shots=10, queries=10)
    learner = mtnets.meta_train(None, mtnets.mt_net(), tasks, meta_steps=STEPS, validate_every=min(200, STEPS))
print(mtnets.evaluate(learner, tasks, num_tasks=min(600, 4 * STEPS)))  # in units of the spread of sales, squared

new = days(1, seed=1)
model = learner.adapt(new[:10])  # features and target by the names of columns
error = np.abs(np.asarray(model(new[10:]))[:, 0] - new["sales"][10:]).mean()
mean = np.abs(new["sales"][:10].mean() - new["sales"][10:]).mean()
print(f"A new shop: mean absolute error {error:.1f}, of the mean of its first ten days {mean:.1f}")
