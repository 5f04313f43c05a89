"""Why a task ends in numbers that are not finite: what ceases to be finite first, with its remedy."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.compilation import compiled
from mtnets.inner.episode import TaskEpisode
from mtnets.inner.estimators import FirstOrder
from mtnets.inner.loop import Inner, adapt, moving_weights, start_of_task, starting_point
from mtnets.inner.objective import judged
from mtnets.inner.seams import Learned
from mtnets.inner.task import Batch, Task
from mtnets.networks.model import Model
from mtnets.networks.several import batch_like
from mtnets.trees import replace_leaves

EMPTY_SLICE = (
    "A slice of the stream has no example of a weight above 0, and there is nothing to learn from it; leave such "
    "examples out, or take tasks of one size."
)

# What is looked at, in the order of the computation, with what to say of the first that is not finite.
SENTENCES = {
    "meta": "What was meta-learned is not finite: the meta-optimiser took a step that was too large. Use a smaller "
    "meta_lr, or clip_norm=10.",
    "data": "The inputs or targets of a task hold NaN or infinity; remove or replace them.",
    "labels": "A label is out of range: the network has {outputs} outputs, so labels go from 0 to {last}. Number the "
    "classes of each task from 0, or give the network more outputs.",
    "slices": EMPTY_SLICE,
    "outputs": "The network returns NaN or infinity at the weights that a task starts from, before any inner step. "
    "Look in its code for a logarithm, square root or division, and at the size of the inputs{half}.",
    "gradient": "The gradient of the loss is not finite at the weights that a task starts from, though the loss is. "
    "Look in the network for a square root, a norm, a logarithm or a power at zero, and add a small number "
    "there{half}.",
    "update": "The inner optimiser turns a finite gradient into an update that is not finite. Set its eps or eps_root, "
    "or use another inner_optimiser.",
    "growth": "Weights or losses grow beyond bounds within {steps} inner steps. Use a smaller inner rate, fewer inner "
    "steps or inner_clip=10{half}.",
    "first_order": "The gradient of the query loss is not finite at the adapted weights, though the loss is. Look in "
    "the network for a square root, a norm, a logarithm or a power at zero, and add a small number there{half}.",
    "optimiser": "The derivative of the inner optimiser is not finite, as that of a square root is at a gradient of "
    "zero. Set its eps_root, for example optax.scale_by_adam(eps_root=1e-8), or use estimator=mtnets.FirstOrder().",
    "second": "The second derivative of the network is not finite, though the first is, as for a square root or a norm "
    "near zero. Add a small number below the root, or use estimator=mtnets.FirstOrder().",
}


def cause_in_use(inner: Inner, learned: Learned, support: Batch, key: Array) -> str:
    """Why adapting to a task, as `adapt` does it in use, ends in weights that are not finite.

    Args:
      inner, learned, support, key: as for `adapt`.
    """
    return _sentence(inner, _while_adapting(inner, False, learned, support, key)) or SENTENCES["growth"].format(
        steps=inner.steps, half=""
    )


def cause_in_training(inner: Inner, learned: Learned, task: Task, keys: tuple[Array, Array]) -> str | None:
    """Why a task of a meta-step gives a loss or gradient that is not finite; None if all of it is.

    Args:
      inner: the inner problem.
      learned: what was learned before the meta-step.
      task: the task.
      keys: of the inner loop, and for dropout on the query set.
    """
    facts = _in_training(inner, learned, task, keys)
    return _sentence(inner, facts)


def uses_float16(model: Model) -> bool:
    """Whether the network computes in float16, whose largest number is 65504."""
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    x = batch_like(model.inputs, 2, jax.ShapeDtypeStruct)
    program = jax.make_jaxpr(lambda params, state, x: model.apply(params, state, x, None)[0])(params, state, x)
    return re.search(r"\bf16\[", str(program)) is not None


def _sentence(inner: Inner, facts: Mapping[str, Array]) -> str | None:
    """What to say of the first thing that is not finite."""
    first = next((name for name in SENTENCES if name in facts and not facts[name]), None)
    if first is None:
        return None
    half = ", or compute in bfloat16: float16 has no number above 65504" if uses_float16(inner.model) else ""
    outputs = int(facts["number_of_outputs"])
    return SENTENCES[first].format(outputs=outputs, last=outputs - 1, steps=inner.steps, half=half)


@compiled(static=2)
def _while_adapting(inner: Inner, training: bool, learned: Learned, support: Batch, key: Array) -> dict[str, Array]:
    """Whether what is computed from the support set is finite, by the names of `SENTENCES`."""
    start = starting_point(inner, learned.meta)
    start = start_of_task(inner, start, learned.state, support, inner.key_of_support(key))
    layers, meta = inner.layers, start.meta
    theta = moving_weights(inner, meta)

    def loss(folded: Any) -> tuple[Array, Array]:
        params = replace_leaves(meta.params, folded)
        key_of_pass = jax.random.fold_in(key, 3)
        loss, _, predict = judged(
            inner.inner_loss(meta, folded, 0),
            inner.model,
            params,
            learned.state,
            support,
            key_of_pass,
            inner.key_of_loss(key_of_pass),
        )
        return loss, predict(support.x)

    folded_gradient, outputs = jax.grad(loss, has_aux=True)(start.folded)
    (gradient,) = jax.vjp(lambda weights: inner.fold(meta, weights, 0), theta)[1](folded_gradient)
    updates = inner.method.begin(layers, meta.rule, learned.inner_lr, key, training=training)
    update, _ = updates.update(gradient, updates.init(theta), theta)
    adapted = adapt(inner, learned, support, key, training=training)
    return {
        "meta": _finite(learned),
        "data": _finite((support.x, support.y)),
        "labels": _labels_fit(inner, support, outputs),
        "slices": inner.view.weighed(support),
        "outputs": _finite(outputs),
        "gradient": _finite(gradient),
        "update": _finite(update),
        "growth": _finite(adapted.params),
        "number_of_outputs": jnp.asarray(outputs.shape[-1]),
    }


@compiled(static=1)
def _in_training(inner: Inner, learned: Learned, task: Task, keys: tuple[Array, Array]) -> dict[str, Array]:
    """The same for all of a meta-step that concerns one task."""
    start = starting_point(inner, learned.meta)
    plain = dataclasses.replace(inner, method=dataclasses.replace(inner.method, inner_optimiser="sgd"))

    def gradient(inner: Inner, estimator: Any) -> tuple[Array, Any]:
        episode = TaskEpisode(inner, learned.state, learned.inner_lr, task, *keys)
        (loss, _), gradient = estimator.gradient(episode, start)
        return loss, gradient

    loss, first_order = gradient(inner, FirstOrder())
    _, exact = gradient(inner, inner.method.estimator)
    _, without_optimiser = gradient(plain, inner.method.estimator)
    facts = _while_adapting(inner, True, learned, task.support, keys[0])
    facts["data"] &= _finite((task.query.x, task.query.y))
    facts["labels"] &= _labels_fit(inner, task.query, facts["number_of_outputs"])
    facts["growth"] &= _finite(loss)
    facts["first_order"] = _finite(first_order)
    facts["optimiser"] = _finite(exact) | ~_finite(without_optimiser)
    facts["second"] = _finite(exact)
    return facts


def _labels_fit(inner: Inner, batch: Batch, outputs: Any) -> Array:
    count = outputs.shape[-1] if outputs.ndim else outputs
    return jnp.all((batch.y >= 0) & (batch.y < count)) if inner.criterion.labels else jnp.asarray(True)


def _finite(tree: Any) -> Array:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact)]
    return jnp.all(jnp.asarray([jnp.isfinite(leaf).all() for leaf in leaves]))
