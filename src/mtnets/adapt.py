"""The inner loop: one task, a few gradient steps. Training, evaluation and use all run this one function."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mtnets.estimators import Hold
from mtnets.layers import Layer, leaves_by_path, replace_leaves
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

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that move, in the order of their first use."""
        return tuple(self.method.adapts(self.model.layers))


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


class Start(NamedTuple):
    """Where every task starts: the same for all of them, so that it is computed once for a whole batch.

    Attributes:
      meta: what is meta-learned.
      folded: the weights that move, folded.
    """

    meta: Meta
    folded: dict[str, Array]


def starting_point(inner: Inner, meta: Meta) -> Start:
    """Folds the starting weights."""
    layers = inner.layers
    return Start(meta, inner.method.fold.apply(layers, meta.fold, _weights(layers, meta)))


def inner_loop(
    inner: Inner,
    start: Start,
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
      start: where the task starts.
      state: state of the network.
      inner_lr: α.
      support: the examples of the task.
      key: for masks, dropout and whatever else is random.
      rule: the method's rule for training unless given.
      hold: applied to the gradients before they enter the rule.
      probe: `probe(params, state)`, called with the adapted network before the first step and after each.
    """
    model, layers, meta = inner.model, inner.layers, start.meta
    # fold_in, not split: a key that nothing uses then costs nothing
    rule_key, steps_key, support_key = (jax.random.fold_in(key, i) for i in range(3))
    updates = (rule or inner.method.rule).begin(layers, meta.rule, inner_lr, rule_key)
    weights = _weights(layers, meta)

    def fold(weights: Any) -> dict[str, Array]:
        return inner.method.fold.apply(layers, meta.fold, weights)

    def support_loss(folded: Any, state: Any, key: Array) -> tuple[Array, Any]:
        prediction, state = model.apply(replace_leaves(meta.params, folded), state, support.x, key)
        return inner.loss(prediction, support.y), state

    def network(folded: Any, state: Any) -> tuple[Any, Any]:
        params = replace_leaves(meta.params, folded)
        if model.norm == "support":
            _, state = model.apply(params, state, support.x, support_key)
        return params, state

    def step(carry: Any, key: Array) -> tuple[Any, Any]:
        weights, folded, rule_state, state = carry
        probed = probe(*network(folded, state))
        (loss, state), folded_gradient = jax.value_and_grad(support_loss, has_aux=True)(folded, state, key)
        (gradient,) = jax.vjp(fold, weights)[1](folded_gradient)
        update, rule_state = updates.update(hold(gradient), rule_state, weights)
        weights = optax.apply_updates(weights, update)
        return (weights, fold(weights), rule_state, state), (loss, probed)

    carry = (weights, start.folded, updates.init(weights), state)
    (_, folded, _, state), (losses, probed) = jax.lax.scan(step, carry, jax.random.split(steps_key, inner.steps))
    params, state = network(folded, state)
    last = probe(params, state)
    probed = jax.tree.map(lambda before, after: jnp.concatenate([before, after[None]]), probed, last)
    return Adapted(params, state, losses, probed)


def _weights(layers: Sequence[Layer], meta: Meta) -> dict[str, Array]:
    """The leaves that move."""
    leaves = leaves_by_path(meta.params)
    return {path: leaves[path] for layer in layers for path in layer.paths}
