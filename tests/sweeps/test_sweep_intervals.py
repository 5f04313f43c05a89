"""Intervals beside SciPy's, and paired differences."""

import numpy as np
import pytest
from scipy import stats

from mtnets.sweeps.intervals import Difference, Interval, difference, interval95

RANDOM = np.random.default_rng(0)


def test_an_interval_is_that_of_students_t() -> None:
    values = RANDOM.normal(size=7)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    mean, half = interval95(values)
    np.testing.assert_allclose([mean - half, mean + half], [low, high])


def test_what_is_not_defined_does_not_count_and_what_is_not_finite_says_so() -> None:
    masked = np.ma.masked_invalid([1.0, 2.0, np.nan])
    assert interval95(masked) == interval95(np.array([1.0, 2.0]))
    assert np.isnan(interval95(np.array([1.0])).half)
    assert interval95(np.array([1.0, np.inf])).mean == np.inf
    assert interval95(np.array([1.0, np.inf])).side == 0


def test_a_paired_difference_is_sure_where_the_scores_are_not() -> None:
    tasks = RANDOM.normal(size=(1, 200))  # some are harder, by far more than what is to be found
    noise = RANDOM.normal(size=(4, 200))
    one, other = tasks + 0.01 * noise, tasks - 0.02
    assert difference(one, other).side == 1
    assert difference(other, one).side == -1
    assert difference(one, tasks + 0.01 * noise[::-1]).side == 0
    np.testing.assert_allclose(difference(one, other).tasks, interval95((one - other).mean(0)))
    np.testing.assert_allclose(difference(one, other).seeds, interval95((one - other).mean(1)))


@pytest.mark.parametrize(
    ("tasks", "seeds", "count", "side"),
    [
        ((1, 0.5), (1, 0.9), 3, 1),
        ((1, 0.5), (1, 1.1), 3, 0),
        ((-1, 0.5), (-1, np.nan), 1, -1),
        ((1, 2), (1, 0.1), 2, 0),
    ],
)
def test_with_several_seeds_both_intervals_have_to_say_so(tasks: tuple, seeds: tuple, count: int, side: int) -> None:
    assert Difference(Interval(*tasks), Interval(*seeds), count).side == side
