"""Means and intervals against NumPy."""

import numpy as np

from experiments.scores import mean_and_interval, summarise
from mtnets import Estimate


def test_summaries_of_seeds() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(1, 2, (3, 8, 4))
    found = summarise([Estimate("loss", s, s) for s in scores])
    np.testing.assert_allclose(found["mean"], scores.mean((0, 1)))
    np.testing.assert_allclose(found["seeds"], scores.mean(1).T)
    np.testing.assert_allclose(found["seeds95"], 4.302653 * scores.mean(1).std(0, ddof=1) / np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(found["tasks95"], 1.96 * scores.mean(0).std(0, ddof=1) / np.sqrt(8))
    np.testing.assert_allclose(found["median"], np.median(scores, (0, 1)))
    assert found["diverged"] == [0, 0, 0, 0]
    assert np.isnan(summarise([Estimate("loss", scores[0], scores[0])])["seeds95"]).all()


def test_the_interval_of_a_mean() -> None:
    values = np.array([1.0, 2.0, 4.0])
    found = mean_and_interval(values)
    np.testing.assert_allclose(found["mean"], 7 / 3)
    np.testing.assert_allclose(found["ci95"], 4.302653 * values.std(ddof=1) / np.sqrt(3), rtol=1e-6)
