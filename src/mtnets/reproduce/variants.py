"""`mtnets reproduce sine-variants`: what moves the MT-net's numbers on sine, where they differ from the published ones.

The paper's recipe with one thing changed at a time: how masks are used at test, the shots of training, its length, the
scale of the starting weights.
"""

import dataclasses
from typing import Any

from mtnets import tasks
from mtnets.inner.methods import METHODS
from mtnets.learner.evaluate import evaluate
from mtnets.networks import models
from mtnets.outer.train import meta_train
from mtnets.reproduce.parts import check, make_parts, settings_of
from mtnets.reproduce.sine import INNER_STEPS, LEAST, SHOTS
from mtnets.reproduce.summary import summarise

# What each changes: shots of training, length of training, scale of the starting weights.
VARIANTS: dict[str, dict[str, float]] = {
    "paper": {},
    "5-shots": {"shots": 5},
    "20-shots": {"shots": 20},
    "twice-as-long": {"longer": 2},
    "init-0.1": {"init_std": 0.1},
}
MASKS = ("sample", "mean", "threshold")


@dataclasses.dataclass(frozen=True)
class SineVariants:
    """The MT-net on sine with one thing changed at a time.

    Attributes:
      variants: which ones: paper, 5-shots, 20-shots (trained with so many), twice-as-long, init-0.1 (scale of the
        starting weights, 0.01 in the paper).
      inner_lr: inner rate α.
      seeds: number of seeds.
      meta_steps: length of each training.
      tasks: test tasks of each number of shots, the same for all.
      out: folder for one JSON per variant.
    """

    variants: tuple[str, ...] = tuple(VARIANTS)
    inner_lr: float = 0.04
    seeds: int = 10
    meta_steps: int = 60_000
    tasks: int = 2000
    out: str = "results/reproduce/sine-variants"

    def __call__(self) -> None:
        """Runs the command."""
        check(self, LEAST, {"variants": VARIANTS})
        make_parts(self.out, self.variants, self.part, settings=settings_of(self, "variants"))

    def part(self, name: str) -> dict[str, Any]:
        """One variant: every seed in one program, then its tests with each use of the masks."""
        change = VARIANTS[name]
        learners = meta_train(
            models.mlp(1, 40, 40, 1, init_std=change.get("init_std", 0.01)),
            METHODS["mt_net"](self.inner_lr),
            tasks.sinusoid(shots=int(change.get("shots", 10))),
            seed=list(range(self.seeds)),
            meta_steps=int(self.meta_steps * change.get("longer", 1)),
            skip_nonfinite=self.meta_steps,
        )
        scores = {}
        for mask in MASKS:
            for shots in SHOTS:
                family = tasks.sinusoid(shots=shots)
                found = [
                    evaluate(learner, family, self.tasks, inner_steps=INNER_STEPS, mask=mask) for learner in learners
                ]
                scores[f"{mask}, {shots} shots"] = summarise(found)
        return {
            "command": "mtnets reproduce sine-variants",
            "variant": name,
            "moving": [learner.moving() for learner in learners],
            "scores": scores,
        }
