"""`parallel-metalearn`: its own MAML, which adapts all tasks at once by `torch.func.vmap`, with its own outer step.

Nothing that belongs to one task can be passed to its inner optimiser, so that masks drawn per task cannot be expressed.
"""

import itertools
from collections import OrderedDict
from typing import Any

import torch
from metalearn.algorithms import MAML
from metalearn.inner_optimizers import InnerSGD
from metalearn.loss.base import BaseLoss
from torch import Tensor, nn

from benchmarks.peers.cells import Cell
from benchmarks.peers.contender import META_LR, CannotError
from benchmarks.peers.networks_torch import forward, from_torch
from benchmarks.peers.problem import Arrays, Problem
from benchmarks.peers.torch_tools import attribute, criterion, learned_of, tasks_of


class Model(nn.Module):
    """A model as the package expects it: a dictionary of outputs, and the names that a task moves."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.network, self.moving, self.names = problem.cell.network, problem.moving, tuple(problem.learned)
        for name, value in learned_of(problem).items():
            self.register_parameter(attribute(name), nn.Parameter(value))

    def forward(self, x: Tensor, **_: Any) -> dict[str, Any]:
        """Outputs; there are no buffers."""
        params = {name: getattr(self, attribute(name)) for name in self.names}
        return {"logits": forward(self.network, params, x), "buffers": {}}

    def get_fast_weights(self) -> OrderedDict[str, Tensor]:
        """What a task moves."""
        return OrderedDict((attribute(name), getattr(self, attribute(name))) for name in self.moving)


class Criterion(BaseLoss):
    """The loss, and no metric."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(
        self, out_dict: dict[str, Tensor], targets: Tensor, model_states: Any = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """`(loss, metric)`."""
        loss = criterion(self.cell, out_dict["logits"], targets)
        return loss, loss.detach()


class Own:
    """See `Contender`."""

    def __init__(self, problem: Problem) -> None:
        if problem.work.method == "mt-net":
            raise CannotError("its inner optimiser is told nothing of the task, so that a task has no mask of its own")
        cell, tasks = problem.cell, tasks_of(problem)
        self._model: Any = Model(problem)
        weights = self._model.get_fast_weights()
        self._batches = itertools.repeat((*tasks.support, *tasks.query))

        def maml(optimiser: torch.optim.Optimizer) -> MAML:
            first = problem.work.order == "first"
            inner = InnerSGD(weights, first_order=first, inner_lr=cell.inner_lr, learn_lr=False)
            return MAML(
                model=self._model,
                optimizer=optimiser,
                inner_optimizer=inner,
                support_loss_fn=Criterion(cell),
                inner_steps=cell.inner_steps,
                device=torch.device("cpu"),
            )

        self._maml = maml(torch.optim.Adam(self._model.parameters(), lr=META_LR))
        self._still = maml(torch.optim.SGD(self._model.parameters(), lr=0.0))  # leaves the gradient where it is

    def meta_steps(self, count: int) -> None:
        """Takes so many."""
        for _ in range(count):
            self._maml.step(self._batches)

    def meta_gradient(self) -> Arrays:
        """At the present weights."""
        self._still.step(self._batches)
        return {name: from_torch(getattr(self._model, attribute(name)).grad) for name in self._model.names}


def build(problem: Problem) -> Own:
    """The program for a problem."""
    return Own(problem)
