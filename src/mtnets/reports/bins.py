"""Bins of a histogram, which follow the steps of a score that has some."""

import numpy as np
from numpy.typing import NDArray

MOST = 40  # bins of steps; narrower steps are no longer seen
OTHERWISE = 12
SAME = 1e-6  # of scores in single precision: nearer ones are equal


def bin_edges(values: NDArray[np.floating], otherwise: int = OTHERWISE) -> NDArray[np.float64]:
    """Ends of bins: around each step where values are whole multiples of one, such as accuracies of 1/queries, so that
    no bin has more steps than others; otherwise some that are equally wide.

    Args:
      values: finite ones, at least one, `[values]`.
      otherwise: how many bins without steps.
    """
    every = np.asarray(values, np.float64)
    gaps = np.diff(np.unique(every))
    gaps = gaps[gaps > SAME]
    if gaps.size:
        step = gaps.min()
        places = every / step
        first, last = np.rint(places.min()), np.rint(places.max())
        if last - first < MOST and np.abs(places - np.rint(places)).max() * step < SAME:
            return (np.arange(first, last + 2) - 0.5) * step
    return np.histogram_bin_edges(every, otherwise)
