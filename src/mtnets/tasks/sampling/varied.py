"""Tasks of several sizes, from tasks of one: a part of the support set, or of the classes, counts."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError
from mtnets.inner.criterion import as_loss
from mtnets.inner.task import Batch, Distribution, Task
from mtnets.tasks.family import Family


@checked_arguments
def varied(
    family: Family, *, fewest_shots: int | None = None, fewest_ways: int | None = None, balanced: bool = True
) -> Family:
    """The tasks of a family, with a number of shots, and of ways, that is drawn for each task.

    Nothing changes its shape: examples that are left out have weight 0 (`Batch.weights`), so that losses, metrics and
    the statistics of batch norm are those of the examples that count. Classes that are left out are masked.

        tasks = mtnets.tasks.varied(mtnets.tasks.glyphs(ways=5, shots=5), fewest_shots=1, fewest_ways=2)

    Args:
      family: with the most shots and ways that a task may have.
      fewest_shots: of a task, at least 1; as many as this, up to those of the family, are drawn. Defaults to those of
        the family.
      fewest_ways: of a task, at least 2, in the same way.
      balanced: whether all classes of a task have as many shots; otherwise a number is drawn for each.

    Raises:
      OptionError: for more shots or ways than the family has, or ways of tasks whose targets are no labels.
    """
    labels = as_loss(family.loss).labels
    support = jax.jit(family.train.sample)(jax.random.key(0)).support
    ways = int(support.y.max()) + 1 if labels else 0
    if fewest_ways is not None and not 2 <= fewest_ways <= ways:
        known = f"from 2 to {ways}" if labels else "left out for tasks whose targets are no labels of classes"
        raise OptionError(f"fewest_ways is {fewest_ways}; it must be {known}.")
    most = len(support.y) // max(1, ways)
    if fewest_shots is not None and not 1 <= fewest_shots <= most:
        raise OptionError(f"fewest_shots is {fewest_shots}; it must be from 1 to {most}, the shots of the family.")
    parts = {
        name: Varied(getattr(family, name), labels, ways, fewest_shots, fewest_ways, balanced)
        for name in ("train", "validation", "test")
    }
    return dataclasses.replace(family, **parts, options=None)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Varied:
    """See `varied`.

    Attributes:
      tasks: of the most shots and ways.
      labels: whether targets are labels of classes.
      ways: classes of a task at most; 0 where targets are no labels.
      fewest_shots, fewest_ways: of a task; None for all.
      balanced: whether all classes of a task have as many shots.
    """

    tasks: Distribution
    labels: bool = dataclasses.field(metadata={"static": True})
    ways: int = dataclasses.field(metadata={"static": True})
    fewest_shots: int | None = dataclasses.field(metadata={"static": True})
    fewest_ways: int | None = dataclasses.field(metadata={"static": True})
    balanced: bool = dataclasses.field(metadata={"static": True})

    def sample(self, key: Array) -> Task:
        """One task, of the shapes of those that it is made from."""
        draw, shots_key, ways_key = (jax.random.fold_in(key, i) for i in range(3))
        task = self.tasks.sample(draw)
        y = task.support.y if self.labels else jnp.zeros(len(task.support.y), jnp.int32)
        same = y[:, None] == y[None, :]
        place = jnp.sum(jnp.tril(same, -1), axis=1)  # among the examples of the same class
        most = same.sum(1)
        if self.fewest_shots is not None:
            share = jax.random.uniform(shots_key, (len(y),))[0 if self.balanced else y]
            shots = self.fewest_shots + jnp.floor(share * (most - self.fewest_shots + 1)).astype(jnp.int32)
            task = task._replace(support=_weighed(task.support, place < jnp.clip(shots, 1, most)))
        if self.fewest_ways is not None:
            ways = jax.random.randint(ways_key, (), self.fewest_ways, self.ways + 1)
            used = jnp.arange(self.ways) < ways
            task = Task(*(_weighed(batch, batch.y < ways)._replace(outputs=used) for batch in task))
        return task


def _weighed(batch: Batch, counts: Array) -> Batch:
    """The batch with weight 0 for the examples that do not count."""
    weights = counts.astype(jnp.float32)
    return batch._replace(weights=weights if batch.weights is None else batch.weights * weights)
