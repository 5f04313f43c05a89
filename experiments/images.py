"""Few-shot classification of images: Omniglot, miniImageNet, CIFAR-FS, FC100.

These trainings take hours. Each has an ordinary run folder below `runs`: stop it at any time, and the same command goes
on from its last checkpoint. A longer `--meta-steps` trains a finished run on, and `--as-is` scores a stopped one
without training on; the JSON says how many meta-steps it got.

As in the code of MAML and the MT-net, the learner that is scored is the last one, not the best on validation tasks. So
the validation classes, on which the MT-net's code reports by mistake, had no part in choosing it. `best` is our own
recipe (`mtnets recipes`), which keeps the best one, as the package does by default.
"""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from experiments.metrics import course, skipped
from experiments.resumable import check, make_parts, parts_done
from mtnets import METHODS, DataError, Method, RunError, evaluate, run_training
from mtnets.devices import Devices, use_cores
from mtnets.inner import method_from_json
from mtnets.outer.checkpoints import latest
from mtnets.shipped import recipes
from mtnets.tasks import Folder, Options
from mtnets.tasks import MiniImageNet as MiniImageNetTasks
from mtnets.tasks import Omniglot as OmniglotTasks
from mtnets.tasks.archives import data_root
from mtnets.tasks.inputs.image_files import Resize

PAPER = ("mt_net", "maml", "meta_sgd", "m_net", "t_net", "mt_net_full")
INNER_STEPS = 5  # of tests, at least; training takes 1 on Omniglot, 5 on the others


class Case(NamedTuple):
    """One training.

    Attributes:
      tasks: options of the task family.
      method: a method's name, or `best`.
    """

    tasks: Options
    method: str


