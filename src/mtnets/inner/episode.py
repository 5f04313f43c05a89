"""A task while it is learned and judged: what the meta-gradient is taken of."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from mtnets.inner.loop import Inner, adapt, ready
from mtnets.inner.objective import judged
from mtnets.inner.seams import Adapted, Learned, Meta, Metrics, Start, Weights
from mtnets.inner.task import Batch, Task
from mtnets.trees import leaves_by_path


class TaskEpisode(NamedTuple):
    """See `mtnets.inner.seams.Episode`, the contract that estimators see.

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
        """The network after the inner loop of training."""
        learned = Learned(start.meta, self.state, self.inner_lr)
        return adapt(self.inner, learned, self.task.support, self.key, training=True, start=start, **options)

    def judge(
        self, params: Any, state: Any, support_loss: Array | None = None, examples: Batch | None = None
    ) -> tuple[Array, tuple[Any, Metrics]]:
        """Loss on the query set, or on other examples; beside it the network's new state and metrics."""
        # With statistics of the support set, the network predicts the query set, as in use. Otherwise the query set is
        # a batch to learn from, with statistics of its own.
        predicts = self.inner.model.predicts_from_support
        key = None if predicts else self.query_key
        criterion, query = self.inner.criterion, self.task.query if examples is None else examples
        loss_key = self.inner.key_of_loss(self.query_key)
        loss, new_state, predict = judged(criterion.loss, self.inner.model, params, state, query, key, loss_key)
        metrics = {"pre_loss": loss if support_loss is None or not self.inner.steps else support_loss[0]}
        metrics["post_loss"] = loss
        metrics |= criterion.scores(predict, query, loss_key)
        # statistics of one support set mean nothing to the next task
        return loss, (self.state if predicts else new_state, metrics)

    def objective(self, start: Start, *, one_by_one: bool = False, **options: Any) -> tuple[Array, tuple[Any, Metrics]]:
        """The meta-loss as a function of the start: the query loss after the inner loop, or a weighted sum of the query
        losses after each step; with `one_by_one` their mean. For a stream it is the mean loss along the way: of each
        slice before it is learned, and of the query set after the last. Options are those of `adapt`."""
        weights, steps, stream = self.step_weights, self.inner.steps, self.inner.view.stream
        if stream:
            weights = jnp.full(steps + 1, 1 / (steps + 1))
        if one_by_one:
            weights = jnp.arange(steps + 1) > 0 if steps else jnp.ones(1)
            weights = weights / weights.sum()
        if weights is None:
            adapted = self.adapt(start, **options)
            return self.judge(*adapted[:2], adapted.support_loss)
        adapted = self.adapt(
            start,
            one_by_one=one_by_one,
            **options,
            probe=lambda params, state, seen: self.judge(params, state, examples=seen if stream else None)[0],
        )
        _, aux = self.judge(*adapted[:2], adapted.support_loss)
        # 0 · ∞ would be NaN: the loss before the first step may be infinite
        loss = jnp.sum(jnp.where(weights > 0, weights * adapted.probed, 0.0))
        if stream:
            aux[1]["along_loss"] = loss
        return loss, aux

    def support_loss(self, meta: Meta, weights: Weights, state: Any) -> Array:
        """Loss on the support set of a network with these moved weights."""
        params, support, key = self.inner.folded_params(meta, weights), self.task.support, self._support_key
        loss_key = self.inner.key_of_loss(key)
        loss = self.inner.inner_loss(meta, leaves_by_path(params), self.inner.steps)
        return judged(loss, self.inner.model, params, state, support, key, loss_key).loss

    def network(self, meta: Meta, weights: Weights, state: Any) -> tuple[Any, Any]:
        """Parameters and state of the network with these moved weights."""
        params = self.inner.folded_params(meta, weights)
        return ready(self.inner.model, params, state, self.task.support, self._support_key)

    @property
    def _support_key(self) -> Array:
        return self.inner.key_of_support(self.key)
