"""mtnets itself: the program that `meta_train` runs, with tasks that are drawn from those of the problem."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

import mtnets
from benchmarks.peers.contender import META_LR
from benchmarks.peers.networks_jax import Parts, forward
from benchmarks.peers.problem import Arrays, Examples, Problem
from mtnets.devices import use_cores
from mtnets.inner import Batch, Learned, Meta, Task
from mtnets.networks.models.conv import conv, max_pool
from mtnets.outer.gradient import drawn_and_keys, meta_gradient
from mtnets.outer.loop import begin
from mtnets.outer.phases import Phases
from mtnets.outer.plan import Plan, make_plan

END = 2**31 - 1  # a training that lasts longer than any measurement
CANDIDATES = 40  # keys per task among which there is one for each; that one is missed has probability e⁻⁴⁰ per task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneOf:
    """The tasks of a problem, one of which is drawn at random.

    Attributes:
      tasks: all of them, with a leading axis of tasks.
    """

    tasks: Task

    def place(self, key: Array) -> Array:
        """Which task a key draws, whatever the precision."""
        return jax.random.randint(key, (), 0, len(self.tasks.support.x), jnp.int32)

    def sample(self, key: Array) -> Task:
        """One task."""
        place = self.place(key)
        return jax.tree.map(lambda leaf: leaf[place], self.tasks)


class Ours:
    """See `Contender`.

    Args:
      problem: what is given.
      dtype: of weights and data; logits of masks stay in single precision, in which noise is drawn.
      runs: trainings side by side.

    Attributes:
      plan: of the training.
      layers: of the network.
      outer: state of the training, with a leading axis of runs.
    """

    def __init__(self, problem: Problem, dtype: Any = jnp.float32, runs: int = 1) -> None:
        use_cores(1 if problem.cell.small else "all")
        self._problem, self._dtype = problem, dtype
        self._tasks = OneOf(Task(self._batch(problem.support), self._batch(problem.query)))
        params = {name: jnp.asarray(value, dtype) for name, value in _params(problem)}
        self.plan = _plan(problem, self._tasks, params, runs)
        self.layers = self.plan.program.inner.layers
        self._phases, start = Phases(self.plan), begin(self.plan)
        meta = self._meta(jax.tree.map(lambda leaf: leaf[0], start.outer.meta))
        meta = jax.tree.map(lambda leaf: jnp.stack([leaf] * runs), meta)
        self.outer, self._sums, self._step = start.outer._replace(meta=meta), start.sums, 0

    def meta_steps(self, count: int) -> None:
        """Takes so many."""
        stop = self._step + count
        self.outer, self._sums, _ = self._phases.run(self._step, stop, self.outer, self._sums)
        self._step = stop

    def meta_gradient(self) -> Arrays:
        """With keys that draw each task once."""
        program = self.plan.program
        meta, state = jax.tree.map(lambda leaf: leaf[0], (self.outer.meta, self.outer.state))
        learned = Learned(meta, state, self._problem.cell.inner_lr)
        step = jax.jit(
            lambda learned, keys, tasks: meta_gradient(
                program.inner, learned, tasks, keys, at_once=program.at_once, mesh=program.mesh
            )
        )
        meta = step(learned, self.keys(), self._tasks).gradient
        gradient = dict(meta.params)
        for layer in self.layers if self._problem.work.method == "mt-net" else ():
            gradient |= {
                f"{layer.name}.metric": meta.fold[layer.name],
                f"{layer.name}.logits": meta.rule["mask"][layer.name],
            }
        return {name: np.asarray(value) for name, value in gradient.items()}

    def keys(self) -> Array:
        """One key for each task, in their order, that draws it."""
        count = self._problem.cell.tasks
        candidates = jax.random.split(jax.random.key(0), CANDIDATES * count)
        places = np.asarray(jax.vmap(lambda key: self._tasks.place(jax.random.fold_in(key, 0)))(candidates))
        return candidates[np.array([np.flatnonzero(places == task)[0] for task in range(count)])]

    def noise(self) -> Arrays:
        """The noise of the masks that the tasks get with these keys, by layer, `[tasks, units]`.

        It follows from a mask and its derivative: `s (1 − s)` with `s = σ(ζ + noise)`, and the mask says on which side
        of ½ the sigmoid is.
        """
        inner, meta = self.plan.program.inner, jax.tree.map(lambda leaf: leaf[0], self.outer.meta)
        ones = {path: jnp.ones_like(meta.params[path]) for path in inner.moving}

        def masks(rule: Any, key: Array) -> Any:
            key = jax.random.fold_in(drawn_and_keys(self._tasks, key)[1][0], 0)
            updates = inner.method.begin(inner.layers, rule, 1.0, key, training=True)
            update: Any = updates.update(ones, updates.init(ones), ones)[0]  # − mask
            return {layer.name: -update[layer.weight].reshape(-1, layer.units)[0] for layer in inner.layers}

        keys, total = self.keys(), lambda rule, key: sum(mask.sum() for mask in masks(rule, key).values())
        slopes = jax.vmap(lambda key: jax.grad(total)(meta.rule, key))(keys)["mask"]
        drawn = jax.vmap(lambda key: masks(meta.rule, key))(keys)
        return {name: _noise(drawn[name], slopes[name], meta.rule["mask"][name]) for name in slopes}

    def _batch(self, examples: Examples) -> Batch:
        x, y = jnp.asarray(examples.x, self._dtype), jnp.asarray(examples.y)
        return Batch(x, y if self._problem.cell.ways else y.astype(self._dtype))

    def _meta(self, meta: Meta) -> Meta:
        """What is meta-learned, with T and ζ of the problem."""
        if self._problem.work.method == "maml":
            return meta
        still = self._problem.still
        metrics = {layer.name: jnp.asarray(still[f"{layer.name}.metric"], self._dtype) for layer in self.layers}
        logits = {layer.name: jnp.asarray(still[f"{layer.name}.logits"], jnp.float32) for layer in self.layers}
        return meta._replace(fold=metrics, rule={**meta.rule, "mask": logits})


def build(problem: Problem) -> Ours:
    """The program for a problem."""
    return Ours(problem)


def _params(problem: Problem) -> list[tuple[str, NDArray[Any]]]:
    own = (problem.moving, {name: value for name, value in problem.still.items() if name.endswith(".offset")})
    return [item for arrays in own for item in arrays.items()]


def _plan(problem: Problem, tasks: OneOf, params: dict[str, Array], runs: int) -> Plan:
    cell, parts = problem.cell, Parts(conv, max_pool)
    model = mtnets.Model(
        lambda key: (params, {}),
        lambda params, state, x, key: (forward(cell.network, params, x, parts), state),
        cell.network.input_shape,
        norm="transductive" if cell.network.offsets() else "none",
        own_weights=True,
    )
    method = mtnets.maml if problem.work.method == "maml" else mtnets.mt_net
    estimator = mtnets.Exact() if problem.work.order == "exact" else mtnets.FirstOrder()
    return make_plan(
        model,
        method(cell.inner_lr, estimator=estimator),
        tasks,
        loss="cross-entropy" if cell.ways else "mse",
        seed=list(range(runs)) if runs > 1 else 0,
        options={"meta_steps": END, "meta_batch": cell.tasks, "inner_steps": cell.inner_steps, "meta_lr": META_LR},
    )


def _noise(mask: Array, derivative: Array, logits: Array) -> NDArray[Any]:
    """From masks and their derivatives `[tasks, units]`, and logits `[units]`."""
    slope = np.asarray(derivative, np.float64)
    far = np.sqrt(np.maximum(0.25 - slope, 0.0))  # of the sigmoid from ½
    near = slope / (0.5 + far)  # the smaller of s and 1 − s, without cancellation
    sign = np.where(np.asarray(mask) > 0.5, 1.0, -1.0)
    return (sign * (np.log1p(-near) - np.log(near)) - np.asarray(logits, np.float64)).astype(np.float32)
