"""What a few rows of a new group can be predicted from without meta-learning.

A predictor takes `Trials` and predicts every row of theirs. Where a strength or length is to be chosen, there is one
candidate for each value; `choose` takes the one that does best on validation groups.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import OptionError

Floats = NDArray[np.floating[Any]]
Groups = Mapping[str, tuple[Floats, Floats]]  # x [rows, features] and y [rows, 1] of each group
STRENGTHS = tuple(10.0**k for k in range(-6, 4))  # of ridge penalties, beside squares averaged over rows
WEIGHTS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # of a support set, all pooled rows together having 1
ITERATIONS = (1, 3, 10, 30, 100, 300)  # of boosting


class Trials(NamedTuple):
    """Support and query rows of several groups, the same for every predictor; group after group, draw after draw.

    Attributes:
      x: all rows of the group of each trial, `[trials, rows, features]`, padded.
      y: their targets, `[trials, rows]`.
      support: places of the support rows, in ascending order, `[trials, shots]`.
      query: which rows are asked for, `[trials, rows]`.
      draws: trials of each group.
    """

    x: Floats
    y: Floats
    support: NDArray[np.integer[Any]]
    query: NDArray[np.bool_]
    draws: int

    @property
    def support_x(self) -> Floats:
        """Features of the support rows, `[trials, shots, features]`."""
        return np.take_along_axis(self.x, self.support[..., None], 1)

    @property
    def support_y(self) -> Floats:
        """Targets of the support rows, `[trials, shots]`."""
        return np.take_along_axis(self.y, self.support, 1)


# predictions [trials, rows], of several seeds [seeds, trials, rows]
Predict = Callable[[Trials], Floats]


class Candidate(NamedTuple):
    """A predictor with the setting that it has."""

    setting: Mapping[str, Any]
    predict: Predict


def errors(prediction: Floats, trials: Trials) -> dict[str, Floats]:
    """Mean absolute error and RMSE on the query rows of each group, averaged over draws and seeds; each `[groups]`."""
    with np.errstate(all="ignore"):
        miss = np.where(trials.query, np.abs(prediction - trials.y), 0.0)
        asked = trials.query.sum(-1)
        scores = {"mae": miss.sum(-1) / asked, "rmse": np.sqrt((miss**2).sum(-1) / asked)}
        return {
            name: score.reshape(-1, len(trials.y) // trials.draws, trials.draws).mean((0, 2))
            for name, score in scores.items()
        }


def choose(candidates: Sequence[Candidate], validation: Trials) -> Candidate:
    """The candidate with the least mean absolute error on validation groups."""
    if len(candidates) == 1:
        return candidates[0]
    found = [float(errors(candidate.predict(validation), validation)["mae"].mean()) for candidate in candidates]
    return candidates[int(np.argmin(np.nan_to_num(found, nan=np.inf)))]


def shifted(predict: Predict) -> Predict:
    """A predictor shifted by the mean residual on the support."""

    def moved(trials: Trials) -> Floats:
        prediction = predict(trials)
        places = np.broadcast_to(trials.support, (*prediction.shape[:-1], trials.support.shape[-1]))
        at_support = np.take_along_axis(prediction, places, -1)
        return prediction + (trials.support_y - at_support).mean(-1, keepdims=True)

    return moved


def baselines(train: Groups, time: int) -> dict[str, list[Candidate]]:
    """Candidates of every predictor that is no network, fitted to training groups.

    Args:
      train: rows of the training groups.
      time: which feature is time.
    """
    x, y = (np.concatenate([table[i] for table in train.values()]) for i in range(2))
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
    """The target between the support rows next to it in time; that of the first or last beyond them."""
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
    """`XᵀX / rows` and `Xᵀy / rows`, with a last feature that is always 1."""
    x = _with_one(x.astype(np.float64))
    rows = x.shape[-2]
    return np.swapaxes(x, -1, -2) @ x / rows, (np.swapaxes(x, -1, -2) @ y[..., None])[..., 0] / rows


def _ridge(squares: Floats, products: Floats, strength: float) -> Floats:
    """Coefficients of ridge regression, the constant last and not penalised."""
    penalty = np.full(squares.shape[-1], strength)
    penalty[-1] = 0.0
    return np.linalg.solve(squares + np.diag(penalty), products[..., None])[..., 0]


def _linear(coefficients: Floats, columns: slice = slice(None)) -> Predict:
    """Linear prediction; coefficients `[features + 1]`, or of each trial."""
    return lambda trials: (_with_one(trials.x[..., columns]) @ coefficients[..., None])[..., 0]


def _boosting(x: Floats, y: Floats) -> dict[int, Predict]:
    """Predictors of one run of gradient boosting after several numbers of iterations."""
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits  # which scikit-learn needs too
    except ImportError as error:
        raise OptionError("Gradient boosting needs scikit-learn: pip install 'mtnets[sklearn]'.") from error
    options: Any = {"max_iter": ITERATIONS[-1], "early_stopping": False, "random_state": 0}
    with threadpool_limits(1):  # threads that wait for each other take longer on so few rows
        model = HistGradientBoostingRegressor(**options).fit(x, y)

    def predict(trials: Trials, iterations: int) -> Floats:
        with threadpool_limits(1):
            stages = model.staged_predict(trials.x.reshape(-1, trials.x.shape[-1]))
            return next(itertools.islice(stages, iterations - 1, None)).reshape(trials.y.shape)

    return {n: lambda trials, n=n: predict(trials, n) for n in ITERATIONS}
