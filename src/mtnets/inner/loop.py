"""The inner loop: one task, a few gradient steps. Training, evaluation and use all run this one function."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mtnets.inner.losses import Loss, accuracy, cross_entropy
from mtnets.inner.methods import Meta, Method
from mtnets.inner.seams import Rule
from mtnets.inner.task import Batch, Task
from mtnets.networks.layers import Layer
from mtnets.networks.model import Model
from mtnets.trees import leaves_by_path, replace_leaves


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
        return self.method.choose(self.model.layers)

    def fold(self, meta: Meta, weights: Any, step: Any) -> dict[str, Array]:
        """Leaves of the network at an inner step, from the weights that move."""
        return self.method.folding.apply(self.layers, meta.fold, weights, step)


class Adapted(NamedTuple):
    """A network adapted to a task.

    Attributes:
      params: plain parameters of the original architecture, folded.
      state: its state.
      weights: those that have moved, not folded.
      support_loss: before each inner step, `[steps]`.
      probed: what `probe` returned before the first step and after each, stacked, `[steps + 1, ...]`.
    """

    params: Any
    state: Any
    weights: dict[str, Array]
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
    return Start(meta, inner.fold(meta, _weights(inner.layers, meta), 0))


def inner_loop(
    inner: Inner,
    start: Start,
    state: Any,
    inner_lr: Any,
    support: Batch,
    key: Array,
    *,
    rule: Rule | None = None,
    last_steps: int | None = None,
    one_by_one: bool = False,
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
      last_steps: how many of the last steps have gradients that are differentiated; those of the steps before enter the
        rule as constants. All unless given.
      one_by_one: differentiate each step alone: the way that the weights have gone by then is a constant.
      probe: `probe(params, state)`, called with the adapted network before the first step and after each.
    """
    model, layers, meta = inner.model, inner.layers, start.meta
    # fold_in, not split: a key that nothing uses then costs nothing
    rule_key, steps_key, support_key = (jax.random.fold_in(key, i) for i in range(3))
    updates = inner.method.begin(rule or inner.method.rule, layers, meta.rule, inner_lr, rule_key)
    theta = _weights(layers, meta)

    def support_loss(folded: Any, state: Any, key: Array) -> tuple[Array, Any]:
        prediction, state = model.apply(replace_leaves(meta.params, folded), state, support.x, key)
        return inner.loss(prediction, support.y), state

    def network(folded: Any, state: Any) -> tuple[Any, Any]:
        return _network(model, replace_leaves(meta.params, folded), state, support, support_key)

    def step(carry: Any, now: tuple[Array, Array], *, held: bool) -> tuple[Any, Any]:
        weights, folded, rule_state, state = carry
        i, key = now
        probed = probe(*network(folded, state))
        if one_by_one:
            weights = jax.tree.map(lambda w, start: start + jax.lax.stop_gradient(w - start), weights, theta)
            folded, (rule_state, state) = inner.fold(meta, weights, i), jax.lax.stop_gradient((rule_state, state))
        (loss, state), folded_gradient = jax.value_and_grad(support_loss, has_aux=True)(folded, state, key)
        (gradient,) = jax.vjp(lambda weights: inner.fold(meta, weights, i), weights)[1](folded_gradient)
        if held:
            gradient = jax.lax.stop_gradient(gradient)
        update, rule_state = updates.update(gradient, rule_state, weights)
        weights = optax.apply_updates(weights, update)
        return (weights, inner.fold(meta, weights, i + 1), rule_state, state), (loss, probed)

    held = max(0, inner.steps - (inner.steps if last_steps is None else last_steps))
    parts = [(True, 0, held)] * (held > 0) + [(False, held, inner.steps)] * (held < inner.steps or held == 0)
    carry, numbers = (theta, start.folded, updates.init(theta), state), jnp.arange(inner.steps)
    keys = jax.random.split(steps_key, inner.steps)
    outputs = []
    for hold, first, stop in parts:
        body = functools.partial(step, held=hold)
        carry, output = jax.lax.scan(body, carry, (numbers[first:stop], keys[first:stop]))
        outputs.append(output)
    losses, probed = jax.tree.map(lambda *leaves: leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves), *outputs)
    weights, folded, _, state = carry
    params, state = network(folded, state)
    last = probe(params, state)
    probed = jax.tree.map(lambda before, after: jnp.concatenate([before, after[None]]), probed, last)
    return Adapted(params, state, weights, losses, probed)


