"""Measures a learner on test tasks: scores, gradients, and how much of each layer a task moves."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.analysis.derivatives import Check, check_derivatives
from mtnets.devices import default_at_once, map_over
from mtnets.files import finite
from mtnets.inner import Distribution, Learned, Method, Parts, adapt, fixed, starting_point
from mtnets.learner.evaluate import Estimate, evaluate
from mtnets.learner.learner import Learner
from mtnets.outer.gradient import meta_gradient
from mtnets.tasks.sampling import surfacing
from mtnets.trees import leaves_by_path

FEW = 16  # tasks for gradients and updates
CHECKED = 4  # tasks for finite differences
DIRECTION = 1e-3  # smallest singular value of an update that counts, relative to its largest
ROUNDING = 1e-6  # the same relative to the largest of the weights: single precision loses smaller ones


@dataclasses.dataclass(frozen=True, eq=False)
class Measurements:
    """The numbers of a diagnosis.

    Attributes:
      curve: scores on test tasks per inner step, for more steps than in training.
      inner_steps: of training.
      parts: scores with only the head moving (`head`) and with only the body moving (`body`), where there are both.
      gradients: norm of the meta-gradient of each leaf of everything meta-learned, NaN where it is not finite.
      checks: derivatives of the meta-loss along a random direction in the parameters, the fold and the rule.
      unchecked: parts that finite differences cannot check, with the reason.
      units: number of units of each layer that moves.
      moving: share of them that moves, where the method has masks.
      ranks: rank of a task's update of each layer, mean over tasks.
      conditions: condition number of each metric.
      step_sizes: mean squared singular value of each metric: the factor by which it multiplies α (T = c gives c²).
    """

    curve: Estimate
    inner_steps: int
    parts: Mapping[str, Estimate]
    gradients: Mapping[str, float]
    checks: Mapping[str, Check]
    unchecked: Mapping[str, str]
    units: Mapping[str, int]
    moving: Mapping[str, float]
    ranks: Mapping[str, float]
    conditions: Mapping[str, float]
    step_sizes: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain numbers; None for numbers that are not finite."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(Measurements)} | {
            "curve": self.curve.to_json(),
            "parts": {name: estimate.to_json() for name, estimate in self.parts.items()},
            "checks": {name: check._asdict() for name, check in self.checks.items()},
        }
        return finite(values)


def measure(
    learner: Learner, tasks: Distribution, num_tasks: int, inner_steps: int, seed: int, finite_differences: bool
) -> Measurements:
    """Measures a learner; see `mtnets.diagnose` for the arguments."""
    inner, keys = learner.inner, jax.random.split(jax.random.key(seed), FEW)
    checks, unchecked = check_derivatives(learner, tasks, keys[:CHECKED]) if finite_differences else ({}, {})
    spectra = learner.method.fold.spectra(inner.layers, learner.meta.fold)
    return Measurements(
        curve=evaluate(learner, tasks, num_tasks, inner_steps=inner_steps, seed=seed),
        inner_steps=inner.steps,
        parts=scores_of_parts(learner, tasks, num_tasks, seed),
        gradients=gradient_norms(learner, tasks, keys),
        checks=checks,
        unchecked=unchecked,
        units={layer.name: layer.units for layer in inner.layers},
        moving=learner.moving(),
        ranks=update_ranks(learner, tasks, keys),
        conditions={path: float(s[0] / max(s[-1], 1e-30)) for path, s in spectra.items()},
        step_sizes={path: float((s**2).mean()) for path, s in spectra.items()},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Held(Method, register=False):
    """Another method, which moves all its layers but those named."""

    method: Method
    held: tuple[str, ...]

    def parts(self) -> Parts:
        rules = (self.method.rule, self.method.test_rule)
        parts = self.method.parts()
        return Parts(parts.fold, *(fixed(rule, self.held) for rule in rules), start=parts.start)


def scores_of_parts(learner: Learner, tasks: Distribution, num_tasks: int, seed: int) -> dict[str, Estimate]:
    """Scores with only the head moving and with only the body moving; empty for a single layer.

    All layers keep what was meta-learned for them, so that this is not another method, such as ANIL.
    """
    names = tuple(layer.name for layer in learner.inner.layers)
    if len(names) < 2:
        return {}
    common = {field.name: getattr(learner.method, field.name) for field in dataclasses.fields(Method)}
    scores = {}
    for part, held in {"head": names[:-1], "body": names[-1:]}.items():
        restricted = dataclasses.replace(learner, method=_Held(**common, method=learner.method, held=held))
        scores[part] = evaluate(restricted, tasks, num_tasks, seed=seed)
    return scores


def gradient_norms(learner: Learner, tasks: Distribution, keys: Array) -> dict[str, float]:
    """Norm of the meta-gradient of each leaf, mean over tasks as in training; NaN where it is not finite."""
    at_once = default_at_once(learner.meta.params, len(keys))
    step = jax.jit(lambda *args: meta_gradient(learner.inner, *args, at_once=at_once))(learner.learned, tasks, keys)
    norms = {path: float(jnp.linalg.norm(leaf)) for path, leaf in leaves_by_path(step.gradient).items()}
    return {path: norm if np.isfinite(norm) else np.nan for path, norm in norms.items()}


def update_ranks(learner: Learner, tasks: Distribution, keys: Array) -> dict[str, float]:
    """Mean rank of the updates that tasks make to each layer's folded weights: how many directions they really use.

    A direction counts if its singular value is above 1/1000 of the update's largest, and above 10⁻⁶ of the largest of
    the weights. Smaller ones may be rounding, and a layer that does not move has rank 0.

    Args:
      learner: the learner.
      tasks: where tasks come from.
      keys: one for each task, `[tasks]`.
    """
    inner = learner.inner

    def matrices(leaves: Mapping[str, Array]) -> dict[str, Array]:
        return {layer.name: layer.matrix(leaves) for layer in inner.layers}

    def before(learned: Learned) -> dict[str, Array]:
        return matrices(leaves_by_path(learned.meta.params) | dict(starting_point(inner, learned.meta).folded))

    def update(context: tuple[Learned, Distribution], key: Array) -> dict[str, Array]:
        learned, tasks = context
        support = tasks.sample(jax.random.fold_in(key, 0)).support
        after = matrices(leaves_by_path(adapt(inner, learned, support, jax.random.fold_in(key, 1)).params))
        return jax.tree.map(jnp.subtract, after, before(learned))

    at_once = default_at_once(learner.meta.params, len(keys))
    with surfacing():
        run = jax.jit(lambda context, keys: map_over(update, context, keys, at_once=at_once))
        updates = jax.tree.map(np.asarray, run((learner.learned, tasks), keys))
    starts = jax.tree.map(np.asarray, jax.jit(before)(learner.learned))
    return {name: _mean_rank(updates[name], starts[name]) for name in updates}


def _mean_rank(updates: np.ndarray, start: np.ndarray) -> float:
    """Mean rank of updates `[tasks, inputs, units]`, leaving out those that are not finite; NaN if none is left."""
    floor = ROUNDING * np.linalg.norm(start.astype(np.float64), 2) if np.isfinite(start).all() else np.inf
    spectra = [np.linalg.svd(m.astype(np.float64), compute_uv=False) for m in updates if np.isfinite(m).all()]
    return float(np.mean([(s > max(DIRECTION * s[0], floor)).sum() for s in spectra])) if spectra else np.nan
