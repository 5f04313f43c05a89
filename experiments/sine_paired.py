"""How far T-net, MT-net and Meta-SGD are ahead of MAML on the same sine curves.

The paper's training with one inner rate for all. Every learner is tested on the same 10 000 tasks, so that the
difference to MAML can be taken task by task: its interval is several times narrower than that of the losses.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.resumable import check, make_parts, settings_of
from experiments.scores import mean_and_interval
from experiments.sine import INNER_STEPS, LEAST
from mtnets import METHODS, evaluate, meta_train, models, tasks

METHOD_NAMES = ("maml", "meta_sgd", "t_net", "mt_net")


@dataclasses.dataclass(frozen=True)
class SinePaired:
    """Sine regression: differences to MAML, task by task; the first table of docs/first-results.md.

    Attributes:
      inner_lr: inner rate α.
      seeds: number of seeds.
      meta_steps: length of each training.
      tasks: test tasks, the same for all.
      out: the JSON to write.
    """

    inner_lr: float = 0.01
    seeds: int = 3
    meta_steps: int = 60_000
    tasks: int = 10_000
    out: str = "results/sine.json"

    def __call__(self) -> None:
        """Runs the experiment."""
        check(self, LEAST)
        path = Path(self.out)
        make_parts("sine-paired", path.parent, [path.stem], lambda name: self.part(), settings=settings_of(self))

    def part(self) -> dict[str, Any]:
        """All methods, and the seconds of a single training as a user would start it."""
        family, network = tasks.sinusoid(shots=10), models.mlp(1, 40, 40, 1)
        methods: dict[str, Any] = {}
        losses: dict[str, np.ndarray] = {}  # after one inner step, of each task, averaged over seeds
        for name in METHOD_NAMES:
            begun = time.perf_counter()
            method = METHODS[name](self.inner_lr)
            learners = meta_train(network, method, family, meta_steps=self.meta_steps, seed=list(range(self.seeds)))
            seconds = time.perf_counter() - begun
            estimates = [evaluate(learner, family, self.tasks, inner_steps=INNER_STEPS) for learner in learners]
            losses[name] = np.mean([estimate.losses[:, 1] for estimate in estimates], axis=0)
            methods[name] = {
                "seconds_for_all_seeds": seconds,
                "test": [estimate.to_json()["inner_steps"] for estimate in estimates],
                "loss_after_1_step": mean_and_interval(losses[name]),
                "maml_minus_this": mean_and_interval(losses["maml"] - losses[name]),
            }
        begun = time.perf_counter()
        method = METHODS["mt_net"](self.inner_lr)
        meta_train(network, method, family, meta_steps=self.meta_steps, seed=0, progress=False)
        alone = time.perf_counter() - begun
        return {"methods": methods, "seconds_of_one_mt_net_run_with_compilation": alone}
