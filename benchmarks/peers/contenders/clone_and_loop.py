"""learn2learn's way of working, written from its description: clone, adapt, and go to the next task.

Arnold, Mahajan, Datta, Bunner & Zarkias, learn2learn: A Library for Meta-Learning Research, 2020, arXiv 2008.12284: a
module is cloned so that gradients flow back to the original, its parameters are replaced by updated ones, and the loss
of each task is differentiated in a loop. This is not its code, and not the package.
"""

import torch

from benchmarks.peers.problem import Problem
from benchmarks.peers.torch_tools import Stepping, learned_of, loss_of, masked, masks_of, tasks_of


def build(problem: Problem) -> Stepping:
    """The program for a problem."""
    cell, learned, exact = problem.cell, learned_of(problem), problem.work.order == "exact"
    tasks = tasks_of(problem).each()

    def backward() -> None:
        for support, query, noise in tasks:
            clone, masks = {name: value.clone() for name, value in learned.items()}, masks_of(learned, noise)
            for _ in range(cell.inner_steps):
                moving = [clone[name] for name in problem.moving]
                gradients = torch.autograd.grad(loss_of(cell, clone, support), moving, create_graph=exact)
                for name, gradient in zip(problem.moving, gradients, strict=True):
                    clone[name] = clone[name] - cell.inner_lr * masked(name, gradient, masks)
            (loss_of(cell, clone, query) / len(tasks)).backward()

    return Stepping(learned, backward)
