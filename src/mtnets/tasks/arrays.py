"""Classification tasks from NumPy arrays with labels."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from mtnets.errors import DataError, OptionError
from mtnets.model import Model
from mtnets.models import mlp
from mtnets.task import Task
from mtnets.tasks.episodes import check_episode, episode
from mtnets.tasks.family import Family, Recipe


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Labelled:
    """Tasks drawn from examples by class.

    Attributes:
      x: all examples, `[examples, ...]` float32, class after class.
      starts: where each class begins, `[classes]`.
      counts: examples of each class, `[classes]`.
      ways, shots, queries: of a task.
      most: examples of the largest class.
    """

    x: Array
    starts: Array
    counts: Array
    ways: int = dataclasses.field(metadata={"static": True})
    shots: int = dataclasses.field(metadata={"static": True})
    queries: int = dataclasses.field(metadata={"static": True})
    most: int = dataclasses.field(metadata={"static": True})

    def sample(self, key: Array) -> Task:
        """One task: support `[ways * shots, ...]`, query `[ways * queries, ...]`."""
        key_class, key_example = jax.random.split(key)
        # the places of the largest of n random numbers are a sample without replacement, in random order
        _, drawn = jax.lax.top_k(jax.random.uniform(key_class, self.counts.shape), self.ways)
        scores = jax.random.uniform(key_example, (self.ways, self.most))
        absent = jnp.arange(self.most) >= self.counts[drawn][:, None]
        _, places = jax.lax.top_k(jnp.where(absent, -1.0, scores), self.shots + self.queries)
        return episode(self.x[self.starts[drawn][:, None] + places], self.shots)


def arrays(
    x: ArrayLike,
    y: ArrayLike,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    splits: Sequence[float] = (0.64, 0.16, 0.2),
    seed: int = 0,
) -> Family:
    """Few-shot classification from examples with labels: classes are split into those of training, validation and test.

    Args:
      x: examples, `[examples, ...]`, numbers; they are not scaled.
      y: labels, `[examples]`, of any kind that can be sorted.
      ways, shots, queries: of a task.
      splits: shares of the classes for training, validation and test.
      seed: another one is another split.

    Raises:
      OptionError: ways below 2, shots or queries below 1, or splits that are not three shares above 0.
      DataError: shapes that do not fit each other, what is not finite, a split with fewer classes than ways, or a class
        with fewer examples than shots + queries.
    """
    check_episode(ways, shots, queries)
    if len(splits) != 3 or min(splits) <= 0:
        raise OptionError(f"splits is {tuple(splits)}; it must be three shares above 0: training, validation, test.")
    examples, labels = np.asarray(x), np.asarray(y)
    if labels.ndim != 1 or examples.ndim < 2 or len(examples) != len(labels):
        raise DataError(
            f"x has shape {examples.shape} and y {labels.shape}; they must be [examples, ...] and [examples]."
        )
    if not np.issubdtype(examples.dtype, np.number) or not np.isfinite(examples).all():
        raise DataError(f"x ({examples.dtype}) holds what is no finite number; remove or replace it.")
    names, counts = np.unique(labels, return_counts=True)
    small = names[counts < shots + queries]
    if len(small):
        count = counts[names == small[0]][0]
        raise DataError(
            f"Class {small[0]} has {count} examples, fewer than {shots} shots + {queries} queries; use fewer, add "
            "examples, or leave the class out."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    bounds = np.round(np.cumsum(splits) / sum(splits) * len(names)).astype(int)[:2]
    classes = dict(zip(("train", "validation", "test"), np.split(order, bounds), strict=True))
    made = {}
    for split, members in classes.items():
        if len(members) < ways:
            raise DataError(
                f"{len(members)} of {len(names)} classes are for {split}, fewer than the {ways} ways of a task; use "
                "fewer ways, other splits, or more classes."
            )
        chosen = np.concatenate([np.flatnonzero(labels == names[i]) for i in members])
        sizes = counts[members]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        made[split] = Labelled(
            jnp.asarray(examples[chosen], jnp.float32), jnp.asarray(starts), jnp.asarray(sizes), ways, shots, queries,
            int(sizes.max()),
        )  # fmt: skip

    def network() -> Model:
        if examples.ndim > 2:
            raise OptionError("Examples of this shape need a network of yours: meta_train(mtnets.wrap(...), ...).")
        return mlp(examples.shape[1], 64, 64, ways, init_std=0.1)

    named = {split: tuple(str(names[i]) for i in members) for split, members in classes.items()}
    recipe = Recipe(inner_lr=0.1, inner_steps=5, meta_batch=16, meta_steps=10_000)
    return Family(made["train"], made["validation"], made["test"], "cross-entropy", recipe, network, classes=named)
