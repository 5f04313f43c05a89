"""Means with their 95 % intervals, over tasks and over seeds, of scores and of paired differences."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and its 95 % interval.

    Attributes:
      mean: NaN or infinite where a value is not finite.
      half: half-width of the interval, by Student's t; NaN where it is not known: of a single value.
    """

    mean: float
    half: float

    @property
    def side(self) -> int:
        """1 if the whole interval is above zero, −1 if it is below, else 0: also where it is not known."""
        return int(self.mean - self.half > 0) - int(self.mean + self.half < 0)


def mean_over(values: np.ndarray, axis: int) -> np.ndarray:
    """Means over an axis without what is masked, masked where nothing is left; NumPy's own mask infinite means too."""
    data, kept = np.ma.getdata(values).astype(np.float64), ~np.ma.getmaskarray(values)
    with np.errstate(all="ignore"):
        return np.ma.masked_array(data.sum(axis, where=kept) / kept.sum(axis), ~kept.any(axis))


def interval95(values: np.ndarray) -> Interval:
    """The interval of the mean of values `[n]`; masked ones do not count."""
    from scipy.special import stdtrit  # of SciPy, which JAX needs too

    kept = np.ma.compressed(np.ma.asarray(values)).astype(np.float64)
    count = len(kept)
    with np.errstate(all="ignore"):
        mean = float(kept.mean()) if count else float("nan")
        if count < 2:
            return Interval(mean, float("nan"))
        return Interval(mean, float(stdtrit(count - 1, 0.975) * kept.std(ddof=1) / np.sqrt(count)))


class Difference(NamedTuple):
    """How much better one setting is than another, on the same tasks and with the same seeds.

    Attributes:
      tasks: over tasks, each averaged over seeds.
      seeds: over seeds, each averaged over tasks.
      num_seeds: how many seeds both have.
    """

    tasks: Interval
    seeds: Interval
    num_seeds: int

    @property
    def side(self) -> int:
        """1 if the first is better by more than chance explains, −1 if it is worse, 0 if that is open.

        With several seeds, both intervals have to say so.
        """
        if self.num_seeds < 2:
            return self.tasks.side
        return self.tasks.side if self.tasks.side == self.seeds.side else 0


def difference(one: np.ndarray, other: np.ndarray) -> Difference:
    """The paired difference of scores `[seeds, tasks]` of the same seeds and tasks, of which larger ones are better."""
    with np.errstate(all="ignore"):
        each = np.ma.asarray(one).astype(np.float64) - np.ma.asarray(other).astype(np.float64)
    return Difference(interval95(mean_over(each, 0)), interval95(mean_over(each, 1)), len(each))
