"""What predictors are compared on: support and query rows of patients never seen before."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.updrs.data import Floats, Groups
from mtnets import DataError
from mtnets.learner import TEST_SEED


class Trials(NamedTuple):
    """Support and query rows of several groups, the same for every predictor; group after group, draw after draw.

    Attributes:
      x: all rows of the group of each trial, `[trials, rows, features]`, padded.
      y: their targets, `[trials, rows]`.
      support: indices of the support rows, in ascending order, `[trials, shots]`.
      query: which rows are to be predicted, `[trials, rows]`.
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


# predictions of every row [trials, rows], or of several seeds [seeds, trials, rows]
Predict = Callable[[Trials], Floats]


class Candidate(NamedTuple):
    """A predictor with its setting."""

    setting: Mapping[str, Any]
    predict: Predict


def trials(groups: Groups, shots: int, draws: int, earliest: bool, rows: int) -> Trials:
    """Draws support rows of each group; all its other rows are queries.

    The draws of a patient depend on its number alone, and 5 rows are among the 10 of the same draw.

    Args:
      groups: rows of each patient, by number, in order of time.
      shots: support rows.
      draws: trials of each patient.
      earliest: whether the support rows are the first in time instead of random ones.
      rows: number of rows that tables are padded to.
    """
    x, y, support, query = [], [], [], []
    for name, (features, targets) in groups.items():
        count = len(targets)
        if count <= shots:
            raise DataError(f"Patient {name} has {count} recordings; {shots} shots leave none to predict.")
        random = np.random.default_rng([TEST_SEED, int(name)])
        for _ in range(draws):
            places = np.arange(shots) if earliest else np.sort(random.permutation(count)[:shots])
            support.append(places)
            query.append((np.arange(rows) < count) & ~np.isin(np.arange(rows), places))
            x.append(np.pad(features, ((0, rows - count), (0, 0))))
            y.append(np.pad(targets[:, 0], (0, rows - count)))
    return Trials(np.stack(x), np.stack(y), np.stack(support), np.stack(query), draws)


def errors(prediction: Floats, trials: Trials) -> dict[str, Floats]:
    """Mean absolute error and RMSE on the query rows of each group, averaged over draws and seeds; each `[groups]`."""
    with np.errstate(all="ignore"):
        miss = np.where(trials.query, np.abs(prediction - trials.y), 0.0)
        queries = trials.query.sum(-1)
        scores = {"mae": miss.sum(-1) / queries, "rmse": np.sqrt((miss**2).sum(-1) / queries)}
        return {
            name: score.reshape(-1, len(trials.y) // trials.draws, trials.draws).mean((0, 2))
            for name, score in scores.items()
        }


def choose(candidates: Sequence[Candidate], validation: Trials) -> Candidate:
    """The candidate with the least mean absolute error on validation groups."""
    if len(candidates) == 1:
        return candidates[0]
    scores = [float(errors(candidate.predict(validation), validation)["mae"].mean()) for candidate in candidates]
    return candidates[int(np.argmin(np.nan_to_num(scores, nan=np.inf)))]


def shifted(predict: Predict) -> Predict:
    """A predictor plus its mean residual on the support rows."""

    def predict_shifted(trials: Trials) -> Floats:
        prediction = predict(trials)
        places = np.broadcast_to(trials.support, (*prediction.shape[:-1], trials.support.shape[-1]))
        at_support = np.take_along_axis(prediction, places, -1)
        return prediction + (trials.support_y - at_support).mean(-1, keepdims=True)

    return predict_shifted
