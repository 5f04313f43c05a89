"""Sine regression, exactly as in the MT-net paper's code."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.inner.task import Batch, Task
from mtnets.networks.models import Mlp
from mtnets.tasks.family import Family, Options, Recipe
from mtnets.tasks.sampling.draws import between, check_counts


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Sinusoid(Options):
    """`y = A sin(ωx − φ)`, without noise.

    The frequency varies too; published numbers for a fixed ω belong to another benchmark.

    Attributes:
      shots: support examples of a task.
      queries: query examples of a task.
      amplitude: bounds of A.
      phase: bounds of φ.
      frequency: bounds of ω.
      inputs: bounds of x.
      network: the usual network of the family, an MLP 1-40-40-1.

    References:
      Lee & Choi, Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace, ICML 2018,
      arXiv 1801.05558 (section 5.1 and code).
    """

    family: ClassVar[str] = "sinusoid"
    small: ClassVar[bool] = True

    shots: int = 10
    queries: int = 10
    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: tuple[float, float] = (0.0, 3.141592653589793)
    frequency: tuple[float, float] = (0.8, 1.2)
    inputs: tuple[float, float] = (-5.0, 5.0)
    network: Mlp = Mlp()

    def sample(self, key: Array) -> Task:
        """One task: support `[shots, 1]`, query `[queries, 1]`, from the same curve."""
        # one draw for all numbers of a task: the cost of random numbers is in the calls
        u = jax.random.uniform(key, (3 + self.shots + self.queries,))
        amplitude, phase = between(u[0], self.amplitude), between(u[1], self.phase)
        frequency = between(u[2], self.frequency)
        x = between(u[3:, None], self.inputs)
        y = amplitude * jnp.sin(frequency * x - phase)
        return Task(Batch(x[: self.shots], y[: self.shots]), Batch(x[self.shots :], y[self.shots :]))

    def build(self) -> Family:
        """The family; one distribution serves for training, validation and test.

        Raises:
          OptionError: shots or queries below 1.
        """
        check_counts(shots=self.shots, queries=self.queries)
        recipe = Recipe(inner_lr=0.01, inner_steps=1, meta_batch=4, meta_steps=60_000)
        return Family(self, self, self, "mse", recipe, lambda each=1: self.network.build(1, each), options=self)
