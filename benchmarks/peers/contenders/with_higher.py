"""`higher`: a patched module and a differentiable optimiser for each task in turn (Grefenstette et al. 2019)."""

import higher
import torch

from benchmarks.peers.problem import Problem
from benchmarks.peers.torch_tools import Stepping, criterion, masked, masks_of, split, tasks_of


def build(problem: Problem) -> Stepping:
    """The program for a problem."""
    cell, first = problem.cell, problem.work.order == "first"
    network, still = split(problem)
    learned, tasks = network.by_name() | still, tasks_of(problem).each()
    inner = torch.optim.SGD(network.parameters(), lr=cell.inner_lr)

    def backward() -> None:
        for support, query, noise in tasks:
            masks = masks_of(learned, noise)

            def callback(gradients: list[torch.Tensor], masks: dict[str, torch.Tensor] = masks) -> list[torch.Tensor]:
                held = [gradient.detach() for gradient in gradients] if first else gradients
                return [masked(name, gradient, masks) for name, gradient in zip(problem.moving, held, strict=True)]

            track = not first or bool(masks)  # without a learned rule, first order needs no graph of the steps
            with higher.innerloop_ctx(network, inner, copy_initial_weights=False, track_higher_grads=track) as (
                copy,
                optimiser,
            ):
                for _ in range(cell.inner_steps):
                    loss = criterion(cell, copy(support[0], still), support[1])
                    optimiser.step(loss, grad_callback=callback if masks else None)
                loss = criterion(cell, copy(query[0], still), query[1]) / len(tasks)
                if track:
                    loss.backward()
                    continue
                gradients = torch.autograd.grad(loss, [*copy.parameters(), *still.values()])
                for value, gradient in zip(learned.values(), gradients, strict=True):
                    value.grad = gradient if value.grad is None else value.grad + gradient

    return Stepping(learned, backward)
