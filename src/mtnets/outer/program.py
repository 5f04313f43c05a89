"""The outer loop as one compiled program, which takes many meta-steps in one call."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtnets.inner import Distribution, Inner, Learned, Meta
from mtnets.outer.gradient import meta_gradient

INIT = 2**31  # derives the starting weights from a run's key; meta-steps derive from it by numbers below


class Outer(NamedTuple):
    """State of one training.

    Attributes:
      meta: everything meta-learned.
      optimiser: state of the meta-optimiser.
      state: state of the network.
      skipped: meta-steps left out so far because a loss or gradient was not finite.
      failed: the meta-step at which this training ended early, having skipped more than `Program.skip`; −1 if it has
        not.
    """

    meta: Meta
    optimiser: Any
    state: Any
    skipped: Array
    failed: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """Everything that is fixed about the outer loop.

    Attributes:
      inner: the inner problem.
      optimiser: the meta-optimiser.
      meta_batch: tasks per meta-step.
      skip: how many meta-steps with a loss or gradient that is not finite may be left out.
      at_once: tasks that a device runs at the same time.
      mesh: devices that share the tasks.
      runs: trainings side by side, one per seed and inner rate.
      multi_step: meta-steps over which the meta-loss passes from the mean of the query losses after each inner step to
        the last alone; 0 for the last alone from the start.
    """

    inner: Inner
    optimiser: optax.GradientTransformation
    meta_batch: int
    skip: int
    at_once: int
    mesh: Mesh | None
    runs: int
    multi_step: int = 0

    def init(self, keys: Array, inner_lr: Array) -> Outer:
        """The start of each run, from keys and inner rates `[runs]`; all arrays have a leading axis of runs."""

        def one(key: Array, inner_lr: Array) -> Outer:
            model_key, method_key = jax.random.split(jax.random.fold_in(key, jnp.uint32(INIT)))
            params, state = self.inner.model.init(model_key)
            meta = self.inner.init(params, method_key, inner_lr)
            return Outer(meta, self.optimiser.init(meta), state, jnp.zeros((), jnp.int32), -jnp.ones((), jnp.int32))

        return _over_runs(one, self.runs)(keys, inner_lr)

    def step(self, outer: Outer, key: Array, i: Array, inner_lr: Any, tasks: Distribution) -> tuple[Outer, dict]:
        """Meta-step `i` of one run; it draws from `fold_in(key, i)` and nothing else."""
        keys = meta_step_keys(key, i, self.meta_batch)
        result = meta_gradient(
            self.inner,
            Learned(outer.meta, outer.state, inner_lr),
            tasks,
            keys,
            multi_step_weights(self.inner.steps, i / self.multi_step) if self.multi_step else None,
            at_once=self.at_once,
            mesh=self.mesh,
        )

        def update() -> Outer:
            updates, optimiser = self.optimiser.update(result.gradient, outer.optimiser, outer.meta)  # type: ignore[arg-type]
            meta: Any = optax.apply_updates(outer.meta, updates)  # type: ignore[arg-type]
            return outer._replace(meta=meta, optimiser=optimiser, state=result.state)

        def skip() -> Outer:
            skipped = outer.skipped + running
            return outer._replace(skipped=skipped, failed=jnp.where(running & (skipped > self.skip), i, outer.failed))

        running = outer.failed < 0
        counts = running & _finite((result.metrics["post_loss"], result.gradient, result.state))
        # a mean over the meta-steps that counted; the caller divides
        metrics = {name: jnp.where(counts, value, 0.0) for name, value in result.metrics.items()}
        metrics["count"] = counts.astype(jnp.float32)
        return jax.lax.cond(counts, update, skip), metrics

    def no_metrics(self) -> dict[str, Array]:
        """Sums of metrics to begin with, `[runs]` each."""
        along = ("along_loss",) if self.inner.view.stream else ()
        names = ("pre_loss", "post_loss", *along, *(name for name, _ in self.inner.criterion.metrics), "count")
        return {name: jnp.zeros(self.runs) for name in names}

    @functools.cached_property
    def chunk(self) -> Callable[..., tuple[Outer, dict[str, Array]]]:
        """`chunk(outer, sums, keys, start, stop, inner_lr, tasks) -> (outer, sums)`: meta-steps start…stop − 1.

        Metrics are added to the sums step by step, so that the result does not depend on where chunks end. Keys and
        inner rates have a leading axis of runs. The bounds are arguments of the program, so that one compilation serves
        chunks of every length.
        """

        mesh = self.mesh
        # each of several processes has the whole result
        whole = None if mesh is None or not mesh.is_multi_process else NamedSharding(mesh, PartitionSpec())

        @functools.partial(jax.jit, out_shardings=whole)
        def run(
            outer: Outer,
            sums: dict[str, Array],
            keys: Array,
            start: Array,
            stop: Array,
            inner_lr: Any,
            tasks: Distribution,
        ) -> Any:
            def one(outer: Outer, sums: dict[str, Array], key: Array, inner_lr: Array) -> Any:
                def body(i: Array, carry: Any) -> Any:
                    outer, sums = carry
                    outer, metrics = self.step(outer, key, i, inner_lr, tasks)
                    return outer, {name: (sum + metrics[name]).astype(sum.dtype) for name, sum in sums.items()}

                return jax.lax.fori_loop(start, stop, body, (outer, sums))

            return _over_runs(one, self.runs)(outer, sums, keys, inner_lr)

        return run


def meta_step_keys(key: Array, i: Any, meta_batch: int) -> Array:
    """The keys of the tasks of meta-step `i`, `[meta_batch]`, from the key of a run."""
    return jax.random.split(jax.random.fold_in(key, i), meta_batch)


def multi_step_weights(steps: int, progress: Any) -> Array:
    """Weights `[steps + 1]` of the query losses before the first inner step and after each: uniform after each step at
    progress 0, the last alone from progress 1 on.

    References:
      Antoniou, Edwards & Storkey, How to train your MAML, ICLR 2019, arXiv 1810.09502, section 4 (MSL).
    """
    last = jnp.zeros(steps + 1).at[-1].set(1.0)
    uniform = (jnp.arange(steps + 1) > 0) / max(1, steps) if steps else last
    progress = jnp.minimum(progress, 1.0)
    return (1 - progress) * uniform + progress * last


def _over_runs(f: Callable[..., Any], runs: int) -> Callable[..., Any]:
    """`f` over a leading axis of runs. A single run is not batched: that would batch every product within it."""
    if runs > 1:
        return jax.vmap(f)

    def single(*args: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], f(*jax.tree.map(lambda leaf: leaf[0], args)))

    return single


def _finite(tree: Any) -> Array:
    # as one vector: a reduction for each of many small leaves would cost more than the update
    return jnp.isfinite(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])).all()
