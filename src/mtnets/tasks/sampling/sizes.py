"""How many examples a task has of a class or a group, also where there are fewer than it would take: then padding, of
weight 0, stands for those that lack."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from mtnets.errors import DataError, OptionError
from mtnets.tasks.sampling.draws import check_counts


class Part(NamedTuple):
    """The support or the query examples of a task, of one class or of each.

    Attributes:
      places: where they are, `[..., examples]`.
      weights: 1 for those that are real and 0 for padding, of the same shape; None where all are real.
    """

    places: Array
    weights: Array | None


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How many examples a task has of a class or a group.

    Where there are fewer than shots + queries, queries are left out first, down to the fewest, and then shots.

    Attributes:
      shots: support examples.
      queries: query examples.
      fewest_shots: support examples that will do; None for no fewer than `shots`.
      fewest_queries: query examples that will do; None for no fewer than `queries`.

    Raises:
      OptionError: for a number below 1, or more at least than at most.
    """

    shots: int
    queries: int
    fewest_shots: int | None = None
    fewest_queries: int | None = None

    def __post_init__(self) -> None:
        check_counts(shots=self.shots, queries=self.queries)
        for name in ("shots", "queries"):
            least, most = getattr(self, f"fewest_{name}"), getattr(self, name)
            if least is not None and not 1 <= least <= most:
                raise OptionError(f"fewest_{name} is {least}; it must be from 1 to {most}, which is {name}.")

    @property
    def total(self) -> int:
        """Examples of a task with all shots and queries."""
        return self.shots + self.queries

    @property
    def least(self) -> int:
        """Examples that a class or a group must have."""
        return (self.fewest_shots or self.shots) + (self.fewest_queries or self.queries)

    def check(self, what: str, count: int, examples: str, remedy: str) -> None:
        """Raises DataError for a class or a group of too few examples.

        Args:
          what: what to call it.
          count: how many examples it has.
          examples: what to call them.
          remedy: what else to do than to take fewer.
        """
        if count < self.least:
            need = f"{self.fewest_shots or self.shots} shots + {self.fewest_queries or self.queries} queries"
            if self.least < self.total:
                need = f"the {need} that will do"
            raise DataError(f"{what} has {count} {examples}, fewer than {need}; use fewer, {remedy}")

    def of(self, count: Array) -> tuple[Array | int, Array | int]:
        """How many of the shots and of the queries are real where there are this many examples."""
        if self.least == self.total:
            return self.shots, self.queries
        queries = jnp.clip(count - self.shots, self.fewest_queries or self.queries, self.queries)
        return jnp.minimum(self.shots, count - queries), queries

    def parts(self, drawn: Array, count: Array) -> tuple[Part, Part]:
        """Support and query of distinct places in random order.

        Args:
          drawn: the places, `[..., shots + queries]`, of which the first `count` are real.
          count: how many there are, `[...]`.
        """
        if self.least == self.total:
            return Part(drawn[..., : self.shots], None), Part(drawn[..., self.shots :], None)
        shots, queries = (jnp.asarray(number)[..., None] for number in self.of(count))
        later = jnp.take_along_axis(drawn, shots + jnp.arange(self.queries), -1)
        return padded(drawn[..., : self.shots], shots), padded(later, queries)


def padded(places: Array, count: Array | int) -> Part:
    """Places `[..., examples]` of which the first `count` are real; the first stands for the others, with weight 0."""
    real = jnp.arange(places.shape[-1]) < count
    return Part(jnp.where(real, places, places[..., :1]), real.astype(jnp.float32))
