"""Classification tasks drawn from images by class: N ways, K shots."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mtnets.errors import DataError
from mtnets.inner.task import Batch, Task
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.draws import check_episode, distinct
from mtnets.tasks.sampling.sizes import Sizes


def episode(x: Array, shots: int, weights: tuple[Array | None, Array | None] = (None, None)) -> Task:
    """A task from examples of its classes: the first `shots` of each are support, the others queries.

    Args:
      x: examples, `[ways, shots + queries, ...]`; the label of a class is its place.
      shots: support examples of each class.
      weights: of the support and of the query examples, `[ways, examples]`; None where all count.

    Returns:
      Support `[ways * shots, ...]` and query `[ways * queries, ...]`, class after class.
    """
    ways = x.shape[0]

    def batch(part: Array, weights: Array | None) -> Batch:
        labels = jnp.repeat(jnp.arange(ways, dtype=jnp.int32), part.shape[1])
        flat = part.reshape(ways * part.shape[1], *part.shape[2:])
        return Batch(flat, labels, None if weights is None else weights.reshape(-1))

    return Task(batch(x[:, :shots], weights[0]), batch(x[:, shots:], weights[1]))


def drawn_examples(key: Array, counts: Array, most: int, sizes: Sizes) -> tuple[Array, tuple[Any, Any]]:
    """The places of the examples of a task among those of each of its classes, support first, and their weights.

    Args:
      key: of the draw.
      counts: examples of each class, `[ways]`.
      most: places of a class, of which the first ones are examples, at least shots + queries.
      sizes: support and query examples of each class.

    Returns:
      Places `[ways, shots + queries]`, and the weights of the support and of the query, `[ways, examples]`.
    """
    real = jnp.arange(most) < counts[:, None]
    support, query = sizes.parts(distinct(key, real.shape, sizes.total, real), counts)
    return jnp.concatenate([support.places, query.places], axis=1), (support.weights, query.weights)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Episodes:
    """Tasks drawn from images by class. Build one with `Episodes.of`, which checks its arguments.

    Attributes:
      pixels: images of all classes, `[classes, examples, size, size, channels]` uint8; classes with fewer examples are
        padded.
      counts: examples of each class, `[classes]` int32.
      ways: classes of a task.
      sizes: support and query examples of each class.
      rotations: whether each drawn class is turned by a random multiple of 90°, its support and queries alike.
      inputs: how pixels become inputs.
    """

    pixels: Array
    counts: Array
    ways: int = dataclasses.field(metadata={"static": True})
    sizes: Sizes = dataclasses.field(metadata={"static": True})
    rotations: bool = dataclasses.field(metadata={"static": True})
    inputs: Images = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(
        cls,
        classes: Mapping[str, NDArray[np.uint8]],
        inputs: Images,
        *,
        ways: int = 5,
        shots: int = 1,
        queries: int = 15,
        fewest_shots: int | None = None,
        fewest_queries: int | None = None,
        rotations: bool = False,
        split: str = "these",
    ) -> "Episodes":
        """Tasks drawn from these classes.

        Args:
          classes: the images of each class, `[examples, size, size, channels]` uint8, by name.
          inputs: how pixels become inputs.
          ways, rotations: as in the attributes.
          shots, queries: support and query examples of each class.
          fewest_shots, fewest_queries: of a class with fewer than shots + queries, which is padded; see `Sizes`. By
            default, no class may have fewer.
          split: what to call the classes in an error.

        Raises:
          OptionError: ways below 2, shots or queries below 1 or fewer than their fewest.
          DataError: fewer classes than ways, a class with too few examples, images of another shape or type than
            `inputs` says.
        """
        check_episode(ways, shots, queries)
        sizes = Sizes(shots, queries, fewest_shots, fewest_queries)
        if len(classes) < ways:
            raise DataError(
                f"There are {len(classes)} {split} classes, fewer than the {ways} ways of a task; "
                f"use at most {len(classes)} ways or add classes."
            )
        for name, pixels in classes.items():
            inputs.check(pixels, f"Class {name}")
            sizes.check(f"Class {name}", len(pixels), "examples", "add examples, or leave the class out.")
        counts = np.array([len(pixels) for pixels in classes.values()], np.int32)
        padded = np.zeros((len(classes), max(counts.max(), sizes.total), *inputs.shape), np.uint8)
        for row, pixels in zip(padded, classes.values(), strict=True):
            row[: len(pixels)] = pixels
        return cls(jnp.asarray(padded), jnp.asarray(counts), ways, sizes, rotations, inputs)

    def sample(self, key: Array) -> Task:
        """One task: support `[ways * shots, size, size, channels]`, query `[ways * queries, ...]`."""
        _, key_example, key_turn = jax.random.split(key, 3)
        classes = self.classes_of(key)
        examples, weights = drawn_examples(key_example, self.counts[classes], self.pixels.shape[1], self.sizes)
        pixels = self.pixels[classes[:, None], examples]
        if self.rotations:
            pixels = jax.vmap(turn)(pixels, jax.random.randint(key_turn, (self.ways,), 0, 4))
        return episode(self.inputs.to_inputs(pixels), self.sizes.shots, weights)

    def classes_of(self, key: Array) -> Array:
        """The places of the classes of the task of a key, in order of its labels, `[ways]`."""
        return distinct(jax.random.split(key, 3)[0], self.counts.shape, self.ways)


def turn(pixels: Array, quarters: Array) -> Array:
    """Turns images `[examples, size, size, channels]` by a number of quarters (0 … 3), counter-clockwise."""
    return jax.lax.select_n(quarters, *(jnp.rot90(pixels, k, axes=(1, 2)) for k in range(4)))
