"""A task family: the distributions to train, validate and test on, and what goes with them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from mtnets.inner.task import Distribution
from mtnets.tasks.inputs.inputs import AS_THEY_ARE, Inputs

if TYPE_CHECKING:
    from mtnets.networks.model import Model


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings that a family is usually trained with; every one can be overridden.

    Attributes:
      inner_lr: inner rate α, on the *mean* loss over a task's support set.
      inner_steps: gradient steps within a task.
      meta_batch: tasks per meta-step.
      meta_steps: meta-steps of a whole training.
      inner_clip: clips the norm of a task's gradient, if not None.
      clip_norm: clips the norm of the meta-gradient, if not None. Data of users get it, and inner_clip where targets
        are of one size: one row far outside the others would otherwise end a training, or ruin its mean score.
    """

    inner_lr: float
    inner_steps: int = 1
    meta_batch: int = 4
    meta_steps: int = 60_000
    inner_clip: float | None = None
    clip_norm: float | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """Tasks for training, validation and test that share nothing but their kind.

    Attributes:
      train, validation, test: task distributions.
      loss: `"mse"` (regression) or `"cross-entropy"` (classification).
      recipe: the usual settings of this family.
      model: builds the usual network of this family.
      options: the dataclass that the family was built from; its fields are recorded with every run.
      inputs: how raw data, such as images or tables, become inputs of the network.
      classes: the names of the classes of each split, where they have names.
    """

    train: Distribution
    validation: Distribution
    test: Distribution
    loss: Literal["mse", "cross-entropy"]
    recipe: Recipe
    model: "Callable[[], Model]"
    options: Any = None
    inputs: Inputs = AS_THEY_ARE
    classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
