"""Every method on images, side by side: a search on validation classes, then three seeds at each method's best α.

Network, tasks and recipe are the same for all: a conv-4, Omniglot with 20 ways (nearest pixels, one inner step in
training) and CIFAR-FS with 5 ways (five inner steps), 1 shot (Omniglot with 5 ways is for those with little time: all
methods end near 99 % there); a cosine rate, the gradient of a task and the
meta-gradient clipped to norm 10; the learner that did best on validation tasks. They are compared twice: after as many
meta-steps (`steps`), and after as many seconds as MAML takes for these (`seconds`), by the seconds per meta-step of the
search, on one machine. Each training has a run folder and goes on where it was stopped.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from experiments.images import cifar_fs
from experiments.resumable import check, make_parts, parts_done, read_part
from mtnets import METHODS, Implicit, Method, OptionError, RunResult, evaluate, run_training
from mtnets.devices import Devices, use_cores
from mtnets.inner import method_to_json
from mtnets.tasks import Folder, Options
from mtnets.tasks import Omniglot as OmniglotTasks

CLIP = 10.0  # norm of a task's gradient, and of the meta-gradient
SEARCH, BASELINE = "search", "maml"
SEARCH_TASKS, VALIDATION_TASKS = 400, 200  # of validation classes: of a search, of each validation of a training
TWO_SIDED: Mapping[str, Any] = {"sides": 2, "rates": "weight"}


class Variant(NamedTuple):
    """A method with its options, and the loss of the support sets; None for that of the query sets."""

    method: str
    options: Mapping[str, Any] = {}
    inner_loss: str | None = None


VARIANTS = {
    # CAVIA has no row: its context vector enters by a bias, which batch norm takes away
    **{name: Variant(name) for name in ("maml", "mt_net", "t_net", "meta_sgd")},
    "t_net-two-sided-weight-rates": Variant("t_net", TWO_SIDED),
    "mt_net-two-sided-weight-rates": Variant("mt_net", TWO_SIDED),
    **{name: Variant(name) for name in ("alfa", "l2f", "anil", "boil", "meta_curvature", "approximate_gap", "gap")},
    "maml-metal": Variant("maml", inner_loss="metal"),
    "alfa-metal": Variant("alfa", inner_loss="metal"),
    "maml-shared-head": Variant("maml", {"head": "shared"}),
    "maml-prototypes": Variant("maml", {"head": "prototypes"}),
    **{name: Variant(name) for name in ("maml_plus_plus", "sparse_maml", "fomaml", "reptile")},
    "imaml": Variant("imaml", {"estimator": Implicit(0.1, damping=10.0)}),
    **{name: Variant(name) for name in ("warp_grad", "m_net", "mt_net_full")},
}


class Data(NamedTuple):
    """A kind of tasks.

    Attributes:
      inner_steps: of training.
      meta_batch: tasks of a meta-step.
      rates: α that are tried.
    """

    inner_steps: int
    meta_batch: int
    rates: tuple[float, ...]


DATA = {
    "omniglot-20way": Data(1, 16, (0.4, 1.0, 2.0, 4.0)),
    "omniglot-5way": Data(1, 16, (0.1, 0.4, 1.0, 2.0)),
    "cifar-fs-5way": Data(5, 4, (0.01, 0.05, 0.2, 0.5)),
}
INNER_STEPS = 5  # of tests


@dataclasses.dataclass(frozen=True)
class MethodsOnImages:
    """Every method on images, side by side, each at the α that did best in a search.

    Attributes:
      variants: which methods, some with options.
      data: omniglot-20way, omniglot-5way, cifar-fs-5way.
      compared: after equal meta-steps (`steps`), or in equal time (`seconds`).
      seeds: number of seeds.
      search_steps: length of the trainings of the search.
      meta_steps: length of each training.
      tasks: test tasks, the same for all.
      root: where the data are. Defaults to `$MTNETS_DATA`, then `data`.
      cache: folder for unpacked images. Defaults to `$MTNETS_CACHE`, then `~/.cache/mtnets`.
      devices: how many share the tasks of a meta-step; all takes as many as divide their number.
      runs: folder for run folders.
      out: folder for a folder per kind of tasks.
    """

    variants: tuple[str, ...] = tuple(VARIANTS)
    data: tuple[str, ...] = ("omniglot-20way", "cifar-fs-5way")
    compared: tuple[Literal["steps", "seconds"], ...] = ("steps", "seconds")
    seeds: int = 3
    search_steps: int = 1000
    meta_steps: int = 10_000
    tasks: int = 1000
    root: str = ""
    cache: str = ""
    devices: Devices = "all"
    runs: str = "runs/methods-on-images"
    out: str = "results/methods-on-images"

    name: ClassVar[str] = "methods-on-images"

    def __call__(self) -> None:
        """Runs the experiment."""
        use_cores(self.devices)
        least = {"seeds": 1, "search_steps": 1, "meta_steps": 1, "tasks": 1}
        check(self, least, {"variants": VARIANTS, "data": DATA, "compared": ("steps", "seconds")})
        if "seconds" in self.compared and BASELINE not in self.variants:
            raise OptionError(f"compared holds 'seconds', which are those of {BASELINE}; add it to variants.")
        for data in self.data:
            make_parts(
                self.name,
                self._folder(data, SEARCH),
                self.searches(),
                lambda name, data=data: self.search(data, name),
                settings={"search_steps": self.search_steps},
            )
            for compared in self.compared:
                make_parts(
                    self.name,
                    self._folder(data, compared),
                    self.trainings(),
                    lambda name, data=data, compared=compared: self.train(data, compared, name),
                    settings={"meta_steps": self.meta_steps, "tasks": self.tasks, "search_steps": self.search_steps},
                )

    def searches(self) -> list[str]:
        """The names of the parts of a search."""
        return list(self.variants)

    def trainings(self) -> list[str]:
        """The names of the parts of a comparison: a variant and a seed; first all variants with the first seed."""
        return [f"{name}-seed{seed}" for seed in range(self.seeds) for name in self.variants]

    def done(self) -> dict[str, bool]:
        """Whether each part is there."""
        done = {}
        for data in self.data:
            for kind in (SEARCH, *self.compared):
                parts = parts_done(self._folder(data, kind), self.searches() if kind == SEARCH else self.trainings())
                done |= {f"{data}/{kind}/{name}": there for name, there in parts.items()}
        return done

    def search(self, data: str, name: str) -> dict[str, Any]:
        """Accuracy on tasks of validation classes for each α, with one seed."""
        rows, family = [], self.tasks_of(data).build()
        for inner_lr in DATA[data].rates:
            result = self.run(data, name, inner_lr, self.search_steps, 0, Path(data, SEARCH, f"{name}-{inner_lr}"))
            scores = evaluate(result.learner, family.validation, SEARCH_TASKS, inner_steps=INNER_STEPS).mean
            rows.append({
                "inner_lr": inner_lr,
                "validation": scores.tolist(),
                "seconds_per_meta_step": result.seconds_per_meta_step,
            })  # fmt: skip
        # a mean that is not finite is the worst
        best = max(rows, key=lambda row: np.nan_to_num(row["validation"], nan=-np.inf)[DATA[data].inner_steps])
        return {"method": method_to_json(method_of(name)), "tried": rows, "best": best, "seed": 0}

    def train(self, data: str, compared: str, name: str) -> dict[str, Any]:
        """One training of a variant at its best α, and its scores on tasks of test classes."""
        variant, _, seed = name.rpartition("-seed")
        best, length = self.best(data, variant), self.length(data, compared, variant)
        # a training of the one comparison is that of the other where it is as long
        folder = Path(data, f"{variant}-{length}-seed{seed}")
        result = self.run(data, variant, best["inner_lr"], length, int(seed), folder)
        test = evaluate(result.learner, self.tasks_of(data).build().test, self.tasks, inner_steps=INNER_STEPS)
        return {
            "method": method_to_json(result.learner.method),
            "inner_loss": VARIANTS[variant].inner_loss,
            "inner_lr": best["inner_lr"],
            "inner_steps": DATA[data].inner_steps,
            "meta_steps": length,
            "best_meta_step": result.learner.record["meta_step"],
            "seconds_per_meta_step": result.seconds_per_meta_step,
            "seed": int(seed),
            "test": test.to_json(),
            "run_on": result.machine,
        }

    def best(self, data: str, variant: str) -> dict[str, Any]:
        """What the search says of a variant."""
        return read_part(self._folder(data, SEARCH) / f"{variant}.json")["best"]

    def length(self, data: str, compared: str, variant: str) -> int:
        """Meta-steps of a training: as many for all, or as many as take the time of MAML's."""
        if compared == "steps":
            return self.meta_steps
        each, baseline = (self.best(data, name)["seconds_per_meta_step"] for name in (variant, BASELINE))
        return max(1, round(self.meta_steps * baseline / each))

    def run(self, data: str, name: str, inner_lr: float, meta_steps: int, seed: int, folder: Path) -> RunResult:
        """Trains one learner, or goes on to its end."""
        settings: dict[str, Any] = {"inner_steps": DATA[data].inner_steps, "meta_batch": DATA[data].meta_batch}
        settings |= {"schedule": "cosine", "clip_norm": CLIP, "skip_nonfinite": 10**9, "devices": self.devices}
        return run_training(
            None,
            dataclasses.replace(method_of(name), inner_lr=inner_lr),
            self.tasks_of(data).build(),
            out=Path(self.runs) / folder,
            resume=True,
            report=False,
            seed=seed,
            inner_loss=VARIANTS[name].inner_loss,
            meta_steps=meta_steps,
            validate_every=max(1, meta_steps // 10),
            validation_tasks=VALIDATION_TASKS,
            test_tasks=1,  # scored once, on more
            **settings,
        )

    def tasks_of(self, data: str) -> Options:
        """The tasks of a kind."""
        if ways := {"omniglot-20way": 20, "omniglot-5way": 5}.get(data):
            return OmniglotTasks(self.root, ways=ways, resize="nearest", cache=self.cache)
        return Folder(str(cifar_fs(self.root)), cache=self.cache)

    def _folder(self, data: str, kind: str) -> Path:
        return Path(self.out) / data / kind


def method_of(name: str) -> Method:
    """The method of a variant."""
    variant = VARIANTS[name]
    return METHODS[variant.method](**variant.options, inner_clip=CLIP)
