"""Several distributions as one: each task is drawn from one of them."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import DataError, OptionError
from mtnets.inner.task import Distribution, Task
from mtnets.tasks.family import Family


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mixture:
    """Tasks of several kinds. Build one with `mixture`, which checks what it is given.

    Attributes:
      parts: the distributions.
      shares: of the tasks that come from each, `[parts]`.
    """

    parts: tuple[Distribution, ...]
    shares: Array

    def sample(self, key: Array) -> Task:
        """One task of one of the parts."""
        which = jax.random.choice(jax.random.fold_in(key, 0), len(self.parts), p=self.shares)
        own = jax.random.fold_in(key, 1)
        return jax.lax.switch(which, [part.sample for part in self.parts], own)


def mixture(parts: Sequence[Family], weights: Sequence[float] | None = None) -> Family:
    """Several task families as one, for training, validation and test alike.

    Args:
      parts: families whose tasks have the same shapes and loss; network and recipe are those of the first.
      weights: how often a task is drawn from each, in any unit; equally often unless given.

    Raises:
      OptionError: for fewer than two parts, or weights that are not one number above 0 for each.
      DataError: for parts whose tasks differ in shape, type, loss, or in how raw data become inputs.
    """
    if len(parts) < 2:
        raise OptionError(f"A mixture needs at least two families; got {len(parts)}.")
    given = [1.0] * len(parts) if weights is None else [float(weight) for weight in weights]
    if len(given) != len(parts) or not all(0 < weight < float("inf") for weight in given):
        raise OptionError(f"weights is {given}; it must be one number above 0 for each of {len(parts)} families.")
    first = parts[0]
    for i, part in enumerate(parts[1:], 2):
        shapes = [jax.eval_shape(each.train.sample, jax.random.key(0)) for each in (first, part)]
        described = [[f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(shape)] for shape in shapes]
        if part.loss != first.loss or described[0] != described[1]:
            raise DataError(
                f"Family {i} has tasks {', '.join(described[1])} with {part.loss}, and the first "
                f"{', '.join(described[0])} with {first.loss}; use the same ways, shots, queries and inputs for all."
            )
        if part.inputs != first.inputs:
            raise DataError(
                f"Family {i} reads raw data otherwise than the first does, and a learner keeps one way alone: use the "
                f"same image sizes, or one table of all rows ({part.inputs} and {first.inputs})."
            )
    shares = jnp.asarray(given) / sum(given)

    def mixed(split: str) -> Mixture:
        return Mixture(tuple(getattr(part, split) for part in parts), shares)

    return dataclasses.replace(
        first, train=mixed("train"), validation=mixed("validation"), test=mixed("test"), options=None, classes={}
    )
