"""`TorchOpt`: a differentiable optimiser moves a module, whose state is put back after each task (Ren et al. 2023).

Its tutorial on few-shot learning works like this. A mask, or a gradient that is held, is a transformation before SGD.
"""

from typing import Any

import torchopt
from torchopt.base import EmptyState, GradientTransformation

from benchmarks.peers.problem import Problem
from benchmarks.peers.torch_tools import Params, Stepping, criterion, masked, masks_of, split, tasks_of


def build(problem: Problem) -> Stepping:
    """The program for a problem."""
    cell, first = problem.cell, problem.work.order == "first"
    network, still = split(problem)
    learned, tasks = network.by_name() | still, tasks_of(problem).each()
    current: dict[str, Params] = {"masks": {}}

    def update(updates: Any, state: Any, *, params: Any = None, inplace: bool = True) -> Any:
        held = [each.detach() if first else each for each in updates]
        return tuple(
            masked(name, each, current["masks"]) for name, each in zip(network.names, held, strict=True)
        ), state

    sgd = torchopt.sgd(lr=cell.inner_lr)
    before = GradientTransformation(lambda params: EmptyState(), update)
    rule = torchopt.chain(before, sgd) if first or problem.noise else sgd
    inner = torchopt.MetaOptimizer(network, rule)

    def backward() -> None:
        start, state = torchopt.extract_state_dict(network, by="reference"), torchopt.extract_state_dict(inner)
        for support, query, noise in tasks:
            current["masks"] = masks_of(learned, noise)
            for _ in range(cell.inner_steps):
                inner.step(criterion(cell, network(support[0], still), support[1]))
            (criterion(cell, network(query[0], still), query[1]) / len(tasks)).backward()
            torchopt.recover_state_dict(network, start)
            torchopt.recover_state_dict(inner, state)

    return Stepping(learned, backward)
