"""Is the MT-net less sensitive to the inner rate? (Figure 4 and table of the paper.)

Sine as in `sine`, trained and tested with each inner rate from 10⁻⁶ to 10 in half decades; without batch norm, and with
it, where for MAML too only the size of the weights sets the step of the hidden layers.
"""

import dataclasses
from typing import Any, Literal, cast, get_args

from experiments.resumable import check, make_parts, settings_of
from experiments.scores import by_rate, summarise
from experiments.sine import INNER_STEPS, LEAST
from mtnets import METHODS, evaluate, meta_train, models, tasks

Norm = Literal["none", "transductive"]
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
    norms: tuple[Norm, ...] = get_args(Norm)
    inner_lrs: tuple[float, ...] = INNER_LRS
    seeds: int = 5
    meta_steps: int = 30_000  # Differs from Lee & Choi (2018): half of their 60 000.
    tasks: int = 1000
    out: str = "results/reproduce/robustness"

    def __call__(self) -> None:
        """Runs the experiment."""
        check(self, LEAST, {"norms": get_args(Norm)})
        names = [f"{method}-norm-{norm}" for norm in self.norms for method in self.methods]
        make_parts("robustness", self.out, names, self.part, settings=settings_of(self, "methods", "norms"))

    def part(self, name: str) -> dict[str, Any]:
        """One method with one kind of batch norm: every seed and inner rate in one program."""
        method, norm = name.split("-norm-")
        family = tasks.sinusoid(shots=10)
        learners = meta_train(
            models.mlp(1, 40, 40, 1, norm=cast(Norm, norm)),
            METHODS[method](),
            family,
            seed=list(range(self.seeds)),
            inner_lr=self.inner_lrs,
            meta_steps=self.meta_steps,
            validate_every=0,  # with 75 runs side by side, validation would take longer than training
            skip_nonfinite=self.meta_steps,
        )
        rows = []
        for inner_lr, group in by_rate(learners, self.inner_lrs):
            estimates = [evaluate(learner, family, self.tasks, inner_steps=INNER_STEPS) for learner in group]
            rows.append({"inner_lr": inner_lr, "10 shots": summarise(estimates)})
        return {"method": method, "norm": norm, "rates": rows}
