"""`iteryne`: a learner with parameters of its own is cloned for each task and adapted step by step.

Its rates may be tensors, one for each parameter: a mask is a rate of 0 or α.
"""

import iteryne
import torch

from benchmarks.peers.problem import Problem
from benchmarks.peers.torch_tools import Stepping, attribute, criterion, masked, masks_of, split, tasks_of


def build(problem: Problem) -> Stepping:
    """The program for a problem."""
    cell = problem.cell
    network, still = split(problem)
    learned, tasks = network.by_name() | still, tasks_of(problem).each()
    maml = iteryne.MAML(network, inner_lr=cell.inner_lr, first_order=problem.work.order == "first")
    rates = {name: torch.full_like(value, cell.inner_lr) for name, value in network.by_name().items()}

    def backward() -> None:
        for support, query, noise in tasks:
            learner, masks = maml.clone(), masks_of(learned, noise)
            if masks:
                learner.lr = {attribute(name): masked(name, rate, masks) for name, rate in rates.items()}
            for _ in range(cell.inner_steps):
                learner.adapt(criterion(cell, learner(support[0], still), support[1]))
            (criterion(cell, learner(query[0], still), query[1]) / len(tasks)).backward()

    return Stepping(learned, backward)
