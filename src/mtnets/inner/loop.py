"""The inner loop: one task, a few gradient steps. Training, evaluation and use all run `adapt`."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mtnets.inner.criterion import Criterion
from mtnets.inner.method import Method
from mtnets.inner.objective import LearnedLoss, Loss, Standing, WithArrays, judged
from mtnets.inner.seams import Adapted, Learned, Meta, Start
from mtnets.inner.task import Batch
from mtnets.inner.view import WHOLE, View
from mtnets.networks.layers import Layer
from mtnets.networks.model import Model
from mtnets.networks.weighing import weighing
from mtnets.trees import leaves_by_path, replace_leaves

LOSS_KEY = 2_000_000  # derives the key of a learned loss; the fold and the rules derive theirs from smaller numbers


@dataclasses.dataclass(frozen=True)
class Inner:
    """The inner problem: everything that is fixed about how a task is learned. It compares by value, so that programs
    compiled for one serve another that is the same.

    Attributes:
      model: the network.
      method: what moves, and how.
      criterion: what it is learned by and judged by.
      steps: gradient steps.
      view: what a step sees of the support set.
      ways: classes of the task, for a head that does not fix their number; None for those of the network.
    """

    model: Model
    method: Method
    criterion: Criterion
    steps: int
    view: View = WHOLE
    ways: int | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that move, in the order of their first use."""
        return self.method.layers_of(self.model, self.ways)

    @property
    def moving(self) -> tuple[str, ...]:
        """The paths of all leaves that move."""
        return (*(path for layer in self.layers for path in layer.paths), *self.method.loose(self.model))

    def fold(self, meta: Meta, weights: Any, step: Any) -> dict[str, Array]:
        """Leaves of the network at an inner step, from the weights that move. Those in no layer are as they are."""
        loose = {path: weights[path] for path in self.method.loose(self.model)}
        return loose | self.method.fold.apply(self.layers, meta.fold, weights, step)

    def init(self, params: Any, key: Array, inner_lr: Any) -> Meta:
        """Everything meta-learned at the start, from the parameters of the network."""
        meta = self.method.init(self.model, params, key, inner_lr=inner_lr, inner_steps=self.steps)
        loss = self.criterion.inner_loss
        if not isinstance(loss, LearnedLoss):
            return meta
        return meta._replace(loss=loss.init_for(jax.random.fold_in(key, LOSS_KEY), len(self.layers), self.steps))

    def inner_loss(self, meta: Meta, leaves: Mapping[str, Array], step: Any) -> Loss:
        """The loss that a task makes small, with its meta-learned arrays where it has any.

        Args:
          meta: what is meta-learned.
          leaves: those of the network at this point, at least of the layers that move.
          step: inner steps taken before.
        """
        loss = self.criterion.inner_loss
        if not isinstance(loss, LearnedLoss):
            return loss
        means = jnp.stack([layer.matrix(leaves).mean() for layer in self.layers])
        return WithArrays(loss, meta.loss, Standing(step, means))

    def folded_params(self, meta: Meta, weights: Any) -> Any:
        """Parameters of the network with these moved weights, after the inner steps."""
        return replace_leaves(meta.params, self.fold(meta, weights, self.steps))

    def key_of_support(self, key: Array) -> Array:
        """The key of one more pass over the support set, within the inner loop of `key`."""
        return jax.random.fold_in(key, 2)

    def key_of_loss(self, key: Array) -> Array:
        """The key of whatever is random in the loss, beside that of the network."""
        return jax.random.fold_in(key, 4)

    def key_of_view(self, key: Array) -> Array:
        """The key of the part of the support set that a step sees, beside that of the network."""
        return jax.random.fold_in(key, 5)


def starting_point(inner: Inner, meta: Meta) -> Start:
    """Folds the starting weights, those of the head for the classes of the network."""
    return begun_point(dataclasses.replace(inner, ways=None), meta)


def begun_point(inner: Inner, meta: Meta) -> Start:
    """The same where the head is that of the task already."""
    return Start(meta, inner.fold(meta, moving_weights(inner, meta), 0))


def start_of_task(inner: Inner, start: Start, state: Any, support: Batch, key: Array, *, held: bool = False) -> Start:
    """The start of one task: that of all, or with a head or with weights of its own, where the method says so.

    Args:
      inner: the inner problem.
      start: that of all tasks.
      state: of the network.
      support: the examples of the task.
      key: of one more pass over them.
      held: whether the gradient that weights of its own depend on is a constant.
    """
    start, own = _with_head(inner, start, state, support, key), inner.method.task_start
    if own is None:
        return start
    theta = moving_weights(inner, start.meta)
    _, gradient = _support_gradient(inner, start.meta, theta, start.folded, state, support, key, 0)
    gradient = jax.lax.stop_gradient(gradient) if held else gradient
    weights = own.apply(inner.layers, start.meta.start, theta, gradient)
    return begun_point(inner, start.meta._replace(params=replace_leaves(start.meta.params, weights)))


def _with_head(inner: Inner, start: Start, state: Any, support: Batch, key: Array) -> Start:
    """The same start with a head of the task's own, where the method says so."""
    head = inner.method.head_start
    if head is None:
        return start
    meta, layer = start.meta, inner.layers[-1]
    dtype = start.folded[layer.weight].dtype

    def features() -> Array:
        params = replace_leaves(meta.params, {**start.folded, **layer.passing(dtype)})
        with weighing(support.weights):
            return inner.model.apply(params, state, support.x, key)[0]

    matrix = head.start(meta.head, layer, features, support).astype(dtype)
    meta = meta._replace(params=replace_leaves(meta.params, layer.leaves(matrix)))
    folded = inner.fold(meta, moving_weights(inner, meta), 0)
    return Start(meta, {**start.folded, **{path: folded[path] for path in layer.paths}})


