"""Intervals and sets that cover as often as they say, whatever the network: split-conformal prediction over tasks."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from mtnets.arguments import Coverage, Key, Seed, Steps, checked_arguments
from mtnets.errors import DataError, OptionError, warn
from mtnets.inner import Batch, Distribution, Loss
from mtnets.inner.losses import Quantile
from mtnets.learner.adapted import AdaptedModel
from mtnets.learner.adapted_ensemble import AdaptedEnsemble
from mtnets.learner.ensemble import Ensemble
from mtnets.learner.learner import Learner, Masks
from mtnets.learner.queries import drawn_tasks, predict_queries
from mtnets.learner.spread import check_numbers, core_of
from mtnets.raw_arrays import read_array
from mtnets.tasks import Family

CALIBRATION_SEED = 20160414  # one fixed stream of tasks; not that of tests, where one distribution serves for both


@dataclasses.dataclass(frozen=True, eq=False)
class Conformal:
    """How far from their predictions the targets of validation tasks lay; `mtnets.conformal` measures it.

    Attributes:
      coverage: the share of targets that intervals and sets are to cover.
      threshold: the score that this share does not exceed, of each target apart, `[targets]`; of a loss of labels one.
      num_tasks: how many tasks it was measured on.
      loss: of the learners.
      adapted_by: of each member, one for a single model: the fingerprint of its learner, and its inner steps.
      scaled: whether scores are in units of the standard deviation of each prediction.
      examples: how many the tasks had to learn from, at least and at most.
    """

    coverage: float
    threshold: NDArray[np.float64]
    num_tasks: int
    loss: Loss
    adapted_by: tuple[tuple[str, int], ...]
    scaled: bool
    examples: tuple[int, int]

    def __repr__(self) -> str:
        """`<Conformal for loss gaussian: covers 90% by 200 tasks>`."""
        return f"<Conformal for loss {self.loss.name}: covers {self.coverage:.0%} by {self.num_tasks} tasks>"

    def interval(self, adapted: AdaptedModel | AdaptedEnsemble, x: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Lower and upper ends of intervals, `[examples, targets]` each, in units of the targets.

        Args:
          adapted: what the learner, or the ensemble, has adapted to a task, in the same way as in `conformal`.
          x: inputs, as for a prediction.

        Raises:
          OptionError: for a loss of labels, and for a model that was adapted by another learner or in another way.

        Warns for a model that was adapted to fewer or more examples than the validation tasks have.
        """
        self.warn_of_sizes([adapted])
        return self.ends(adapted, x)

    def ends(self, adapted: AdaptedModel | AdaptedEnsemble, x: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """The same as `interval` without a warning."""
        if self.loss.labels:
            raise OptionError(
                f"The loss {self.loss.name} is of labels, which have no intervals; take sets(adapted, x)."
            )
        self._check(adapted)
        members = members_of(adapted)
        each = np.stack([np.asarray(member(x), np.float64) for member in members])
        low, high, unit = core_of(self.loss, each, self.coverage, self.scaled)
        if unit is None:  # scores are in units of the targets as the network takes them
            one = np.ones((1, low.shape[-1]))
            unit = members[0].inputs.unscale(one) - members[0].inputs.unscale(0 * one)
        return low - self.threshold * unit, high + self.threshold * unit

    def sets(self, adapted: AdaptedModel | AdaptedEnsemble, x: Any) -> NDArray[np.bool_]:
        """Which labels the sets hold, `[examples, ways]`: all that are not too unlikely. A set may hold several, or
        none.

        Args:
          adapted, x: as for `interval`.

        Raises:
          OptionError: for a loss of numbers, and as `interval`.
        """
        if not self.loss.labels:
            raise OptionError(f"The loss {self.loss.name} is of numbers, not labels; take interval(adapted, x).")
        self._check(adapted)
        self.warn_of_sizes([adapted])
        return 1 - np.asarray(adapted.probabilities(x)) <= self.threshold

    def warn_of_sizes(self, adapted: Sequence[AdaptedModel | AdaptedEnsemble]) -> None:
        """Warns once of models that were adapted to fewer or more examples than the validation tasks have."""
        least, most = self.examples
        known = (members_of(each)[0].examples for each in adapted if isinstance(each, AdaptedModel | AdaptedEnsemble))
        others = sorted({count for count in known if count is not None and not least <= count <= most})
        if others:
            warn(
                f"{'Intervals' if not self.loss.labels else 'Sets'} were calibrated on tasks of {_to(least, most)} "
                f"examples, and here are {_to(others[0], others[-1])}: they may cover less than {self.coverage:.0%}; "
                "learn from as many, or train and calibrate with as many shots as there will be."
            )

    def _check(self, adapted: AdaptedModel | AdaptedEnsemble) -> None:
        """Raises OptionError for a model to which the measured scores do not apply."""
        if not isinstance(adapted, AdaptedModel | AdaptedEnsemble):
            raise OptionError(
                f"adapted is of type {type(adapted).__name__}; it must be what learner.adapt(x, y) returns."
            )
        members = members_of(adapted)
        if len(members) != len(self.adapted_by):
            raise OptionError(
                f"adapted has {len(members)} members, and the validation tasks were adapted to by "
                f"{len(self.adapted_by)}; adapt in the same way, or call mtnets.conformal anew."
            )
        for member, (fingerprint, inner_steps) in zip(members, self.adapted_by, strict=True):
            if member.learner is not None and member.learner.fingerprint != fingerprint:
                raise OptionError(
                    "adapted is of another learner than adapted to the validation tasks; call mtnets.conformal with it."
                )
            if member.inner_steps not in (None, inner_steps):
                raise OptionError(
                    f"adapted took {member.inner_steps} inner steps, and on the validation tasks it was {inner_steps}; "
                    f"adapt in the same way, or call mtnets.conformal(..., inner_steps={member.inner_steps})."
                )


@checked_arguments
def conformal(
    learner: Learner | Ensemble,
    tasks: Family | Distribution,
    num_tasks: int = 200,
    *,
    coverage: Coverage = 0.9,
    inner_steps: Steps | None = None,
    masks: Masks | None = None,
    key: Key | None = None,
    scaled: bool | None = None,
    seed: Seed = CALIBRATION_SEED,
) -> Conformal:
    """Measures on validation tasks how wide intervals (for labels: how large sets) must be to cover.

    Each task is adapted to and its query set predicted, as in use. A score says how far a target lies from its
    prediction: `|y − f|`; `|y − f| / std` with `scaled`; with the loss `quantile` how far it lies outside the interval
    of the predicted quantiles; for labels `1 − p` of the true class. Intervals hold whatever has a score up to the
    `⌈(n + 1) c⌉`-th smallest of n, for coverage c.

    What is covered: tasks must be exchangeable, that is, a new task, with its support set and its queries, must be
    drawn as validation tasks are. Then the probability that a target of a new task lies in its interval is at least c:
    on average over tasks, queries and validation sets. It may be less within one task, for one kind of task, or far
    from the support. It is not promised for tasks of another size or kind, where validation tasks are few classes or
    groups drawn again and again, nor exactly where they chose the best learner too. Targets of one task are not
    exchangeable with those of another one by one; all queries of a task therefore count as one task together, and the
    new task as one more whose scores are infinite (Lee, Barber & Willett 2023); with one query per task this is the
    quantile above.

    Args:
      learner: a learner, or an ensemble of several.
      tasks: a family, whose `.validation` is used, never its `.test`; or a bare distribution.
      num_tasks: how many tasks are drawn, at least `c / (1 − c)`.
      coverage: c. With the loss `quantile` it must be that of two levels of the loss.
      inner_steps, masks, key: as for `adapt`; models are to be adapted with the same.
      scaled: whether intervals are wide where the standard deviation of a prediction is large. Defaults to True where
        the loss says a variance, such as `gaussian`. Ensembles with other losses may be scaled by the spread of their
        members.
      seed: of the tasks.

    Returns:
      What gives intervals, `result.interval(adapted, x)`, or sets of labels, `result.sets(adapted, x)`.

    Raises:
      OptionError: for too few tasks, a loss of yes or no, or standard deviations that there are not.
      DataError: for tasks of another kind than those of the learner.
      RunError: if adaptation to a task diverges.

    References:
      Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005.
      Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018, arXiv 1604.04173 (split-conformal, scaled scores).
      Romano, Patterson & Candès 2019, arXiv 1905.03222 (quantiles).
      Lee, Barber & Willett 2023, arXiv 2306.06342 (tasks with several queries).
    """
    least = math.ceil(coverage / (1 - coverage) - 1e-9)
    if num_tasks < least:
        raise OptionError(f"num_tasks is {num_tasks}; a coverage of {coverage} needs at least {least}.")
    learners = learner.learners if isinstance(learner, Ensemble) else (learner,)
    first, loss = learners[0], learners[0].loss
    if not loss.labels:
        check_numbers(loss)
    scaled = loss.variance(np.zeros((1, loss.outputs_per_target))) is not None if scaled is None else scaled
    if scaled and (loss.labels or isinstance(loss, Quantile)):
        raise OptionError(f"scaled is True, and the loss {loss.name} has scores of its own; leave it out.")
    if masks is not None:
        for each in learners:
            each.check_masks(masks, inner_steps)
    part = tasks.validation if isinstance(tasks, Family) else tasks
    drawn = drawn_tasks(first, tasks, part, jax.random.split(jax.random.key(seed), num_tasks))
    outputs = predict_queries(learners, drawn, inner_steps=inner_steps, masks=masks, key=key).astype(np.float64)
    y = read_array(drawn.query.y, "The targets of the query sets")
    values = _scores(loss, outputs, y, coverage, scaled)
    weights = np.ones(y.shape[:2]) if drawn.query.weights is None else np.asarray(drawn.query.weights)
    points = weights.reshape(*weights.shape, *(1,) * (values.ndim - 3))  # of each place, where targets have places
    threshold = threshold_of(values, np.broadcast_to(points, values.shape[:-1]), coverage)
    if not np.isfinite(threshold).all():
        raise OptionError("The members agree exactly where they are wrong, and scaled is True; use scaled=False.")
    examples = jax.tree.leaves(drawn.support.y)[0].shape[1]
    steps = [each.inner_of(examples, inner_steps).steps for each in learners]
    by = [(each.fingerprint, taken) for each, taken in zip(learners, steps, strict=True) for _ in range(masks or 1)]
    return Conformal(coverage, threshold, num_tasks, loss, tuple(by), scaled, _sizes_of(drawn.support, examples))


def threshold_of(scores: NDArray[Any], weights: NDArray[Any], coverage: float) -> NDArray[np.float64]:
    """The least score that a share `coverage` does not exceed, of each target, `[targets]`, where every task counts the
    same, and one more task, whose scores are infinite, as much as each.

    Args:
      scores: `[tasks, ..., targets]`.
      weights: of the scores of a task, `[tasks, ...]`; 0 for padding.
      coverage: the share.
    """
    tasks, targets = len(scores), scores.shape[-1]
    shares = weights.reshape(tasks, -1) / weights.reshape(tasks, -1).sum(1, keepdims=True)
    needed = coverage * (tasks + 1) - 1e-9 * tasks  # sums of weights are rounded
    threshold = []
    for each in scores.reshape(-1, targets).T:
        order = np.argsort(each)
        threshold.append(each[order[np.searchsorted(np.cumsum(shares.ravel()[order]), needed)]])
    return np.array(threshold)


def _sizes_of(support: Batch, examples: int) -> tuple[int, int]:
    """How many of so many examples count in each task, at least and at most."""
    if support.weights is None:
        return examples, examples
    counts = np.count_nonzero(np.asarray(support.weights), axis=1)
    return int(counts.min()), int(counts.max())


def _to(least: int, most: int) -> str:
    """`5`, or `3 to 5`."""
    return f"{least}" if least == most else f"{least} to {most}"


def members_of(adapted: AdaptedModel | AdaptedEnsemble) -> tuple[AdaptedModel, ...]:
    """The members of an ensemble, or the one model."""
    return adapted.members if isinstance(adapted, AdaptedEnsemble) else (adapted,)


def _scores(loss: Loss, outputs: NDArray[Any], y: NDArray[Any], coverage: float, scaled: bool) -> NDArray[np.float64]:
    """Of every target of every task, in the units of tasks, `[tasks, queries, ..., targets]`; of labels one."""
    if loss.labels:
        likely = np.exp(np.take_along_axis(loss.mixed(outputs), y[..., None], axis=-1))  # of the true classes
        return 1 - likely
    low, high, unit = core_of(loss, outputs, coverage, scaled)
    if low.shape != y.shape:
        raise DataError(
            f"The targets of a query set have shape {y.shape[1:]} and the predictions {low.shape[1:]}; intervals need "
            "targets of the shape of the predictions."
        )
    beyond = np.maximum(low - y, y - high)
    if unit is None:
        return beyond
    return np.divide(beyond, unit, out=np.where(beyond > 0, np.inf, 0.0), where=unit > 0)
