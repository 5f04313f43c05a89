"""Polynomial regression, as in the MT-net paper's study of how many weights a task needs to move."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError
from mtnets.inner.task import Batch, Task
from mtnets.networks.models import Mlp
from mtnets.tasks.family import Family, Options, Recipe
from mtnets.tasks.sampling.draws import between, check_counts


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Polynomial(Options):
    """`y = Σᵢ cᵢ xⁱ` for `i ≤ order` with `cᵢ ~ U(−1, 1) / 2ⁱ`, without noise.

    Attributes:
      order: the highest power.
      shots: support examples of a task.
      queries: query examples of a task.
      inputs: bounds of x.
      network: the usual network of the family, an MLP 1-40-40-1.

    References:
      Lee & Choi, Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace, ICML 2018,
      arXiv 1801.05558 (orders 0, 1 and 2).
    """

    family: ClassVar[str] = "polynomial"
    small: ClassVar[bool] = True

    order: int = 2
    shots: int = 10
    queries: int = 10
    inputs: tuple[float, float] = (-2.0, 2.0)
    network: Mlp = Mlp()

    def sample(self, key: Array) -> Task:
        """One task: support `[shots, 1]`, query `[queries, 1]`, from the same polynomial."""
        powers = jnp.arange(self.order + 1)
        # one draw for all numbers of a task: the cost of random numbers is in the calls
        u = jax.random.uniform(key, (len(powers) + self.shots + self.queries,))
        coefficients = between(u[: len(powers)], (-1.0, 1.0)) / 2.0**powers
        x = between(u[len(powers) :, None], self.inputs)
        y = jnp.polyval(coefficients[::-1], x)
        return Task(Batch(x[: self.shots], y[: self.shots]), Batch(x[self.shots :], y[self.shots :]))

    def build(self) -> Family:
        """The family; one distribution serves for training, validation and test.

        Raises:
          OptionError: a negative order, or shots or queries below 1.
        """
        check_counts(shots=self.shots, queries=self.queries)
        if self.order < 0:
            raise OptionError(f"order is {self.order}; it must be at least 0 (a constant).")
        recipe = Recipe(inner_lr=1e-3, inner_steps=1, meta_batch=4, meta_steps=60_000)
        return Family(self, self, self, "mse", recipe, lambda each=1: self.network.build(1, each), options=self)
