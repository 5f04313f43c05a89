"""Images with channels last, for a network that takes channels first."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.inner.task import Batch, Distribution, Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ChannelsFirst:
    """Tasks of images `[examples, height, width, channels]`, drawn as `[examples, channels, height, width]`.

    Attributes:
      tasks: where they come from.
    """

    tasks: Distribution

    def sample(self, key: Array) -> Task:
        """One task."""
        return Task(*(_transposed(batch) for batch in self.tasks.sample(key)))


def _transposed(batch: Batch) -> Batch:
    return batch._replace(x=jnp.moveaxis(batch.x, -1, 1))
