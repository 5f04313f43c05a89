"""A task family: the distributions to train, validate and test on, and what goes with them."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from mtnets.arguments import check_fields
from mtnets.errors import OptionError
from mtnets.inner.criterion import LossLike, as_loss
from mtnets.inner.task import Distribution
from mtnets.tasks.inputs.base import AS_THEY_ARE, Inputs

if TYPE_CHECKING:
    from mtnets.networks.model import Model


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings that a family is usually trained with. Each can be overridden.

    Attributes:
      inner_lr: inner rate α, on the *mean* loss over a task's support set.
      inner_steps: gradient steps within a task.
      meta_batch: tasks per meta-step.
      meta_steps: meta-steps of a whole training.
      inner_clip: clips the norm of a task's gradient; None does not.
      clip_norm: clips the norm of the meta-gradient; None does not. Families of the user's data set it, and inner_clip
        where all targets are of one size: one row far outside the others could otherwise end a training, or ruin the
        mean of its scores.
    """

    inner_lr: float
    inner_steps: int = 1
    meta_batch: int = 4
    meta_steps: int = 60_000
    inner_clip: float | None = None
    clip_norm: float | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """Tasks for training, validation and test, which share no class or group.

    Attributes:
      train, validation, test: task distributions.
      loss: what is small for a good prediction: `"mse"` (regression), `"cross-entropy"` (classification), or another,
        as for `meta_train`.
      recipe: the usual settings of this family.
      model: builds the usual network of this family; where targets are numbers, `model(2)` builds one with two outputs
        for each, as some losses take.
      options: what the family was built from, which is recorded with every run; None if that cannot be recorded.
      inputs: how raw data, such as images or tables, become inputs of the network.
      classes: the names of the classes of each split, where they have names.
    """

    train: Distribution
    validation: Distribution
    test: Distribution
    loss: LossLike
    recipe: Recipe
    model: "Callable[..., Model]"
    options: "Options | None" = None
    inputs: Inputs = AS_THEY_ARE
    classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        """`<Family omniglot: ways 5, shots 1, queries 1, 1100/100/423 classes, loss cross-entropy>`."""
        name = type(self.train).__name__ if self.options is None else self.options.family
        sizes = {each: getattr(self.options, each, None) for each in ("ways", "shots", "queries")}
        facts = [f"{each} {size}" for each, size in sizes.items() if size is not None]
        facts += [f"{'/'.join(str(len(names)) for names in self.classes.values())} classes"] if self.classes else []
        return f"<Family {name}: {', '.join([*facts, f'loss {as_loss(self.loss).name}'])}>"

    def network(self, loss: LossLike) -> "Model":
        """The usual network, with as many outputs for each number to predict as a loss takes.

        Raises:
          OptionError: for a family whose network is fixed, and a loss that takes another number.
        """
        each = as_loss(loss).outputs_per_target
        if each == as_loss(self.loss).outputs_per_target:
            return self.model()
        try:
            inspect.signature(self.model).bind(each)
        except TypeError:
            raise OptionError(
                f"The loss {as_loss(loss).name} takes {each} outputs for each number to predict, and the tasks have a "
                "network of their own; pass one with as many: meta_train(model, ...)."
            ) from None
        return self.model(each)


def inputs_of(tasks: Family | Distribution) -> Inputs | None:
    """How raw data become inputs of these tasks; None for a distribution that does not say it."""
    inputs = getattr(tasks, "inputs", None)
    return inputs if isinstance(inputs, Inputs) else None


FAMILIES: "dict[str, type[Options]]" = {}


class Options:
    """The options of a task family.

    A subclass is a frozen dataclass whose fields are the options. It sets `family`, and is listed in `FAMILIES` by that
    name.

    Attributes:
      family: name of the family in records and on the command line.
      data_option: the field that says where the data are; None for a family without data.
      small: whether the usual network is so small that tasks shared over cores take longer.
    """

    family: ClassVar[str]
    data_option: ClassVar[str | None] = None
    small: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "family" in vars(cls):
            FAMILIES[cls.family] = cls

    def __post_init__(self) -> None:
        check_fields(self)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, list):  # options are hashed
                value = tuple(value)
                object.__setattr__(self, field.name, value)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float) and not math.isfinite(number):
                    raise OptionError(f"{field.name} is {value}; it must be finite.")

    def build(self) -> Family:
        """Builds the family.

        Raises:
          OptionError: for options that are not possible.
          DataError: for data that cannot be used.
        """
        raise NotImplementedError
