"""Does the share of units that a task moves grow with the complexity of the tasks?

The paper's question 4, on polynomials of order 0, 1 and 2, and on what it did not try: higher orders, and sine curves
of which only the amplitude, only the phase, or both vary. An MT-net's masks are followed through training; at its end
the rank of the update of each layer tells how many directions tasks really use.
"""

import dataclasses
from typing import Any

import jax

from experiments.resumable import check, make_parts, settings_of
from experiments.scores import summarise
from experiments.sine import INNER_STEPS, LEAST
from mtnets import METHODS, Learner, evaluate, meta_train, models, tasks
from mtnets.analysis.measure import update_ranks
from mtnets.learner import TEST_SEED
from mtnets.tasks import Family

RANK_TASKS = 64


@dataclasses.dataclass(frozen=True)
class Complexity:
    """How many units an MT-net lets a task move, for tasks of growing complexity.

    Attributes:
      orders: of polynomials.
      sines: whether to add sine curves that vary in amplitude, in phase, and in both.
      inner_lr: inner rate α; the paper's script leaves it at 0.001.
      seeds: number of seeds.
      meta_steps: length of each training.
      tasks: test tasks.
      out: folder for one JSON per kind of task.
    """

    orders: tuple[int, ...] = (0, 1, 2, 3, 5)
    sines: bool = True
    inner_lr: float = 0.01  # Differs from Lee & Choi (2018): their script leaves it at 0.001.
    seeds: int = 10
    meta_steps: int = 60_000
    tasks: int = 1000
    out: str = "results/reproduce/complexity"

    def __call__(self) -> None:
        """Runs the experiment."""
        check(self, LEAST)
        settings = settings_of(self, "orders", "sines")
        make_parts("complexity", self.out, self.families(), self.part, settings=settings)

    def families(self) -> dict[str, Family]:
        """Kinds of tasks by name, from simple to complex within each kind."""
        families = {f"polynomial-{order}": tasks.polynomial(order=order) for order in self.orders}
        if self.sines:
            fixed = (1.0, 1.0)
            families["sine-amplitude"] = tasks.sinusoid(phase=(0.0, 0.0), frequency=fixed)
            families["sine-phase"] = tasks.sinusoid(amplitude=(2.5, 2.5), frequency=fixed)
            families["sine-both"] = tasks.sinusoid(frequency=fixed)
            families["sine-all"] = tasks.sinusoid()
        return families

    def part(self, name: str) -> dict[str, Any]:
        """One kind of task: every seed in one program."""
        family, history = self.families()[name], []

        def follow(step: int, learners: list[Learner]) -> None:
            history.append({"step": step, "moving": [learner.moving() for learner in learners]})

        learners = meta_train(
            models.mlp(1, 40, 40, 1),
            METHODS["mt_net"](self.inner_lr),
            family,
            seed=list(range(self.seeds)),
            meta_steps=self.meta_steps,
            validate_every=max(1, self.meta_steps // 30),
            skip_nonfinite=self.meta_steps,
            callback=follow,
        )
        keys = jax.random.split(jax.random.key(TEST_SEED), RANK_TASKS)
        estimates = [evaluate(learner, family, self.tasks, inner_steps=INNER_STEPS) for learner in learners]
        return {
            "tasks": name,
            "history": history,
            "moving": [learner.moving() for learner in learners],
            "ranks": [update_ranks(learner, family.test, keys) for learner in learners],
            "scores": summarise(estimates),
        }
