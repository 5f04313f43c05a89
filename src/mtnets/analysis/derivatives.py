"""Checks the exact meta-gradient by finite differences, in double precision."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.inner import Distribution, Exact, Meta, Task, TaskEpisode, starting_point
from mtnets.learner.learner import Learner
from mtnets.tasks.sampling import surfacing

STEP = 1e-6  # of finite differences, relative to the size of what is changed


class Check(NamedTuple):
    """A directional derivative of the meta-loss, by automatic differentiation and by finite differences.

    Attributes:
      automatic: by automatic differentiation.
      differences: by finite differences.
      noise: how far rounding alone can move the finite differences.
    """

    automatic: float
    differences: float
    noise: float = 0.0

    @property
    def error(self) -> float:
        """Difference relative to the larger of the two; 0 where they differ by at most the noise."""
        difference, largest = abs(self.automatic - self.differences), max(abs(self.automatic), abs(self.differences))
        return difference / largest if difference > self.noise else 0.0


def check_derivatives(learner: Learner, tasks: Distribution, keys: Array) -> tuple[dict[str, Check], dict[str, str]]:
    """Compares derivatives of the exact meta-loss along one random direction in each part of what is learned.

    Args:
      learner: the learner.
      tasks: where tasks come from.
      keys: one for each task, `[tasks]`.

    Returns:
      The checks by part (`params`, `fold`, `rule`), and for each part that cannot be checked the reason.
    """
    parts = [part for part in Meta._fields if jax.tree.leaves(getattr(learner.meta, part))]
    surrogate = learner.method.rule.surrogate
    if surrogate == "gradient":
        return {}, dict.fromkeys(parts, "the rule holds part of its result constant (singular vectors)")
    start = learner.method.task_start
    if start is not None and start.surrogate:
        return {}, dict.fromkeys(parts, "the start of a task holds part of its result constant (gradients)")
    unchecked = {"rule": "masks are differentiated straight through"} if surrogate == "arrays" else {}
    with surfacing():
        drawn: Any = [(tasks.sample(jax.random.fold_in(key, 0)), jax.random.fold_in(key, 1)) for key in keys]
        jax.block_until_ready(drawn)
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # from a network that keeps statistics in single precision
        meta, state, drawn = (_double(tree) for tree in (learner.meta, learner.state, drawn))
        loss = _meta_loss(learner, state, drawn)
        gradient = jax.jit(jax.grad(loss))(meta)
        random = np.random.default_rng(0)
        checks = {part: _check(loss, meta, gradient, part, random) for part in parts if part not in unchecked}
    return checks, unchecked


def _meta_loss(learner: Learner, state: Any, drawn: list[tuple[Task, Array]]) -> Callable[[Meta], Array]:
    """The exact meta-loss of tasks, as a function of what is learned."""
    pull = learner.method.proximal or learner.method.estimator.pull
    method = dataclasses.replace(learner.inner.method, estimator=Exact(), proximal=pull)
    inner = dataclasses.replace(learner.inner, method=method)

    @jax.jit
    def loss(meta: Meta) -> Array:
        start, losses = starting_point(inner, meta), []
        for task, key in drawn:
            inner_key, query_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
            episode = TaskEpisode(inner, state, float(learner.inner_lr), task, inner_key, query_key)
            losses.append(episode.objective(start)[0])
        return jnp.mean(jnp.stack(losses))

    return loss


def _check(loss: Callable[[Meta], Array], meta: Meta, gradient: Meta, part: str, random: np.random.Generator) -> Check:
    """Both derivatives along a random direction in a part."""
    tree = getattr(meta, part)
    direction = jax.tree.map(lambda a: random.normal(size=a.shape), tree)
    size = STEP * (np.sqrt(_dot(tree, tree) / _dot(direction, direction)) or 1.0)

    def loss_at(distance: float) -> float:
        moved = jax.tree.map(lambda a, d: a + distance * d, tree, direction)
        return float(loss(meta._replace(**{part: moved})))

    ahead, behind = loss_at(size), loss_at(-size)
    noise = 100 * np.finfo(np.float64).eps * abs(ahead) / size
    return Check(_dot(getattr(gradient, part), direction), (ahead - behind) / (2 * size), noise)


def _double(tree: Any) -> Any:
    def convert(leaf: Any) -> Any:
        return jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(convert, tree)


def _dot(a: Any, b: Any) -> float:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return float(sum(np.vdot(np.asarray(x), np.asarray(y)) for x, y in pairs))
