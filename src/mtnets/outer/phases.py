"""The phases of a training. Each is a separate program, which is compiled when the training reaches it."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.inner import FirstOrder
from mtnets.memory import needed
from mtnets.outer.plan import Plan
from mtnets.outer.program import Outer, Program
from mtnets.processes import count, naming_the_lost, of_all, of_this
from mtnets.tasks.sampling import surfacing


class Phases:
    """Runs meta-steps of a plan by the program of their phase.

    Attributes:
      compile_seconds: time spent in compilation so far.
      bytes: memory that the program that was compiled last needs, see `mtnets.memory.needed`.
      train_seconds: time spent in meta-steps so far.
      meta_steps: how many those were.
      plan: of the training.
    """

    def __init__(self, plan: Plan) -> None:
        self.compile_seconds = 0.0
        self.bytes = 0
        self.train_seconds = 0.0
        self.meta_steps = 0
        self.plan = plan
        self._phases = phases(plan)
        self._compiled: dict[int, Callable[..., Any]] = {}  # by the meta-step at which the phase ends

    def end(self, step: int) -> int:
        """Where the phase of a meta-step ends."""
        return next(end for end, _ in self._phases if step < end)

    def compile(self, step: int, outer: Outer, sums: Mapping[str, Array]) -> Callable[..., Any]:
        """The compiled program of a meta-step's phase."""
        end, program = next(phase for phase in self._phases if step < phase[0])
        if end not in self._compiled:
            begun = time.perf_counter()
            plan = self.plan
            args = (outer, sums, plan.keys, jnp.int32(0), jnp.int32(end), plan.inner_lr, plan.train)
            self._compiled[end] = program.chunk.lower(*of_all(args, program.mesh)).compile()  # type: ignore[attr-defined]
            self.compile_seconds += time.perf_counter() - begun
            self.bytes = needed(self._compiled[end], plan.devices // count())
        return self._compiled[end]

    def run(
        self, step: int, stop: int, outer: Outer, sums: Mapping[str, Array]
    ) -> tuple[Outer, Mapping[str, Array], float]:
        """Meta-steps `step` … `stop − 1` of one phase: the new state, metrics added to their sums, and seconds."""
        run, plan = self.compile(step, outer, sums), self.plan
        begun = time.perf_counter()
        with surfacing(), naming_the_lost():
            args = (outer, sums, plan.keys, jnp.int32(step), jnp.int32(stop), plan.inner_lr, plan.train)
            outer, sums = of_this(run(*of_all(args, plan.program.mesh)), plan.program.mesh)
            jax.block_until_ready(sums)
        seconds = time.perf_counter() - begun
        self.train_seconds += seconds
        self.meta_steps += stop - step
        return outer, sums, seconds


def phases(plan: Plan) -> list[tuple[int, Program]]:
    """The programs of a training with the meta-step at which each ends: a first-order phase and one with a multi-step
    loss, which may overlap, and the rest."""
    training, program = plan.training, plan.program
    pull = plan.method.proximal or plan.method.estimator.pull  # the inner problem stays as it is
    first_order = dataclasses.replace(plan.method, estimator=FirstOrder(), proximal=pull)
    total = training.meta_steps
    ends = sorted({e for e in (training.first_order_steps, training.multi_step_loss, total) if 0 < e <= total})
    programs = []
    for end in ends:
        inner = program.inner
        if end <= training.first_order_steps:
            inner = dataclasses.replace(inner, method=first_order)
        multi_step = training.multi_step_loss if end <= training.multi_step_loss else 0
        programs.append((end, dataclasses.replace(program, inner=inner, multi_step=multi_step)))
    return programs
