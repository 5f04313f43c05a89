"""The compiled programs of use: adapting to one task or many, folding, predicting."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.compilation import compiled
from mtnets.devices import map_over
from mtnets.inner import Batch, Inner, Learned, Meta, adapt, begun_point, fixed_key, judged
from mtnets.networks.model import Model
from mtnets.trees import leaves_by_path, replace_leaves


@compiled(static=1)
def adapt_one(
    inner: Inner, learned: Learned, begin: Mapping[str, Array] | None, support: Batch, key: Array
) -> tuple[dict[str, Array], Any, Array]:
    """Weights that moved, before folding; state; and whether all is finite.

    Args:
      inner: the inner problem.
      learned: what a training gave.
      begin: weights to begin from, by path; None for those of `learned`.
      support: the examples of the task.
      key: for masks and everything else that is random.
    """
    return _adapt_one(inner, learned, begin, support, key)


def _adapt_one(
    inner: Inner, learned: Learned, begin: Mapping[str, Array] | None, support: Batch, key: Array
) -> tuple[dict[str, Array], Any, Array]:
    if begin is not None:
        meta = learned.meta._replace(params=replace_leaves(learned.meta.params, begin))
        learned = learned._replace(meta=meta)
    # a start of the task's own is made anew, unless its last layer is among the weights to begin from
    begun = begin is not None and inner.layers[-1].weight in begin
    start = begun_point(inner, learned.meta) if begun else None
    adapted = adapt(inner, learned, support, key, start=start, begun=begun)
    finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(adapted.params)]))
    return adapted.weights, adapted.state, finite


@compiled(static=2)
def adapt_each(inner: Inner, at_once: int, learned: Learned, supports: Batch, keys: Array) -> Any:
    """The same for a stack of tasks, `at_once` at a time."""

    def one(learned: Learned, each: tuple[Batch, Array]) -> Any:
        return _adapt_one(inner, learned, None, *each)

    return map_over(one, learned, (supports, keys), at_once=at_once)


@compiled(static=1)
def fold(inner: Inner, meta: Meta, moved: Mapping[str, Array]) -> Any:
    """The parameters of the network with these weights, after the inner steps."""
    return inner.folded_params(meta, moved)


@compiled(static=1)
def fold_each(inner: Inner, meta: Meta, moved: Mapping[str, Array]) -> Any:
    """The same for a stack of tasks."""
    return jax.lax.map(lambda each: inner.folded_params(meta, each), moved)


@compiled(static=1)
def predict(model: Model, params: Any, state: Any, x: Any) -> Array:
    """Outputs of a network for inputs."""
    return model.apply(params, state, x, None)[0]


@compiled(static=1)
def predict_each(model: Model, params: Any, state: Any, x: Any) -> Array:
    """The same for a stack of networks, each with inputs of its own."""
    return jax.lax.map(lambda each: model.apply(each[0], each[1], each[2], None)[0], (params, state, x))


@compiled(static=1)
def support_loss(inner: Inner, meta: Meta, params: Any, state: Any, support: Batch) -> Array:
    """Loss of an adapted network on its support set, as it predicts."""
    loss = inner.inner_loss(meta, leaves_by_path(params), inner.steps)
    return judged(loss, inner.model, params, state, support, None, fixed_key()).loss
