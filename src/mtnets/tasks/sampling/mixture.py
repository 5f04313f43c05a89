"""Several distributions as one: each task is drawn from one of them."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.arguments import checked_arguments
from mtnets.errors import DataError, OptionError
from mtnets.inner.criterion import as_loss
from mtnets.inner.task import Distribution, Task
from mtnets.tasks.family import Family, inputs_of
from mtnets.tasks.inputs.base import Inputs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mixture:
    """Tasks of several kinds. Build one with `mixture`, which checks its arguments.

    Attributes:
      parts: the distributions.
      shares: the share of the tasks that come from each, `[parts]`.
    """

    parts: tuple[Distribution, ...]
    shares: Array

    @property
    def inputs(self) -> Inputs | None:
        """How raw data become inputs, in all parts."""
        return inputs_of(self.parts[0])

    def sample(self, key: Array) -> Task:
        """One task of one of the parts."""
        part = jax.random.choice(jax.random.fold_in(key, 0), len(self.parts), p=self.shares)
        return jax.lax.switch(part, [each.sample for each in self.parts], jax.random.fold_in(key, 1))


@checked_arguments
def mixture(parts: Sequence[Family], weights: Sequence[float] | None = None) -> Family:
    """Several task families as one, for training, validation and test alike.

    Args:
      parts: families whose tasks have the same shapes and loss; network and recipe are those of the first.
      weights: how often a task is drawn from each, in any unit. Defaults to equally often.

    Raises:
      OptionError: for fewer than two parts, or weights that are not one number above 0 for each.
      DataError: for parts whose tasks differ in shape, type, loss, or in how raw data become inputs.
    """
    if len(parts) < 2:
        raise OptionError(f"A mixture needs at least two families; got {len(parts)}.")
    shares = [1.0] * len(parts) if weights is None else [float(weight) for weight in weights]
    if len(shares) != len(parts) or not all(0 < share < float("inf") for share in shares):
        raise OptionError(f"weights is {shares}; it must be one number above 0 for each of {len(parts)} families.")
    for number, part in enumerate(parts[1:], 2):
        _check_alike(parts[0], part, number)

    def mixed(split: str) -> Mixture:
        return Mixture(tuple(getattr(part, split) for part in parts), jnp.asarray(shares) / sum(shares))

    return dataclasses.replace(
        parts[0], train=mixed("train"), validation=mixed("validation"), test=mixed("test"), options=None, classes={}
    )


def _check_alike(first: Family, other: Family, number: int) -> None:
    """Raises DataError where the tasks of a family, the `number`-th, are unlike those of the first."""
    shapes, other_shapes = _shapes(first), _shapes(other)
    if as_loss(other.loss) != as_loss(first.loss) or other_shapes != shapes:
        raise DataError(
            f"Family {number} has tasks {other_shapes} with {other.loss}, and the first {shapes} with {first.loss}; "
            "use the same ways, shots, queries and inputs for all."
        )
    if other.inputs != first.inputs:
        raise DataError(
            f"Family {number} reads raw data otherwise than the first does, and a learner keeps only one way: use the "
            f"same image sizes, or one table of all rows ({other.inputs} and {first.inputs})."
        )


def _shapes(family: Family) -> str:
    task = jax.eval_shape(family.train.sample, jax.random.key(0))
    return ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(task))
