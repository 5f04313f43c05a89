"""Plain `torch.func`: the gradient of the mean loss after inner gradients, by vmap over tasks."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.func import grad, vmap

from benchmarks.peers.problem import Problem
from benchmarks.peers.torch_tools import Params, Stepping, learned_of, loss_of, masked, masks_of, tasks_of


def meta_gradient(problem: Problem) -> Callable[[Params, Any], Params]:
    """`(learned, tasks) -> gradient` as a function without side effects."""
    cell, first = problem.cell, problem.work.order == "first"

    def task_loss(learned: Params, support: Any, query: Any, noise: Params) -> Tensor:
        params, masks = dict(learned), masks_of(learned, noise)
        for _ in range(cell.inner_steps):
            moving = {name: params[name] for name in problem.moving}
            gradient = grad(lambda moving, params=params: loss_of(cell, {**params, **moving}, support))(moving)
            for name, each in gradient.items():
                step = masked(name, each.detach() if first else each, masks)
                params[name] = params[name] - cell.inner_lr * step
        return loss_of(cell, params, query)

    def meta_loss(learned: Params, tasks: Any) -> Tensor:
        return vmap(task_loss, in_dims=(None, 0, 0, 0))(learned, *tasks).mean()

    return grad(meta_loss)


class Functional(Stepping):
    """See `Contender`."""

    def __init__(self, problem: Problem, compiled: Callable[..., Any] = lambda function: function) -> None:
        learned, tasks = learned_of(problem), tuple(tasks_of(problem))
        gradient = compiled(meta_gradient(problem))

        def backward() -> None:
            gradients = gradient({name: value.detach() for name, value in learned.items()}, tasks)
            for name, value in learned.items():
                value.grad = gradients[name]

        super().__init__(learned, backward)


def build(problem: Problem) -> Functional:
    """The program for a problem."""
    return Functional(problem)
