"""Classes, or groups of rows, split into those of training, validation and test by shares."""

from collections.abc import Sequence

import numpy as np

from mtnets.errors import OptionError

PARTS = ("train", "validation", "test")


def check_splits(shares: Sequence[float]) -> None:
    """Raises OptionError for anything but three shares above 0."""
    if len(shares) != len(PARTS) or min(shares) <= 0:
        raise OptionError(
            f"splits is {tuple(shares)}; it must be three shares above 0, of training, validation and test: "
            "splits=(0.6, 0.2, 0.2)."
        )


def split_names(names: Sequence[str], shares: Sequence[float], seed: int) -> dict[str, list[str]]:
    """These names, at least three, in three parts of about these shares, each of at least one; by chance, but the same
    for the same seed."""
    order = np.random.default_rng(seed).permutation(len(names))
    first, second = np.round(np.cumsum(shares)[:2] / sum(shares) * len(names)).astype(int)
    first = min(max(first, 1), len(names) - 2)
    second = min(max(second, first + 1), len(names) - 1)
    parts = np.split(order, [first, second])
    return {split: [names[int(i)] for i in part] for split, part in zip(PARTS, parts, strict=True)}
