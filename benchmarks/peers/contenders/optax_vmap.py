"""Plain JAX and Optax, as people write MAML in them (Finn et al. 2017; Lee & Choi 2018 with T as a layer)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from benchmarks.peers.contender import META_LR
from benchmarks.peers.networks_jax import forward, usual
from benchmarks.peers.problem import Arrays, Problem


class Vmapped:
    """See `Contender`."""

    def __init__(self, problem: Problem) -> None:
        cell, work, parts = problem.cell, problem.work, usual()
        moving = set(problem.moving)

        def loss(params: Any, x: Array, y: Array) -> Array:
            outputs = forward(cell.network, params, x, parts)
            if cell.ways is None:
                return jnp.mean((outputs - y) ** 2)
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

        def masked(learned: Any, gradient: Any, noise: Any) -> Any:
            masks = {}
            for layer, each in noise.items():
                soft = jax.nn.sigmoid(learned[f"{layer}.logits"] + each)
                masks[layer] = (soft > 0.5) + soft - jax.lax.stop_gradient(soft)
            return {name: g * masks[name.partition(".")[0]] for name, g in gradient.items()}

        def task_loss(learned: Any, support: Any, query: Any, noise: Any) -> Array:
            still = {name: value for name, value in learned.items() if name not in moving}
            params = {name: value for name, value in learned.items() if name in moving}
            for _ in range(cell.inner_steps):
                gradient = jax.grad(lambda params: loss(params | still, *support))(params)
                if work.order == "first":
                    gradient = jax.lax.stop_gradient(gradient)
                if work.method == "mt-net":
                    gradient = masked(learned, gradient, noise)
                params = jax.tree.map(lambda p, g: p - cell.inner_lr * g, params, gradient)
            return loss(params | still, *query)

        def meta_loss(learned: Any, *tasks: Any) -> Array:
            return jax.vmap(task_loss, in_axes=(None, 0, 0, 0))(learned, *tasks).mean()

        optimiser = optax.adam(META_LR)

        @jax.jit
        def step(learned: Any, state: Any, *tasks: Any) -> Any:
            updates, state = optimiser.update(jax.grad(meta_loss)(learned, *tasks), state)
            return optax.apply_updates(learned, updates), state

        self._learned = jax.tree.map(jnp.asarray, problem.learned)
        self._tasks = jax.tree.map(jnp.asarray, (tuple(problem.support), tuple(problem.query), problem.noise))
        self._state, self._step, self._gradient = optimiser.init(self._learned), step, jax.jit(jax.grad(meta_loss))

    def meta_steps(self, count: int) -> None:
        """Takes so many."""
        for _ in range(count):
            self._learned, self._state = self._step(self._learned, self._state, *self._tasks)
        jax.block_until_ready(self._learned)

    def meta_gradient(self) -> Arrays:
        """At the present weights."""
        return {name: np.asarray(value) for name, value in self._gradient(self._learned, *self._tasks).items()}


def build(problem: Problem) -> Vmapped:
    """The program for a problem."""
    return Vmapped(problem)
