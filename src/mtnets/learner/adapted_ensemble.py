"""Several networks that were adapted to the same task, and predict together."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mtnets.arguments import Coverage, check_fields, checked_arguments
from mtnets.errors import OptionError
from mtnets.inner import Loss
from mtnets.learner.adapted import AdaptedModel
from mtnets.learner.spread import interval_of, std_of


@dataclasses.dataclass(frozen=True, eq=False)
class AdaptedEnsemble:
    """Several networks that were adapted to the same task: by one learner with several masks
    (`learner.adapt(x, y, masks=16)`), or by several learners (`mtnets.Ensemble(learners).adapt(x, y)`).

    It predicts as the equal mixture of its members.

    Attributes:
      members: the networks, each of which can be called, saved and exported.

    Raises:
      OptionError: for fewer than two members, or members with different losses.

    References:
      Lakshminarayanan, Pritzel & Blundell, Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles,
      NeurIPS 2017, arXiv 1612.01474.
    """

    members: tuple[AdaptedModel, ...]

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "members", tuple(self.members))  # of a frozen dataclass
        losses = [member.loss for member in self.members]
        if len(losses) < 2:
            raise OptionError(f"There are {len(losses)} members; an ensemble needs at least 2.")
        for i, loss in enumerate(losses):
            if loss is None or loss != losses[0]:
                names = [other.name if other else "unknown" for other in (losses[0], loss)]
                raise OptionError(
                    f"Member 0 has the loss {names[0]} and member {i} {names[1]}; all must be adapted by learners of "
                    "one known loss."
                )

    def __repr__(self) -> str:
        return f"<AdaptedEnsemble of {len(self)}, the first {self.members[0]!r}>"

    def __len__(self) -> int:
        return len(self.members)

    @property
    def loss(self) -> Loss:
        """That of every member."""
        loss = self.members[0].loss
        assert loss is not None  # as checked
        return loss

    def each(self, x: Any) -> NDArray[Any]:
        """What each member predicts, `[members, examples, outputs]`.

        Raises:
          DataError: as for one model.
        """
        x = self.members[0].inputs.collected(x)  # which may be computed anew each time
        return np.stack([np.asarray(member(x)) for member in self.members])

    def __call__(self, x: Any) -> Array:
        """The prediction of the mixture, `[examples, outputs]`, in the form that a member has: the mean of numbers and
        of quantiles; with the loss `gaussian`, mean and logarithm of the total variance; for labels, the logarithm of
        the mean probabilities.

        Raises:
          DataError: as for one model.
        """
        return jnp.asarray(self.loss.mixed(self.each(x)))

    def probabilities(self, x: Any) -> Array:
        """Mean class probabilities, `[examples, ways]`.

        Raises:
          OptionError: for an ensemble of regression.
        """
        return jnp.asarray(np.mean([np.asarray(member.probabilities(x)) for member in self.members], axis=0))

    def std(self, x: Any) -> NDArray[Any]:
        """Standard deviations of the targets, `[examples, targets]`: the spread of the members and, with a loss that
        says a variance (`gaussian`), the mean of theirs. Without one it tells how far the members disagree, which is
        less than how far they are from the targets.

        Raises:
          OptionError: for a loss of classes.
        """
        return std_of(self.loss, self.each(x))

    @checked_arguments
    def interval(self, x: Any, coverage: Coverage = 0.9) -> tuple[NDArray[Any], NDArray[Any]]:
        """Lower and upper ends of central intervals, `[examples, targets]` each: of the normal distribution with the
        mean and `std` of the mixture; with the loss `quantile`, the mean quantiles.

        Args:
          x: inputs, as for a prediction.
          coverage: the share of targets that are to lie within, if the loss says a variance; without one, fewer do.
            `mtnets.conformal` makes them cover.

        Raises:
          OptionError: for a loss of classes, or one of quantiles that has not those of this coverage.
        """
        return interval_of(self.loss, self.each(x), coverage)
