"""The program of `torch_func`, and Adam, compiled by `torch.compile`."""

from typing import Any

import torch

from benchmarks.peers.contenders.torch_func import Functional
from benchmarks.peers.problem import Problem


class Compiled(Functional):
    """See `Contender`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem, torch.compile)
        optimiser: Any = self._optimiser
        optimiser.step = torch.compile(optimiser.step)


def build(problem: Problem) -> Compiled:
    """The program for a problem."""
    return Compiled(problem)
