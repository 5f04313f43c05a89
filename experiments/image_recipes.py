"""A short search for settings that learn image tasks fast, scored on tasks of validation classes.

Trainings far shorter than the real ones, each with a cosine rate and a clipped meta-gradient (`paper` too: only its
method is the paper's), the same seed and tasks. They tell which settings learn fast, which is not quite the same as
which end best. The best recipes (`mtnets recipes`) start from what they say, looking at the accuracy after as many
inner steps as in training. A training takes some ten minutes on Omniglot and some five on CIFAR-FS, on one core.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

from experiments.resumable import check, make_parts
from mtnets import evaluate, meta_train, tasks
from mtnets.devices import Devices, use_cores
from mtnets.inner import method_from_json, method_to_json
from mtnets.tasks import Family
from mtnets.tasks.archives import data_root

TWO_SIDED = {"sides": 2, "rates": "weight", "inner_clip": 10.0}
INNER_STEPS = 5  # of the scores


class Setting(NamedTuple):
    """One training of a search.

    Attributes:
      method: its name and options.
      inner_steps: of training.
      multi_step: whether the first third of the training has a loss at each inner step.
      meta_lr: rate of the meta-optimiser.
    """

    method: dict[str, Any]
    inner_steps: int
    multi_step: bool = False
    meta_lr: float = 1e-3


class Search(NamedTuple):
    """Settings that are compared.

    Attributes:
      training: what they have in common.
      settings: by name.
    """

    training: dict[str, int]
    settings: dict[str, Setting]


SEARCHES = {
    "omniglot-20way": Search(
        {"meta_steps": 1500, "meta_batch": 8},
        {
            "paper": Setting({"name": "mt_net", "inner_lr": 2.0}, 1),
            "two-sided": Setting({"name": "mt_net", "inner_lr": 2.0, **TWO_SIDED}, 1),
            "two-sided-slow": Setting({"name": "mt_net", "inner_lr": 0.5, **TWO_SIDED}, 1),
            "two-sided-t-net": Setting({"name": "t_net", "inner_lr": 2.0, **TWO_SIDED}, 1),
            "two-sided-low-rank": Setting(
                {"name": "mt_net", "inner_lr": 0.5, "metric": "low-rank", "rank": 16, **TWO_SIDED}, 1
            ),
            "two-sided-fast-adam": Setting({"name": "mt_net", "inner_lr": 0.5, **TWO_SIDED}, 1, meta_lr=2e-3),
            "one-sided-rates": Setting({"name": "mt_net", "inner_lr": 0.5, "rates": "weight", "inner_clip": 10.0}, 1),
            "two-sided-3-steps": Setting({"name": "mt_net", "inner_lr": 0.5, **TWO_SIDED}, 3, multi_step=True),
        },
    ),
    "cifar-fs": Search(
        {"meta_steps": 1000, "meta_batch": 4},
        {
            "maml": Setting({"name": "maml", "inner_lr": 0.05}, 5),
            "mt-net": Setting({"name": "mt_net", "inner_lr": 0.05}, 5),
            "two-sided": Setting({"name": "mt_net", "inner_lr": 0.05, **TWO_SIDED}, 5),
            "two-sided-t-net": Setting({"name": "t_net", "inner_lr": 0.05, **TWO_SIDED}, 5),
            "two-sided-t-net-1-step": Setting({"name": "t_net", "inner_lr": 0.4, **TWO_SIDED}, 1),
            "two-sided-t-net-fast": Setting({"name": "t_net", "inner_lr": 0.2, **TWO_SIDED}, 5),
            "two-sided-t-net-slow": Setting({"name": "t_net", "inner_lr": 0.01, **TWO_SIDED}, 5),
            # a loss at each step costs five times the queries
            "two-sided-t-net-multi-step": Setting({"name": "t_net", "inner_lr": 0.05, **TWO_SIDED}, 5, multi_step=True),
        },
    ),
}


@dataclasses.dataclass(frozen=True)
class ImageRecipes:
    """A short search for settings that learn Omniglot and CIFAR-FS fast.

    Attributes:
      searches: which ones: omniglot-20way, cifar-fs.
      tasks: validation tasks, the same for all.
      root: where the data are. Defaults to `$MTNETS_DATA`, then `data`.
      devices: how many share the tasks of a meta-step; all takes as many as divide their number.
      out: folder for a folder of JSONs per search.
    """

    searches: tuple[str, ...] = tuple(SEARCHES)
    tasks: int = 600
    root: str = ""
    devices: Devices = "all"
    out: str = "results/image-recipes"

    def __call__(self) -> None:
        """Runs the experiment."""
        use_cores(self.devices)
        check(self, {"tasks": 1}, {"searches": SEARCHES})
        for name in self.searches:
            search, family = SEARCHES[name], self.family(name)
            make_parts(
                "image-recipes",
                Path(self.out) / name,
                search.settings,
                lambda setting, search=search, family=family: self.part(search, setting, family),
                settings={**search.training, "tasks": self.tasks},
            )

    def family(self, search: str) -> Family:
        """The tasks of a search."""
        if search == "omniglot-20way":
            return tasks.omniglot(self.root, ways=20)
        return tasks.folder(str(data_root(self.root) / "cifar_fs.zip"))

    def part(self, search: Search, name: str, family: Family) -> dict[str, Any]:
        """One short training and its accuracy on tasks of validation classes."""
        setting = search.settings[name]
        method = method_from_json(setting.method)
        training: dict[str, Any] = {
            **search.training,
            "inner_steps": setting.inner_steps,
            "meta_lr": setting.meta_lr,
            "multi_step_loss": search.training["meta_steps"] // 3 if setting.multi_step else 0,
            "schedule": "cosine",
            "clip_norm": 10.0,
        }
        begun = time.perf_counter()
        learner = meta_train(None, method, family, seed=0, skip_nonfinite=100, validate_every=0, **training)
        seconds = time.perf_counter() - begun
        scores = evaluate(learner, family.validation, self.tasks, inner_steps=INNER_STEPS).to_json()
        return {
            "method": method_to_json(method),
            "training": training,
            "validation": scores["inner_steps"],
            "training_seconds": seconds,
        }