@dataclasses.dataclass(frozen=True)
class ImageExperiment:
    """Trainings on images, one JSON each.

    Attributes:
      methods: which methods; `best` is our own recipe.
      shots: support examples of each class.
      meta_steps: length of each training.
      tasks: test tasks, the same for all.
      seed: of the starting weights and the tasks.
      as_is: score runs as they are, without training on. `best` is left out: it counts only at its end.
      root: where the data are. Defaults to `$MTNETS_DATA`, then `data`.
      cache: folder for unpacked images. Defaults to `$MTNETS_CACHE`, then `~/.cache/mtnets`.
      devices: how many share the tasks of a meta-step; all takes as many as divide their number.
      runs: folder for run folders. Defaults to runs/reproduce/NAME.
      out: folder for the JSONs. Defaults to results/reproduce/NAME.
    """

    methods: tuple[str, ...] = (*PAPER, "best")
    shots: tuple[int, ...] = (1,)
    meta_steps: int = 60_000
    tasks: int = 600
    seed: int = 0
    as_is: bool = False
    root: str = ""
    cache: str = ""
    devices: Devices = "all"
    runs: str = ""
    out: str = ""

    name: ClassVar[str]  # on the command line
    recipe: ClassVar[str] = ""  # of `best`; defaults to the name
    clip: ClassVar[float | None] = None  # of the papers' meta-gradient, by value; None for none

    def __call__(self) -> None:
        """Runs the experiment."""
        use_cores(self.devices)
        check(self, {"tasks": 1, "meta_steps": 1, "seed": 0}, {"methods": ("best", *METHODS)})
        cases = {name: case for name, case in self.named().items() if self.length(name, case)}
        for name, case in cases.items():
            self.settings(name, case)  # a recipe that is missing is an error before hours of work
        if not cases:
            raise RunError(f"No run in {self._runs} was begun; leave --as-is out to begin one.")
        make_parts(
            self.name,
            self.results,
            cases,
            lambda name: self.part(name, cases[name]),
            settings={"tasks": self.tasks, "seed": self.seed},
            enough=lambda name, part: part["meta_steps"] >= self.length(name, cases[name]),
        )

    def cases(self) -> dict[str, Case]:
        """What is trained, by name."""
        raise NotImplementedError

    def named(self) -> dict[str, Case]:
        """The same by the names of their files, which tell the seed."""
        suffix = f"-seed{self.seed}" if self.seed else ""
        return {f"{name}{suffix}": case for name, case in self.cases().items()}

    def done(self) -> dict[str, bool]:
        """Whether each part is there, with as many meta-steps as are asked for."""
        return parts_done(self.results, self.named(), lambda name, part: part["meta_steps"] >= self.meta_steps)

    @property
    def results(self) -> Path:
        """The folder for the JSONs."""
        return Path(self.out or f"results/reproduce/{self.name}")

    @property
    def _runs(self) -> Path:
        return Path(self.runs or f"runs/reproduce/{self.name}")

    def folder(self, name: str, case: Case) -> Path:
        """The run folder of a case. `best` has one for each length: its cosine schedule cannot be trained on."""
        return self._runs / (f"{name}-{self.meta_steps}" if case.method == "best" else name)

    def length(self, name: str, case: Case) -> int:
        """The meta-steps of a case: those asked for, or with `as_is` those of its last checkpoint."""
        folder = self.folder(name, case) / "checkpoints"
        if not self.as_is:
            return self.meta_steps
        if not folder.exists() or case.method == "best":
            return 0
        return latest(folder) or 0

    def part(self, name: str, case: Case) -> dict[str, Any]:
        """Trains one case, or trains it on, and scores it on test and on validation classes."""
        method, training = self.settings(name, case)
        family, folder = case.tasks.build(), self.folder(name, case)
        training |= {"seed": self.seed, "devices": self.devices, "test_tasks": self.tasks}
        result = run_training(None, method, family, out=folder, resume=True, **training)
        learner = result.learner
        steps = max(INNER_STEPS, learner.inner_steps)
        tests = {
            split: evaluate(learner, tasks, self.tasks, inner_steps=steps, devices=self.devices).to_json()
            for split, tasks in (("test", family.test), ("validation", family.validation))
        }
        paths = ("root", "cache")  # folders of this machine
        options = {name: value for name, value in result.config["tasks"].items() if name not in paths}
        return {
            "method": case.method,
            "meta_steps": training["meta_steps"],
            "inner_steps": learner.inner_steps,
            "best_meta_step": learner.record["meta_step"],
            "seed": self.seed,
            "classes": {split: len(names) for split, names in family.classes.items()},
            "tests": tests,
            "moving": learner.moving(),
            "course": course(folder / "metrics.jsonl"),
            "skipped": skipped(folder / "metrics.jsonl"),
            "seconds_per_meta_step": result.seconds_per_meta_step,
            "compile_seconds": result.compile_seconds,
            "run_on": result.machine,
            "config": {**result.config, "tasks": options},
        }

    def settings(self, name: str, case: Case) -> tuple[Method, dict[str, Any]]:
        """The method and the settings of training."""
        length = self.length(name, case)
        if case.method != "best":
            # The last learner counts, as in the paper.
            # Differs from Lee & Choi (2018): a meta-step whose gradient is not finite is left out, since it must not
            # end hours of work; the JSON says how many were.
            settings: dict[str, Any] = {"validate_every": 0, "skip_nonfinite": 100, "meta_steps": length}
            if self.clip is not None:
                settings["clip_value"] = on_mean_loss(self.clip, case.tasks)
            return METHODS[case.method](), settings
        of_case = name.split("-seed", maxsplit=1)[0].removeprefix("nearest-")
        recipe = recipes.read(f"{self.recipe or self.name}-{of_case}")
        training = dict(recipe["training"])
        whole = training["meta_steps"]
        training |= {"meta_steps": length, "multi_step_loss": training["multi_step_loss"] * length // whole}
        return method_from_json(recipe["method"]), training


def on_mean_loss(clip: float, tasks: Any) -> float:
    """A bound of MAML's code on its meta-gradient, in units of ours: 10 is 0.133 with one shot, 0.667 with five.

    Its loss of a query set is a sum over N ways of Q examples, divided by the K *shots*; ours is their mean, which is
    smaller by N·Q / K. Adam does not mind the factor, a bound does.
    """
    return clip * tasks.shots / (tasks.ways * tasks.queries)


@dataclasses.dataclass(frozen=True)
class Omniglot(ImageExperiment):
    """Omniglot, 1 shot: six methods by the paper's recipe, and ours; table 2 of the paper.

    Attributes:
      ways: classes of a task.
      splits: `random` is the paper's; `vinyals` is another split of the characters.
      resize: `nearest` makes images as the paper's script did; `lanczos` those of all parts named without `nearest`.
    """

    meta_steps: int = 40_000
    ways: tuple[int, ...] = (5, 20)
    splits: tuple[Literal["random", "vinyals"], ...] = ("random",)
    resize: Resize = "nearest"

    name: ClassVar[str] = "omniglot"

    def cases(self) -> dict[str, Case]:
        images = "nearest-" * (self.resize == "nearest")
        return {
            f"{images}{'vinyals-' * (split == 'vinyals')}{ways}way-{shots}shot-{method}": Case(
                OmniglotTasks(self.root, ways=ways, shots=shots, split=split, cache=self.cache, resize=self.resize),
                method,
            )
            for split in self.splits
            for ways in self.ways
            for shots in self.shots
            for method in self.methods
        }


@dataclasses.dataclass(frozen=True)
class CifarFs(ImageExperiment):
    """CIFAR-FS, 5 ways: conv-4 of 32 filters, as the published MAML."""

    methods: tuple[str, ...] = ("maml", "meta_sgd", "mt_net", "best")
    shots: tuple[int, ...] = (1, 5)

    name: ClassVar[str] = "cifar-fs"
    clip: ClassVar[float | None] = 10.0
    split: ClassVar[Literal["folders", "fc100"]] = "folders"

    def cases(self) -> dict[str, Case]:
        images = str(cifar_fs(self.root))
        return {
            f"5way-{shots}shot-{method}": Case(Folder(images, shots=shots, cache=self.cache, split=self.split), method)
            for shots in self.shots
            for method in self.methods
        }


@dataclasses.dataclass(frozen=True)
class Fc100(CifarFs):
    """FC100, 5 ways: the images of CIFAR-FS split by superclass, with the recipe of CIFAR-FS."""

    name: ClassVar[str] = "fc100"
    recipe: ClassVar[str] = "cifar-fs"
    split: ClassVar[Literal["folders", "fc100"]] = "fc100"


def cifar_fs(root: str) -> Path:
    """Where the images of CIFAR-FS are.

    Raises:
      DataError: if they are not below the root.
    """
    paths = [data_root(root) / file for file in ("cifar_fs.zip", "cifar_fs", "CIFAR-FS", "cifar-fs")]
    images = next((path for path in paths if path.exists()), None)
    if images is None:
        raise DataError(
            f"CIFAR-FS is not in {data_root(root)}: expected cifar_fs.zip or the folder cifar_fs there, with "
            "train|val|test/CLASS/IMAGE in it; set --root or MTNETS_DATA."
        )
    return images


@dataclasses.dataclass(frozen=True)
class MiniImageNet(ImageExperiment):
    """miniImageNet, 5 ways, by the paper's recipe: five inner steps in training; table 3 of the paper."""

    methods: tuple[str, ...] = ("mt_net", "t_net", "meta_sgd", "maml", "best")
    shots: tuple[int, ...] = (1, 5)

    name: ClassVar[str] = "miniimagenet"
    clip: ClassVar[float | None] = 10.0

    def cases(self) -> dict[str, Case]:
        return {
            f"5way-{shots}shot-{method}": Case(MiniImageNetTasks(self.root, shots=shots, cache=self.cache), method)
            for shots in self.shots
            for method in self.methods
        }
