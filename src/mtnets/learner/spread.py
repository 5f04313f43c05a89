"""How sure predictions are: standard deviations and intervals, from the outputs of one network or of several."""

import statistics
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import OptionError
from mtnets.inner import Loss
from mtnets.inner.losses import Binary, Dice, Quantile


def std_of(loss: Loss, outputs: NDArray[Any]) -> NDArray[Any]:
    """Standard deviations `[..., targets]` of the equal mixture of several networks, by the law of total variance: the
    mean of the variances that they say, where the loss says any, and the variance of their points.

    Args:
      loss: that the networks were trained with.
      outputs: of each network, in units of the targets, `[networks, ..., outputs]`; one network is a mixture too.

    Raises:
      OptionError: for a loss of classes, and for a single network with a loss that says no variance.
    """
    check_numbers(loss)
    said = loss.variance(outputs)
    if said is None and len(outputs) == 1:
        raise OptionError(
            f"The loss {loss.name} says no standard deviation; train with 'gaussian', or adapt several: masks=16, or "
            "mtnets.Ensemble(learners); intervals for any loss are those of mtnets.conformal(learner, tasks), or of "
            "`mtnets adapt` with --interval 0.9 --calibrated."
        )
    between = np.var(loss.point(outputs), axis=0)
    return np.sqrt(between if said is None else between + np.mean(said, axis=0))


def interval_of(loss: Loss, outputs: NDArray[Any], coverage: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lower and upper ends `[..., targets]` of central intervals: the mean quantiles with the loss `quantile`, and
    otherwise those of the normal distribution with the mean and the standard deviation of the mixture.

    Args:
      loss, outputs: as for `std_of`.
      coverage: the share of targets that are to lie within.

    Raises:
      OptionError: as `std_of`, and for a coverage that is not that of two levels of `quantile`.
    """
    mixed = loss.mixed(outputs)
    if isinstance(loss, Quantile):
        low, high = loss.interval(mixed, coverage)
        return np.asarray(low), np.asarray(high)
    half = statistics.NormalDist().inv_cdf((1 + coverage) / 2) * std_of(loss, outputs)
    return loss.point(mixed) - half, loss.point(mixed) + half


def core_of(
    loss: Loss, outputs: NDArray[Any], coverage: float, scaled: bool
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """What intervals of any width grow from, `[..., targets]` each: the lower and upper end of the interval of width 0
    (with the loss `quantile`, of the predicted one), and the standard deviation that is their unit of width; None if
    they are not scaled.

    Args:
      loss, outputs, coverage: as for `interval_of`.
      scaled: whether there is such a unit.

    Raises:
      OptionError: as `interval_of`.
    """
    mixed = loss.mixed(outputs)
    low, high = loss.interval(mixed, coverage) if isinstance(loss, Quantile) else (loss.point(mixed),) * 2
    return np.asarray(low), np.asarray(high), std_of(loss, outputs) if scaled else None


def check_numbers(loss: Loss | None) -> None:
    """Raises OptionError for a loss that is not known, or of which no number is predicted."""
    if loss is None:
        raise OptionError("The model was read from a file that does not tell its loss; adapt with the learner.")
    if loss.labels or isinstance(loss, Binary | Dice):
        raise OptionError(
            f"The loss {loss.name} is of classes, which have no intervals; take probabilities(x), or the sets of "
            "mtnets.conformal."
        )
