"""Learners of several seeds, which adapt and predict together."""

import dataclasses
from typing import Any

from mtnets.arguments import Key, Steps, check_fields, checked_arguments
from mtnets.errors import OptionError, RunError
from mtnets.learner.adapted import AdaptedModel
from mtnets.learner.adapted_ensemble import AdaptedEnsemble
from mtnets.learner.learner import Learner, Masks
from mtnets.tasks import Inputs


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble:
    """Learners of one kind, such as `meta_train(..., seed=[0, 1, 2, 3, 4])` returns, which adapt and predict together.

    Attributes:
      learners: at least two, no two the same, with the same inputs, outputs and losses. Their networks and methods may
        differ.

    Raises:
      OptionError: for learners that are not of one kind.

    References:
      Lakshminarayanan, Pritzel & Blundell, Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles,
      NeurIPS 2017, arXiv 1612.01474.
    """

    learners: tuple[Learner, ...]

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "learners", tuple(self.learners))  # of a frozen dataclass
        if len(self.learners) < 2:
            raise OptionError(f"There are {len(self.learners)} learners; an ensemble needs at least 2.")
        first, *others = (_kind(learner) for learner in self.learners)
        for i, other in enumerate(others, start=1):
            for name, value in first.items():
                if other[name] != value:
                    raise OptionError(
                        f"Learner 0 has the {name} {_shown(value)} and learner {i} {_shown(other[name])}; an ensemble "
                        "is of learners of one kind, as meta_train returns them for several seeds."
                    )
        places: dict[str, int] = {}
        for i, learner in enumerate(self.learners):
            before = places.setdefault(learner.fingerprint, i)
            if before != i:
                raise OptionError(
                    f"Learners {before} and {i} are the same, and would agree on everything; take learners of "
                    "different seeds."
                )

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self)}, the first {self.learners[0]!r}>"

    def __len__(self) -> int:
        return len(self.learners)

    @checked_arguments
    def adapt(
        self,
        x: Any,
        y: Any = None,
        *,
        weights: Any = None,
        inner_steps: Steps | None = None,
        key: Key | None = None,
        masks: Masks | None = None,
    ) -> AdaptedEnsemble:
        """Learns a task from its examples, by each learner.

        Args:
          x, y, weights, inner_steps, key: as for `Learner.adapt`; every learner gets the same.
          masks: as for `Learner.adapt`: so many members for each learner.

        Raises:
          DataError, OptionError: as `Learner.adapt`.
          RunError: if adaptation diverges, naming the learner.
        """
        inputs = self.learners[0].inputs
        x = inputs.collected(x)
        y = inputs.target_of(x) if y is None else y
        options: dict[str, Any] = {"weights": weights, "inner_steps": inner_steps, "key": key}
        members: list[AdaptedModel] = []
        for i, learner in enumerate(self.learners):
            try:
                if masks is None:
                    members.append(learner.adapt(x, y, **options))
                else:
                    members += learner.adapt(x, y, **options, masks=masks).members
            except RunError as error:
                raise RunError(f"Learner {i} of the ensemble: {error}") from error
        return AdaptedEnsemble(tuple(members))


def _kind(learner: Learner) -> dict[str, Any]:
    """What learners must have in common to predict together."""
    return {
        "input shape": learner.model.input_shape,
        "output shape": learner.output_shape,
        "inputs": learner.inputs,
        "loss": learner.criterion.loss,
        "inner loss": learner.criterion.inner_loss,
    }


def _shown(value: Any) -> str:
    """A value for an error: inputs in words, and losses by their values."""
    return value.describe() if isinstance(value, Inputs) else repr(value)
