"""A table of shops that tests learn from."""

from typing import Any

import numpy as np

import mtnets


def shop_table(tasks: int = 12, each: int = 30, seed: int = 0) -> Any:
    """A data frame in which each shop has a line of its own: sales = a · price + b, and a colour that counts."""
    import pandas

    random = np.random.default_rng(seed)
    shop = np.repeat([f"shop {i}" for i in range(tasks)], each)
    price = random.uniform(10, 30, tasks * each)
    colour = random.choice(["red", "green"], tasks * each)
    slope, height = (np.repeat(random.normal(size=tasks), each) for _ in range(2))
    sales = 100 + slope * (price - 20) + 10 * height + 5 * (colour == "red")
    return pandas.DataFrame({"shop": shop, "price": price, "colour": colour, "sales": sales, "good": sales > 100})


def shop_tasks(frame: Any, target: str = "sales", **options: Any) -> Any:
    """The family of tasks of such a table, one for each shop."""
    options = {"shots": 5, "queries": 5, "ignore": ("good",) if target == "sales" else ("sales",), **options}
    return mtnets.tasks.table(frame, "shop", target, **options)
