"""`mtnets reproduce robustness`: is the MT-net less sensitive to the inner rate? (Figure 4 and table of the paper.)

Sine as in `mtnets reproduce sine`, trained and tested with each inner rate from 10⁻⁶ to 10 in half decades; without
batch norm, and with it, where for MAML too only the size of the weights sets the step of the hidden layers.
"""

import dataclasses
from typing import Any, Literal

from mtnets import tasks
from mtnets.inner.methods import METHODS
from mtnets.learner.evaluate import evaluate
from mtnets.networks import models
from mtnets.outer.train import meta_train
from mtnets.reproduce.parts import check, make_parts, settings_of
from mtnets.reproduce.sine import LEAST
from mtnets.reproduce.summary import summarise

INNER_LRS = tuple(round(10 ** (k / 2), 9) for k in range(-12, 3))


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Loss against inner rate, for MAML, T-net and MT-net, without and with batch norm.

    Attributes:
      methods: which methods.
      norms: which kinds of batch norm.
      inner_lrs: inner rates α.
      seeds: number of seeds.
      meta_steps: length of each training.
      tasks: test tasks, the same for all.
      out: folder for one JSON per method and kind of batch norm.
    """

    methods: tuple[str, ...] = ("maml", "t_net", "mt_net")
    norms: tuple[Literal["none", "transductive"], ...] = ("none", "transductive")
    inner_lrs: tuple[float, ...] = INNER_LRS
    seeds: int = 5
    meta_steps: int = 30_000  # Differs from Lee & Choi (2018): half of their 60 000.
    tasks: int = 1000
    out: str = "results/reproduce/robustness"

    def __call__(self) -> None:
        """Runs the command."""
        check(self, LEAST, {"norms": ("none", "transductive")})
        names = [f"{method}-norm-{norm}" for norm in self.norms for method in self.methods]
        make_parts(self.out, names, self.part, settings=settings_of(self, "methods", "norms"))

    def part(self, name: str) -> dict[str, Any]:
        """One method with one kind of batch norm: every seed and inner rate in one program."""
        method, norm = name.split("-norm-")
        learners = meta_train(
            models.mlp(1, 40, 40, 1, norm=norm),  # type: ignore[arg-type]
            METHODS[method](),
            tasks.sinusoid(shots=10),
            seed=list(range(self.seeds)),
            inner_lr=self.inner_lrs,
            meta_steps=self.meta_steps,
            validate_every=0,  # with 75 runs side by side, validation would take longer than training
            skip_nonfinite=self.meta_steps,
        )
        rows = []
        for i, inner_lr in enumerate(self.inner_lrs):
            group = learners[i * self.seeds : (i + 1) * self.seeds]
            estimates = [evaluate(learner, tasks.sinusoid(shots=10), self.tasks, inner_steps=10) for learner in group]
            rows.append({"inner_lr": inner_lr, "10 shots": summarise(estimates)})
        return {"command": "mtnets reproduce robustness", "method": method, "norm": norm, "rates": rows}
