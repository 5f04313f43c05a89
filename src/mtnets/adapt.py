"""The inner loop: one task, a few gradient steps. Training, evaluation and use all run this one function."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax import Array

from mtnets.estimators import Hold
from mtnets.layers import leaves_by_path, replace_leaves
from mtnets.losses import Loss
from mtnets.methods import Meta, Method
from mtnets.model import Model
from mtnets.rules import Rule
from mtnets.task import Batch


@dataclasses.dataclass(frozen=True)
class Inner:
    """The inner problem: all that is fixed about how a task is learned.

    Attributes:
      model: the network.
      method: what moves, and how.
      loss: mean loss of predictions against targets.
      steps: gradient steps.
    """

    model: Model
    method: Method
    loss: Loss
    steps: int


class Adapted(NamedTuple):
    """A network adapted to a task.

    Attributes:
      params: plain parameters of the original architecture, folded.
      state: its state.
      support_loss: before each inner step, `[steps]`.
      probed: what `probe` returned before the first step and after each, stacked, `[steps + 1, ...]`.
    """

    params: Any
    state: Any
    support_loss: Array
    probed: Any


def inner_loop(
    inner: Inner,
    meta: Meta,
    state: Any,
    inner_lr: Any,
    support: Batch,
    key: Array,
    *,
    rule: Rule | None = None,
    hold: Hold = lambda gradient: gradient,
    probe: Callable[[Any, Any], Any] = lambda params, state: None,
) -> Adapted:
    """Adapts to one task.

    Args:
      inner: the inner problem.
      meta: what is meta-learned.
      state: state of the network.
      inner_lr: α.
      support: the examples of the task.
      key: for masks, dropout and whatever else is random.
      rule: the method's rule for training unless given.
      hold: applied to the gradients before they enter the rule.
      probe: `probe(params, state)`, called with the adapted network before the first step and after each.
    """
    model, fold = inner.model, inner.method.fold
    layers = tuple(inner.method.adapts(model.layers))
    leaves = leaves_by_path(meta.params)
    weights = {path: leaves[path] for layer in layers for path in layer.paths}
    # fold_in, not split: a key that nothing uses then costs nothing
    rule_key, steps_key, support_key = (jax.random.fold_in(key, i) for i in range(3))
    updates = (rule or inner.method.rule).begin(layers, meta.rule, inner_lr, rule_key)

    def folded(weights: Any) -> Any:
        return replace_leaves(meta.params, fold.apply(layers, meta.fold, weights))

    def support_loss(weights: Any, state: Any, key: Array) -> tuple[Array, Any]:
        prediction, state = model.apply(folded(weights), state, support.x, key)
        return inner.loss(prediction, support.y), state

    def network(weights: Any, state: Any) -> tuple[Any, Any]:
        params = folded(weights)
        if model.norm == "support":
            _, state = model.apply(params, state, support.x, support_key)
        return params, state

    def step(carry: Any, key: Array) -> tuple[Any, Any]:
        weights, rule_state, state = carry
        probed = probe(*network(weights, state))
        (loss, state), gradient = jax.value_and_grad(support_loss, has_aux=True)(weights, state, key)
        update, rule_state = updates.update(hold(gradient), rule_state, weights)
        return (optax.apply_updates(weights, update), rule_state, state), (loss, probed)

    start = (weights, updates.init(weights), state)
    (weights, _, state), (losses, probed) = jax.lax.scan(step, start, jax.random.split(steps_key, inner.steps))
    params, state = network(weights, state)
    last = probe(params, state)
    probed = jax.tree.map(lambda before, after: jax.numpy.concatenate([before, after[None]]), probed, last)
    return Adapted(params, state, losses, probed)
