"""The contract of a contender, and the list of them."""

import importlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from benchmarks.peers.problem import Problem

META_LR = 1e-3  # of Adam, the meta-optimiser of all
BASELINE = "mtnets"


class CannotError(Exception):
    """A contender cannot express this work; the message says why."""


class Contender(Protocol):
    """A program that is ready for a problem."""

    def meta_gradient(self) -> Mapping[str, NDArray[Any]]:
        """Mean over the tasks, with respect to all of `Problem.learned`, by name and in that layout."""
        ...

    def meta_steps(self, count: int) -> None:
        """Takes so many meta-steps with Adam, and returns when they are finished."""
        ...


class Entry(NamedTuple):
    """A contender in the list.

    Attributes:
      module: in `benchmarks.peers.contenders`; it has `build(problem) -> Contender`, which raises CannotError.
      packages: what has to be installed; their versions are recorded.
      about: how it works, for the table.
    """

    module: str
    packages: tuple[str, ...]
    about: str

    def versions(self) -> dict[str, str]:
        """Of the packages.

        Raises:
          CannotError: for one that is not installed.
        """
        try:
            return {package: version(package) for package in self.packages}
        except PackageNotFoundError as error:
            raise CannotError(f"{error.name} is not installed") from None

    def build(self, problem: Problem) -> Contender:
        """The program for a problem."""
        return importlib.import_module(f"benchmarks.peers.contenders.{self.module}").build(problem)


CONTENDERS = {
    BASELINE: Entry("ours", ("mtnets", "jax"), "compiled chunks of meta-steps; T is folded into the weights"),
    "optax": Entry("optax_vmap", ("optax", "jax"), "plain JAX: gradient of a gradient, vmap over tasks, jit"),
    "torch.func": Entry("torch_func", ("torch",), "plain torch.func: gradient of a gradient, vmap over tasks"),
    "torch.compile": Entry("torch_compiled", ("torch",), "the same and Adam, compiled by torch.compile"),
    "clone and loop": Entry("clone_and_loop", ("torch",), "learn2learn's way, written from its description"),
    "higher": Entry("with_higher", ("higher", "torch"), "higher: loop over tasks, patched modules"),
    "TorchOpt": Entry("with_torchopt", ("torchopt", "torch"), "TorchOpt: loop over tasks, differentiable optimiser"),
    "iteryne": Entry("with_iteryne", ("iteryne", "torch"), "iteryne: loop over tasks, functional calls"),
    "parallel-metalearn": Entry(
        "with_parallel_metalearn", ("parallel-metalearn", "torch"), "parallel-metalearn: its MAML, vmap over tasks"
    ),
}
