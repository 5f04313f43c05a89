"""Table 1 of the paper, and the ablation of its questions 1, 2 and 5.

`y = A sin(ωx − φ)` with amplitude, phase and frequency drawn; an MLP 1-40-40-1; trained at 10 shots with one inner
step, 60 000 meta-steps of 4 tasks; tested at 5, 10 and 20 shots after 0 to 10 inner steps, masks sampled.
"""

import dataclasses
from typing import Any

from experiments.resumable import check, make_parts, settings_of
from experiments.scores import by_rate, summarise
from mtnets import METHODS, evaluate, meta_train, models, tasks

SHOTS = (5, 10, 20)
INNER_STEPS = 10
LEAST = {"seeds": 1, "meta_steps": 0, "tasks": 1}


@dataclasses.dataclass(frozen=True)
class Sine:
    """Sine regression: six methods, three inner rates, several seeds; table 1 of the paper.

    Attributes:
      methods: which methods.
      inner_lrs: inner rates α.
      seeds: number of seeds.
      meta_steps: length of each training.
      tasks: test tasks for each number of shots, the same for all.
      out: folder for one JSON per method.
    """

    methods: tuple[str, ...] = ("maml", "meta_sgd", "m_net", "t_net", "mt_net", "mt_net_full")
    inner_lrs: tuple[float, ...] = (0.01, 0.04, 0.1)
    seeds: int = 10
    meta_steps: int = 60_000
    tasks: int = 2000
    out: str = "results/reproduce/sine"

    def __call__(self) -> None:
        """Runs the experiment."""
        check(self, LEAST)
        make_parts("sine", self.out, self.methods, self.part, settings=settings_of(self, "methods"))

    def part(self, name: str) -> dict[str, Any]:
        """One method: every seed and inner rate in one program, then its tests."""
        learners = meta_train(
            models.mlp(1, 40, 40, 1),
            METHODS[name](),
            tasks.sinusoid(shots=10),
            seed=list(range(self.seeds)),
            inner_lr=self.inner_lrs,
            meta_steps=self.meta_steps,
            # Differs from Lee & Choi (2018): the learner that does best on validation tasks is kept, not the last one.
            skip_nonfinite=self.meta_steps,  # a run that fails must not end those beside it
        )
        rows = []
        for inner_lr, group in by_rate(learners, self.inner_lrs):
            row: dict[str, Any] = {
                "inner_lr": inner_lr,
                "moving": [learner.moving() for learner in group],
                "validation": [learner.record["validation"] for learner in group],
                "failed": [learner.record["failed"] for learner in group],
            }
            for shots in SHOTS:
                family = tasks.sinusoid(shots=shots)
                estimates = [evaluate(learner, family, self.tasks, inner_steps=INNER_STEPS) for learner in group]
                row[f"{shots} shots"] = summarise(estimates)
            rows.append(row)
        return {"method": name, "rates": rows}