class Episode(NamedTuple):
    """A task while it is learned: what an estimator takes the meta-gradient of.

    Attributes:
      inner: the inner problem.
      state: state of the network.
      inner_lr: α.
      task: support and query set.
      key: for the inner loop.
      query_key: for dropout on the query set.
      step_weights: of the query losses before the first inner step and after each, `[steps + 1]`; None for the last
        alone.
    """

    inner: Inner
    state: Any
    inner_lr: Any
    task: Task
    key: Array
    query_key: Array
    step_weights: Array | None = None

    def adapt(self, start: Start, **options: Any) -> Adapted:
        """The network after the inner loop."""
        return inner_loop(self.inner, start, self.state, self.inner_lr, self.task.support, self.key, **options)

    def judge(
        self, params: Any, state: Any, support_loss: Array | None = None
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """Loss on the query set; the network's new state and metrics beside it, among them the first of the support
        losses on the way."""
        # with statistics of the support set the query set is predicted, as in use; else it is a batch to learn from
        support = self.inner.model.norm == "support"
        prediction, new_state = self.inner.model.apply(
            params, state, self.task.query.x, None if support else self.query_key
        )
        loss = self.inner.loss(prediction, self.task.query.y)
        metrics = {"pre_loss": loss if support_loss is None or not self.inner.steps else support_loss[0]}
        metrics["post_loss"] = loss
        if self.inner.loss is cross_entropy:
            metrics["accuracy"] = accuracy(prediction, self.task.query.y)
        # statistics of one support set mean nothing to the next task
        return loss, (self.state if support else new_state, metrics)

    def objective(
        self, start: Start, *, last_steps: int | None = None, one_by_one: bool = False
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """The meta-loss as a function of the start: the query loss after the inner loop, or a weighted sum of those on
        the way; with `one_by_one` their mean after each step."""
        weights, steps = self.step_weights, self.inner.steps
        if one_by_one:
            weights = jnp.arange(steps + 1) > 0 if steps else jnp.ones(1)
            weights = weights / weights.sum()
        if weights is None:
            adapted = self.adapt(start, last_steps=last_steps)
            return self.judge(*adapted[:2], adapted.support_loss)
        adapted = self.adapt(
            start,
            last_steps=last_steps,
            one_by_one=one_by_one,
            probe=lambda params, state: self.judge(params, state)[0],
        )
        _, aux = self.judge(*adapted[:2], adapted.support_loss)
        # 0 · ∞ would be NaN: the loss before the first step may be infinite
        return jnp.sum(jnp.where(weights > 0, weights * adapted.probed, 0.0)), aux

    def support_loss(self, meta: Meta, weights: Any, state: Any) -> Array:
        """Loss on the support set of a network with these moved weights."""
        folded = self.inner.fold(meta, weights, self.inner.steps)
        key = jax.random.fold_in(self.key, 2)
        prediction, _ = self.inner.model.apply(replace_leaves(meta.params, folded), state, self.task.support.x, key)
        return self.inner.loss(prediction, self.task.support.y)

    def network(self, meta: Meta, weights: Any, state: Any) -> tuple[Any, Any]:
        """Parameters and state of the network with these moved weights."""
        params = replace_leaves(meta.params, self.inner.fold(meta, weights, self.inner.steps))
        return _network(self.inner.model, params, state, self.task.support, jax.random.fold_in(self.key, 2))


def _network(model: Model, params: Any, state: Any, support: Batch, key: Array) -> tuple[Any, Any]:
    """A network ready to be judged: with statistics of the support set, where those are wanted."""
    if model.norm == "support":
        _, state = model.apply(params, state, support.x, key)
    return params, state


def _weights(layers: Sequence[Layer], meta: Meta) -> dict[str, Array]:
    """The leaves that move."""
    leaves = leaves_by_path(meta.params)
    return {path: leaves[path] for layer in layers for path in layer.paths}
