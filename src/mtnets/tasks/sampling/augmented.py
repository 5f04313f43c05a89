"""Tasks whose images are augmented as they are drawn."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
from jax import Array

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError, warn
from mtnets.inner.task import Distribution, Task
from mtnets.tasks.family import Family, inputs_of
from mtnets.tasks.inputs.base import Inputs
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.augmentations import Augmentation, Flip, augment_images, augmentations_of

Where = Literal["all", "query", "support"]
DRAW = 2**30  # derives the augmentations from a task's key; tasks derive what they draw by small numbers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Augmented:
    """Tasks with images that are each changed at random, independently of the others. See `augmented`.

    Attributes:
      tasks: of images `[examples, height, width, channels]`; the same key draws the same examples as without this.
      augmentations: one after the other.
      where: whether support and query sets are augmented, or one of them.
    """

    tasks: Distribution
    augmentations: tuple[Augmentation, ...] = dataclasses.field(metadata={"static": True})
    where: Where = dataclasses.field(metadata={"static": True})

    @property
    def inputs(self) -> Inputs | None:
        """How raw data become inputs."""
        return inputs_of(self.tasks)

    def sample(self, key: Array) -> Task:
        """One task, of the shapes of those that it is made from."""
        task, parts = self.tasks.sample(key), {}
        draw = jax.random.fold_in(key, DRAW)
        for number, name in enumerate(Task._fields):
            if self.where in ("all", name):
                batch = getattr(task, name)
                keys = jax.random.split(jax.random.fold_in(draw, number), batch.size)
                parts[name] = batch._replace(x=augment_images(self.augmentations, keys, batch.x))
        return task._replace(**parts)


def check_augment(augment: Sequence[str], where: Where) -> None:
    """Raises OptionError for augmentations that do not exist or are not possible, before any data are read."""
    if not augmentations_of(augment) and where != "all":
        raise OptionError(
            f"augment_where is {where!r}, and nothing is augmented; leave it out, or say how: augment=..."
        )


def warn_of_flips(augment: Sequence[str]) -> None:
    """Warns of mirror images of characters."""
    if any(isinstance(each, Flip) for each in augmentations_of(augment)):
        warn(
            "augment has flip, and the mirror image of a character is often another character, so that a class is two; "
            "crop, rotate and erase keep characters what they are.",
        )


def with_augment(family: Family, augment: Sequence[str], where: Where) -> Family:
    """The family with training tasks that are augmented; itself where there is nothing to do.

    Raises:
      OptionError: as `augmented` does.
    """
    augmentations = augmentations_of(augment)
    if not augmentations:
        return family
    if not isinstance(family.inputs, Images):
        raise OptionError(
            f"augment is {tuple(augment)}, and the tasks have {family.inputs.describe()}, no images; leave it out."
        )
    for augmentation in augmentations:
        augmentation.check(family.inputs)
    return dataclasses.replace(family, train=Augmented(family.train, augmentations, where))


@checked_arguments
def augmented(family: Family, augment: Sequence[str], *, where: Where = "all") -> Family:
    """A family of images whose training tasks are augmented: each image is changed at random as it is drawn, on the
    device. Tasks for validation and test are those of the family.

        tasks = mtnets.tasks.augmented(mtnets.tasks.arrays(x, y, inputs=images), ["flip", "crop(padding=2)"])

    Families with options of that name, such as `folder(..., augment=("flip",))`, keep them in the record of a run.

    Args:
      family: of images.
      augment: names of augmentations, `AUGMENTATIONS`, with their options in brackets, applied one after the other.
      where: `"all"` images of a task, or those of its `"query"` or `"support"` set.

    Raises:
      OptionError: for augmentations that do not exist, are not possible, or mean nothing for such images.
    """
    return dataclasses.replace(with_augment(family, augment, where), options=None)