def _support_gradient(
    inner: Inner, meta: Meta, weights: Any, folded: Any, state: Any, seen: Batch, key: Array, step: Any
) -> tuple[tuple[Array, Any], dict[str, Array]]:
    """`((loss, new state), gradient)` of the support loss with respect to the weights that move, before folding."""

    def loss(folded: Any) -> tuple[Array, Any]:
        params = replace_leaves(meta.params, folded)
        what = inner.inner_loss(meta, folded, step)
        loss, new, _ = judged(what, inner.model, params, state, seen, key, inner.key_of_loss(key))
        return loss, new

    result, folded_gradient = jax.value_and_grad(loss, has_aux=True)(folded)
    (gradient,) = jax.vjp(lambda weights: inner.fold(meta, weights, step), weights)[1](folded_gradient)
    return result, gradient


def adapt(
    inner: Inner,
    learned: Learned,
    support: Batch,
    key: Array,
    *,
    training: bool = False,
    start: Start | None = None,
    begun: bool = False,
    last_steps: int | None = None,
    one_by_one: bool = False,
    remat_every: int = 0,
    probe: Callable[[Any, Any, Batch | None], Any] = lambda params, state, seen: None,
) -> Adapted:
    """Adapts to one task.

    Args:
      inner: the inner problem.
      learned: what a training gives: meta-parameters, network state, inner rate.
      support: the examples of the task.
      key: for masks, dropout and everything else that is random.
      training: whether to use the method's rule for training. Defaults to its rule for test.
      start: where the task starts, if that is computed already. Defaults to the folded weights of `learned`.
      begun: whether the start is that of this task already, where each task has its own.
      last_steps: how many of the last steps have gradients that are differentiated; those of earlier steps enter the
        rule as constants. Defaults to all.
      one_by_one: differentiate each step alone: the displacement of the weights before it is a constant.
      remat_every: keep the weights after so many steps each, and nothing of what is computed within them, which is
        computed again where it is differentiated. Defaults to keeping all.
      probe: `probe(params, state, seen)`, called with the adapted network before the first step and after each, and
        with what the next step sees of the support set; None after the last.
    """
    start = starting_point(inner, learned.meta) if start is None else start
    model, layers, support = inner.model, inner.layers, inner.view.filled(support)
    if not begun:
        held = last_steps is not None and last_steps < inner.steps
        start = start_of_task(inner, start, learned.state, support, inner.key_of_support(key), held=held)
    meta = start.meta
    # fold_in, not split: a key that nothing uses then costs nothing
    rule_key, steps_key = (jax.random.fold_in(key, i) for i in range(2))
    support_key = inner.key_of_support(key)
    updates = inner.method.begin(layers, meta.rule, learned.inner_lr, rule_key, training=training)
    theta = moving_weights(inner, meta)

    def network(folded: Any, state: Any) -> tuple[Any, Any]:
        return ready(model, replace_leaves(meta.params, folded), state, support, support_key)

    def step(carry: Any, now: tuple[Array, Array], *, held: bool) -> tuple[Any, Any]:
        weights, folded, rule_state, state = carry
        i, key = now
        seen = inner.view.of(support, i, inner.key_of_view(key))
        probed = probe(*network(folded, state), seen)
        if one_by_one:
            weights = jax.tree.map(lambda w, start: start + jax.lax.stop_gradient(w - start), weights, theta)
            folded, (rule_state, state) = inner.fold(meta, weights, i), jax.lax.stop_gradient((rule_state, state))
        (loss, state), gradient = _support_gradient(inner, meta, weights, folded, state, seen, key, i)
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
        carry, output = _scan(body, carry, (numbers[first:stop], keys[first:stop]), remat_every)
        outputs.append(output)
    losses, probed = jax.tree.map(lambda *leaves: leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves), *outputs)
    weights, folded, _, state = carry
    params, state = network(folded, state)
    last = probe(params, state, None)
    probed = jax.tree.map(lambda before, after: jnp.concatenate([before, after[None]]), probed, last)
    return Adapted(params, state, weights, losses, probed)


def _scan(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, remat_every: int) -> tuple[Any, Any]:
    """`jax.lax.scan`; with `remat_every`, of parts of so many steps, of which only the first carry is kept."""
    if not remat_every:
        return jax.lax.scan(body, carry, xs)
    length = len(jax.tree.leaves(xs)[0])
    whole = length // remat_every

    def part(carry: Any, xs: Any) -> tuple[Any, Any]:
        return jax.lax.scan(body, carry, xs)

    outputs = []
    if whole:
        parts = jax.tree.map(lambda x: x[: whole * remat_every].reshape(whole, remat_every, *x.shape[1:]), xs)
        carry, output = jax.lax.scan(jax.checkpoint(part, prevent_cse=False), carry, parts)
        outputs.append(jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), output))
    if whole * remat_every < length or not whole:
        carry, output = jax.checkpoint(part)(carry, jax.tree.map(lambda x: x[whole * remat_every :], xs))
        outputs.append(output)
    return carry, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *outputs)


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


def uses_rate(inner: Inner, meta: Meta) -> bool:
    """Whether updates depend on α, and not on learned rates alone, as their program tells."""
    weights, key = moving_weights(inner, meta), jax.random.key(0)

    def update(inner_lr: Array) -> Any:
        updates = inner.method.begin(inner.layers, meta.rule, inner_lr, key)
        return updates.update(weights, updates.init(weights), weights)[0]

    program = jax.make_jaxpr(update)(jnp.ones(())).jaxpr
    return any(program.invars[0] is used for equation in program.eqns for used in equation.invars)
