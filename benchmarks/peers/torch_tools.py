"""What contenders in PyTorch share: the problem as tensors, losses, masks, and meta-steps with Adam."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers.cells import Cell
from benchmarks.peers.contender import META_LR
from benchmarks.peers.networks_torch import forward, from_torch, inputs_to_torch, to_torch
from benchmarks.peers.problem import Arrays, Examples, Problem

Params = dict[str, Tensor]


class Tasks(NamedTuple):
    """All tasks of a problem as tensors with a leading axis of tasks.

    Attributes:
      support, query: `(x, y)`.
      noise: of the masks, by layer.
    """

    support: tuple[Tensor, Tensor]
    query: tuple[Tensor, Tensor]
    noise: Params

    def each(self) -> list["Tasks"]:
        """One by one."""
        return [
            Tasks(
                (self.support[0][i], self.support[1][i]),
                (self.query[0][i], self.query[1][i]),
                {layer: noise[i] for layer, noise in self.noise.items()},
            )
            for i in range(len(self.support[0]))
        ]


def tasks_of(problem: Problem) -> Tasks:
    """The tasks of a problem."""

    def examples(examples: Examples) -> tuple[Tensor, Tensor]:
        y = torch.from_numpy(examples.y)
        return inputs_to_torch(examples.x), y.long() if problem.cell.ways else y

    noise = {layer: torch.from_numpy(noise) for layer, noise in problem.noise.items()}
    return Tasks(examples(problem.support), examples(problem.query), noise)


def learned_of(problem: Problem) -> Params:
    """Everything that is meta-learned, as leaves that take gradients."""
    return {name: nn.Parameter(to_torch(value)) for name, value in problem.learned.items()}


def loss_of(cell: Cell, params: Mapping[str, Tensor], examples: tuple[Tensor, Tensor]) -> Tensor:
    """Of a network on a support or query set."""
    return criterion(cell, forward(cell.network, params, examples[0]), examples[1])


def criterion(cell: Cell, outputs: Tensor, y: Tensor) -> Tensor:
    """Of outputs for targets or labels."""
    return F.mse_loss(outputs, y) if cell.ways is None else F.cross_entropy(outputs, y)


def masks_of(learned: Mapping[str, Tensor], noise: Params) -> Params:
    """The masks of a task by layer, with straight-through gradients (Lee & Choi 2018, equations 6-8)."""
    masks = {}
    for layer, each in noise.items():
        soft = torch.sigmoid(learned[f"{layer}.logits"] + each)
        masks[layer] = (soft > 0.5).to(soft.dtype) + soft - soft.detach()
    return masks


def masked(name: str, gradient: Tensor, masks: Params) -> Tensor:
    """The gradient of a weight or bias with only the units that a mask lets move; all of it without masks."""
    if not masks:
        return gradient
    return gradient * masks[name.partition(".")[0]].reshape(-1, *(1,) * (gradient.ndim - 1))


class Stepping:
    """See `Contender`; for programs that add their gradients to `.grad`.

    Args:
      learned: everything that is meta-learned, by the names of the problem.
      backward: adds the gradient of the mean over tasks to `.grad` of all of them.
    """

    def __init__(self, learned: Mapping[str, Tensor], backward: Callable[[], Any]) -> None:
        self._learned, self._backward = learned, backward
        self._optimiser = torch.optim.Adam(list(learned.values()), lr=META_LR)

    def meta_steps(self, count: int) -> None:
        """Takes so many."""
        for _ in range(count):
            self._optimiser.zero_grad()
            self._backward()
            self._optimiser.step()

    def meta_gradient(self) -> Arrays:
        """At the present weights."""
        self._optimiser.zero_grad()
        self._backward()
        return {
            name: from_torch(torch.zeros_like(value) if value.grad is None else value.grad)
            for name, value in self._learned.items()
        }


class Network(nn.Module):
    """A network of the comparison as a module, for libraries that take one. Its parameters are those that a task moves
    (dots in their names become underlines); what else is meta-learned is passed to it, or held as `still`."""

    def __init__(self, cell: Cell, moving: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.cell, self.names = cell, tuple(moving)
        for name, value in moving.items():
            self.register_parameter(attribute(name), nn.Parameter(value.detach().clone()))

    def forward(self, x: Tensor, still: Mapping[str, Tensor]) -> Tensor:
        """Outputs for inputs."""
        moving = {name: getattr(self, attribute(name)) for name in self.names}
        return forward(self.cell.network, {**moving, **still}, x)

    def by_name(self) -> Params:
        """Its parameters by the names of the problem."""
        return {name: getattr(self, attribute(name)) for name in self.names}


def attribute(name: str) -> str:
    """A name that a module can have for a parameter."""
    return name.replace(".", "_")


def split(problem: Problem) -> tuple[Network, Params]:
    """What moves as a module, and what is still as leaves."""
    learned = learned_of(problem)
    moving = {name: learned[name] for name in problem.moving}
    return Network(problem.cell, moving), {name: learned[name] for name in problem.still}
