"""The inner loop: one task, a few gradient steps. Training, evaluation and use all run `adapt`."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mtnets.inner.criterion import Criterion
from mtnets.inner.method import Method
from mtnets.inner.objective import judged
from mtnets.inner.seams import Adapted, Learned, Meta, Start
from mtnets.inner.task import Batch
from mtnets.networks.layers import Layer
from mtnets.networks.model import Model
from mtnets.networks.weighing import weighing
from mtnets.trees import leaves_by_path, replace_leaves


@dataclasses.dataclass(frozen=True)
class Inner:
    """The inner problem: everything that is fixed about how a task is learned. It compares by value, so that programs
    compiled for one serve another that is the same.

    Attributes:
      model: the network.
      method: what moves, and how.
      criterion: what it is learned by and judged by.
      steps: gradient steps.
    """

    model: Model
    method: Method
    criterion: Criterion
    steps: int

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that move, in the order of their first use."""
        return self.method.choose(self.model.layers)

    @property
    def moving(self) -> tuple[str, ...]:
        """The paths of all leaves that move."""
        return (*(path for layer in self.layers for path in layer.paths), *self.method.loose(self.model))

    def fold(self, meta: Meta, weights: Any, step: Any) -> dict[str, Array]:
        """Leaves of the network at an inner step, from the weights that move. Those in no layer are as they are."""
        loose = {path: weights[path] for path in self.method.loose(self.model)}
        return loose | self.method.fold.apply(self.layers, meta.fold, weights, step)

    def folded_params(self, meta: Meta, weights: Any) -> Any:
        """Parameters of the network with these moved weights, after the inner steps."""
        return replace_leaves(meta.params, self.fold(meta, weights, self.steps))

    def key_of_support(self, key: Array) -> Array:
        """The key of one more pass over the support set, within the inner loop of `key`."""
        return jax.random.fold_in(key, 2)

    def key_of_loss(self, key: Array) -> Array:
        """The key of whatever is random in the loss, beside that of the network."""
        return jax.random.fold_in(key, 4)


def starting_point(inner: Inner, meta: Meta) -> Start:
    """Folds the starting weights."""
    return Start(meta, inner.fold(meta, moving_weights(inner, meta), 0))


def adapt(
    inner: Inner,
    learned: Learned,
    support: Batch,
    key: Array,
    *,
    training: bool = False,
    start: Start | None = None,
    last_steps: int | None = None,
    one_by_one: bool = False,
    probe: Callable[[Any, Any], Any] = lambda params, state: None,
) -> Adapted:
    """Adapts to one task.

    Args:
      inner: the inner problem.
      learned: what a training gives: meta-parameters, network state, inner rate.
      support: the examples of the task.
      key: for masks, dropout and everything else that is random.
      training: whether to use the method's rule for training. Defaults to its rule for test.
      start: where the task starts, if that is computed already. Defaults to the folded weights of `learned`.
      last_steps: how many of the last steps have gradients that are differentiated; those of earlier steps enter the
        rule as constants. Defaults to all.
      one_by_one: differentiate each step alone: the displacement of the weights before it is a constant.
      probe: `probe(params, state)`, called with the adapted network before the first step and after each.
    """
    start = starting_point(inner, learned.meta) if start is None else start
    model, layers, meta = inner.model, inner.layers, start.meta
    # fold_in, not split: a key that nothing uses then costs nothing
    rule_key, steps_key = (jax.random.fold_in(key, i) for i in range(2))
    support_key = inner.key_of_support(key)
    updates = inner.method.begin(layers, meta.rule, learned.inner_lr, rule_key, training=training)
    theta = moving_weights(inner, meta)

    def support_loss(folded: Any, state: Any, key: Array) -> tuple[Array, Any]:
        params = replace_leaves(meta.params, folded)
        loss, state, _ = judged(inner.criterion.inner_loss, model, params, state, support, key, inner.key_of_loss(key))
        return loss, state

    def network(folded: Any, state: Any) -> tuple[Any, Any]:
        return ready(model, replace_leaves(meta.params, folded), state, support, support_key)

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
    carry, numbers = (theta, start.folded, updates.init(theta), learned.state), jnp.arange(inner.steps)
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


def ready(model: Model, params: Any, state: Any, support: Batch, key: Array) -> tuple[Any, Any]:
    """A network ready to be judged: with statistics of the support set, where its batch norm uses those."""
    if model.predicts_from_support:
        with weighing(support.weights):
            _, state = model.apply(params, state, support.x, key)
    return params, state


def moving_weights(inner: Inner, meta: Meta) -> dict[str, Array]:
    """The leaves that move, by path."""
    leaves = leaves_by_path(meta.params)
    return {path: leaves[path] for path in inner.moving}
