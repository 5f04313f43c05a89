"""Why the MT-net's numbers on sine differ from the published ones.

The paper's recipe with one thing changed at a time: how masks are used at test, the shots of training, its length, the
scale of the starting weights.
"""

import dataclasses
from typing import Any, NamedTuple

from experiments.resumable import check, make_parts, settings_of
from experiments.scores import summarise
from experiments.sine import INNER_STEPS, LEAST, SHOTS
from mtnets import METHODS, evaluate, meta_train, models, tasks


class Variant(NamedTuple):
    """What a variant trains with.

    Attributes:
      shots: support examples of a task.
      times: length of the training, in lengths of the paper's.
      init_std: scale of the starting weights.
    """

    shots: int = 10
    times: int = 1
    init_std: float = 0.01


VARIANTS = {
    "paper": Variant(),
    "5-shots": Variant(shots=5),
    "20-shots": Variant(shots=20),
    "twice-as-long": Variant(times=2),
    "init-0.1": Variant(init_std=0.1),
}
MASKS = ("sample", "mean", "threshold")


@dataclasses.dataclass(frozen=True)
class SineVariants:
    """The MT-net on sine with one thing changed at a time.

    Attributes:
      variants: which ones: paper, 5-shots and 20-shots (of training), twice-as-long, init-0.1 (scale of the starting
        weights, 0.01 in the paper).
      inner_lr: inner rate α.
      seeds: number of seeds.
      meta_steps: length of each training.
      tasks: test tasks for each number of shots, the same for all.
      out: folder for one JSON per variant.
    """

    variants: tuple[str, ...] = tuple(VARIANTS)
    inner_lr: float = 0.04
    seeds: int = 10
    meta_steps: int = 60_000
    tasks: int = 2000
    out: str = "results/reproduce/sine-variants"

    def __call__(self) -> None:
        """Runs the experiment."""
        check(self, LEAST, {"variants": VARIANTS})
        make_parts("sine-variants", self.out, self.variants, self.part, settings=settings_of(self, "variants"))

    def part(self, name: str) -> dict[str, Any]:
        """One variant: every seed in one program, then its tests with each use of the masks."""
        variant = VARIANTS[name]
        learners = meta_train(
            models.mlp(1, 40, 40, 1, init_std=variant.init_std),
            METHODS["mt_net"](self.inner_lr),
            tasks.sinusoid(shots=variant.shots),
            seed=list(range(self.seeds)),
            meta_steps=self.meta_steps * variant.times,
            skip_nonfinite=self.meta_steps,
        )
        scores = {}
        for mask in MASKS:
            for shots in SHOTS:
                family = tasks.sinusoid(shots=shots)
                scores[f"{mask}, {shots} shots"] = summarise(
                    [evaluate(learner, family, self.tasks, inner_steps=INNER_STEPS, mask=mask) for learner in learners]
                )
        return {"variant": name, "moving": [learner.moving() for learner in learners], "scores": scores}
