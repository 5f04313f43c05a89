"""What chance alone would do to the mean of paired differences: a bootstrap interval, and a test by flipped signs."""

from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 9_999  # with the data themselves 10 000
SEED = 20180605  # so that the same scores give the same numbers
FEWEST = 8  # values from which a bootstrap is worth anything: of fewer its intervals are far too narrow
MOST_AT_ONCE = 2_000_000  # numbers in memory


class Resampled(NamedTuple):
    """What resampling says of the mean of values.

    Attributes:
      low, high: ends of the 95 % bootstrap interval; NaN for fewer than `FEWEST` values.
      p: of a two-sided test whether the mean is zero, by signs flipped at random (all of them, where these are few).
      least_p: the smallest that it can be for so many values.
    """

    low: float
    high: float
    p: float
    least_p: float

    @property
    def side(self) -> int:
        """1 if the whole interval is above zero, −1 if it is below, else 0: also where it is not known."""
        return int(self.low > 0) - int(self.high < 0)


def resampled(values: np.ndarray) -> Resampled:
    """Resamples values `[n]`; masked ones do not count. NaN where a value is not finite.

    References:
      Efron, Better Bootstrap Confidence Intervals, JASA 1987 (BCa).
    """
    from scipy import stats

    kept = np.ma.compressed(np.ma.asarray(values)).astype(np.float64)
    unknown = float("nan")
    if len(kept) < 2 or not np.isfinite(kept).all():
        return Resampled(unknown, unknown, unknown, unknown)
    least = max(2.0 ** (1 - len(kept)), 1 / (RESAMPLES + 1))
    if np.ptp(kept) == 0:  # nothing varies: the mean is known
        return Resampled(kept[0], kept[0], 1.0 if kept[0] == 0 else least, least)
    # random_state, since SciPy before 1.15 knows no rng
    options: dict[str, Any] = {"n_resamples": RESAMPLES, "batch": max(1, MOST_AT_ONCE // len(kept)), "vectorized": True}
    flips = {**options, "permutation_type": "samples", "random_state": np.random.default_rng(SEED)}
    test = stats.permutation_test((kept,), np.mean, **flips)
    low = high = unknown
    if len(kept) >= FEWEST:
        draws = {**options, "method": "BCa", "random_state": np.random.default_rng(SEED)}
        low, high = (float(end) for end in stats.bootstrap((kept,), np.mean, **draws).confidence_interval)
    return Resampled(low, high, float(test.pvalue), least)
