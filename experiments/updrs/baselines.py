"""Predictors without a network: what a few rows of a new patient can be predicted from without meta-learning.

Where a strength or length is to be chosen, there is one candidate for each value.
"""

import itertools
from typing import Any

import numpy as np

from experiments.updrs.data import Floats, Groups, joined
from experiments.updrs.trials import Candidate, Predict, Trials, shifted
from mtnets import OptionError

STRENGTHS = tuple(10.0**k for k in range(-6, 4))  # of ridge penalties, where squares are averaged over rows
WEIGHTS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # of a support set; all pooled rows together have 1
ITERATIONS = (1, 3, 10, 30, 100, 300)  # of boosting


def baselines(train: Groups, time: int) -> dict[str, list[Candidate]]:
    """Candidates of every predictor, fitted to training groups.

    Args:
      train: rows of the training groups.
      time: which feature is time.
    """
    x, y = joined(train)
    pooled = _moments(x, y[:, 0])
    mean = float(y.mean())
    x_within, y_within = (np.concatenate([table[i] - table[i].mean(0) for table in train.values()]) for i in range(2))
    within = _moments(x_within, y_within[:, 0])
    boosted = [({"iterations": n}, predict) for n, predict in _boosting(x, y[:, 0]).items()]
    ridges = [({"strength": strength}, _linear(_ridge(*pooled, strength))) for strength in STRENGTHS]
    return {
        "training_mean": [Candidate({}, lambda trials: np.full(trials.y.shape, mean))],
        "own_mean": [Candidate({}, _own_mean)],
        "own_interpolation": [Candidate({}, lambda trials: _interpolation(trials, time))],
        "own_trend": [
            Candidate({"strength": s}, lambda trials, s=s: _own_ridge(trials, s, slice(time, time + 1)))
            for s in STRENGTHS
        ],
        "own_ridge": [Candidate({"strength": s}, lambda trials, s=s: _own_ridge(trials, s)) for s in STRENGTHS],
        "pooled_ridge": [Candidate(*each) for each in ridges],
        "pooled_ridge_offset": [Candidate(setting, shifted(predict)) for setting, predict in ridges],
        "within_ridge_offset": [Candidate({"strength": s}, shifted(_linear(_ridge(*within, s)))) for s in STRENGTHS],
        "pooled_and_own_ridge": [
            Candidate({"strength": s, "weight": w}, lambda trials, s=s, w=w: _pooled_and_own(trials, pooled, s, w))
            for s in STRENGTHS
            for w in WEIGHTS
        ],
        "boosting": [Candidate(*each) for each in boosted],
        "boosting_offset": [Candidate(setting, shifted(predict)) for setting, predict in boosted],
    }


def _own_mean(trials: Trials) -> Floats:
    return np.broadcast_to(trials.support_y.mean(-1, keepdims=True), trials.y.shape)


def _interpolation(trials: Trials, time: int) -> Floats:
    """Interpolates the targets of the support rows in time; constant before the first and after the last."""
    support = trials.support_x[..., time]
    rows = zip(trials.x[..., time], support, trials.support_y, strict=True)
    return np.stack([np.interp(*row) for row in rows])


def _own_ridge(trials: Trials, strength: float, columns: slice = slice(None)) -> Floats:
    moments = _moments(trials.support_x[..., columns], trials.support_y)
    return _linear(_ridge(*moments, strength), columns)(trials)


def _pooled_and_own(trials: Trials, pooled: tuple[Floats, Floats], strength: float, weight: float) -> Floats:
    own = _moments(trials.support_x, trials.support_y)
    squares, products = ((p + weight * o) / (1 + weight) for p, o in zip(pooled, own, strict=True))
    return _linear(_ridge(squares, products, strength))(trials)


def _with_one(x: Floats) -> Floats:
    return np.concatenate([x, np.ones_like(x[..., :1])], -1)


def _moments(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """`XᵀX / rows` and `Xᵀy / rows`, where X has a last column of ones."""
    x = _with_one(x.astype(np.float64))
    rows = x.shape[-2]
    return np.swapaxes(x, -1, -2) @ x / rows, (np.swapaxes(x, -1, -2) @ y[..., None])[..., 0] / rows


def _ridge(squares: Floats, products: Floats, strength: float) -> Floats:
    """Coefficients of ridge regression. The last is the constant, which is not penalised."""
    penalty = np.full(squares.shape[-1], strength)
    penalty[-1] = 0.0
    return np.linalg.solve(squares + np.diag(penalty), products[..., None])[..., 0]


def _linear(coefficients: Floats, columns: slice = slice(None)) -> Predict:
    """A linear predictor with coefficients `[features + 1]`, or `[trials, features + 1]`."""
    return lambda trials: (_with_one(trials.x[..., columns]) @ coefficients[..., None])[..., 0]


def _boosting(x: Floats, y: Floats) -> dict[int, Predict]:
    """Predictors by number of iterations, all from one run of gradient boosting."""
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits  # scikit-learn depends on it
    except ImportError as error:
        raise OptionError("Gradient boosting needs scikit-learn: pip install 'mtnets[experiments]'.") from error
    options: Any = {"max_iter": ITERATIONS[-1], "early_stopping": False, "random_state": 0}
    with threadpool_limits(1):  # more threads are slower on so few rows
        model = HistGradientBoostingRegressor(**options).fit(x, y)

    def predict(trials: Trials, iterations: int) -> Floats:
        with threadpool_limits(1):
            stages = model.staged_predict(trials.x.reshape(-1, trials.x.shape[-1]))
            return next(itertools.islice(stages, iterations - 1, None)).reshape(trials.y.shape)

    return {n: lambda trials, n=n: predict(trials, n) for n in ITERATIONS}
