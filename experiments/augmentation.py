"""Do augmented training images help on classes never seen? CIFAR-FS, 5-way 1-shot, by meta-step.

Our recipe for CIFAR-FS (`mtnets recipes`) at the length that is asked for, with and without augmentation: the same
seeds, hence the same classes, examples and starting weights. Test classes have no part in it.
"""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from experiments.images import cifar_fs
from experiments.metrics import course, read_lines
from experiments.resumable import check, make_parts, parts_done, settings_of
from mtnets import run_training
from mtnets.devices import Devices, use_cores
from mtnets.inner import method_from_json
from mtnets.shipped import recipes
from mtnets.tasks import Folder

AUGMENTATIONS: dict[str, tuple[str, ...]] = {
    "none": (),
    "flip": ("flip",),
    "flip-crop": ("flip", "crop"),
}
VALIDATIONS = 20  # of a training


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """CIFAR-FS with and without augmented training images: accuracy on validation classes by meta-step.

    Attributes:
      augmentations: none, flip, flip-crop.
      seeds: number of seeds.
      meta_steps: length of each training.
      tasks: validation tasks, the same for all.
      root: where the data are. Defaults to `$MTNETS_DATA`, then `data`.
      cache: folder for unpacked images. Defaults to `$MTNETS_CACHE`, then `~/.cache/mtnets`.
      devices: how many share the tasks of a meta-step; all takes as many as divide their number.
      runs: folder for run folders, in which trainings go on where they were stopped.
      out: folder for one JSON per augmentation and seed.
    """

    augmentations: tuple[str, ...] = tuple(AUGMENTATIONS)
    seeds: int = 2
    meta_steps: int = 20_000
    tasks: int = 400
    root: str = ""
    cache: str = ""
    devices: Devices = "all"
    runs: str = "runs/augmentation"
    out: str = "results/augmentation"

    recipe: ClassVar[str] = "cifar-fs-5way-1shot-best"

    def __call__(self) -> None:
        """Runs the experiment."""
        use_cores(self.devices)
        check(self, {"seeds": 1, "meta_steps": 1, "tasks": 1}, {"augmentations": AUGMENTATIONS})
        settings = settings_of(self, "augmentations", "seeds", "devices")
        make_parts("augmentation", self.out, self.parts(), self.part, settings=settings)

    def parts(self) -> list[str]:
        """The names of the parts; first all augmentations with the first seed."""
        return [f"{name}-seed{seed}" for seed in range(self.seeds) for name in self.augmentations]

    def done(self) -> dict[str, bool]:
        """Whether each part is there."""
        return parts_done(Path(self.out), self.parts())

    def part(self, name: str) -> dict[str, Any]:
        """One training, and how it went."""
        augmentation, _, seed = name.rpartition("-seed")
        recipe, folder = recipes.read(self.recipe), Path(self.runs, f"{name}-{self.meta_steps}")
        training = recipe["training"] | {"meta_steps": self.meta_steps, "seed": int(seed), "devices": self.devices}
        result = run_training(
            None,
            method_from_json(recipe["method"]),
            Folder(str(cifar_fs(self.root)), cache=self.cache, augment=AUGMENTATIONS[augmentation]).build(),
            out=folder,
            resume=True,
            report=False,
            validate_every=max(1, self.meta_steps // VALIDATIONS),
            validation_tasks=self.tasks,
            test_tasks=1,  # not looked at
            **training,
        )
        lines = read_lines(folder / "metrics.jsonl")
        validation = [
            {"step": line["step"], "accuracy": line["validation"][0]} for line in lines if "validation" in line
        ]
        return {
            "augmentation": AUGMENTATIONS[augmentation],
            "recipe": self.recipe,
            "seed": int(seed),
            "inner_steps": result.learner.inner_steps,
            "validation": validation,
            "training": course(folder / "metrics.jsonl", spans=VALIDATIONS),  # on images that are augmented, if any are
        }
