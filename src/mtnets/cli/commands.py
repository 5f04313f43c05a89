"""The commands about learners that exist, and the lists of what there is. Each is a dataclass of its options."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from mtnets.cli.tables import print_table
from mtnets.errors import printable

FLAT = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff)
# Those of mtnets.learner, mtnets.inner.rules and mtnets.devices, without importing JAX to read a command line
TEST_SEED = 20180605
MaskUse = Literal["sample", "mean", "threshold"]
Devices = int | Literal["all"]

# Text as --help shows it. What stands without a flag:
Run = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
# and with one:
FilePath = Annotated[str, tyro.conf.arg(metavar="FILE")]
FolderPath = Annotated[str, tyro.conf.arg(metavar="FOLDER")]
AnyPath = Annotated[str, tyro.conf.arg(metavar="PATH")]


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Scores a learner on test tasks, per inner step.

    Attributes:
      run: folder of a run, or the name of a learner that ships (`mtnets learners`).
      tasks: number of test tasks.
      inner_steps: gradient steps. Defaults to those of training.
      inner_lr: inner rate. Defaults to that of training.
      shots: support examples (of each class). Defaults to those of training.
      queries: query examples (of each class). Defaults to those of training.
      data: where the data are now. Defaults to where they were in training.
      mask: how masks are used: sample, mean or threshold. Defaults to the learner's own choice.
      metrics: scores beside the loss (`mtnets losses`), of which the first is told for each step. Defaults to those of
        training.
      seed: of the tasks; the default is one fixed stream, the same for all methods.
      devices: CPU devices that share the tasks.
      json: print one JSON object.
      scores: file for the scores of every task. Defaults to evaluation/scores.npz in the run's folder.
    """

    example: ClassVar[str] = "mtnets evaluate runs/sine --tasks 600 --inner-steps 5"

    run: Run
    tasks: int = 600
    inner_steps: int | None = None
    inner_lr: float | None = None
    shots: int | None = None
    queries: int | None = None
    data: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None
    mask: MaskUse | None = None
    metrics: tuple[str, ...] | None = None
    seed: int = TEST_SEED
    devices: Devices = "all"
    json: bool = False
    scores: FilePath = ""

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.devices import use_cores
        from mtnets.files import check_place
        from mtnets.learner import evaluate, load

        scores = Path(self.scores or _folder(self.run) / "evaluation" / "scores.npz")
        check_place(scores)  # before the work
        use_cores(self.devices)
        learner = load(self.run)
        changes = {"shots": self.shots, "queries": self.queries}
        family = _tasks(learner, self.data, **{n: v for n, v in changes.items() if v is not None})
        estimate = evaluate(
            learner,
            family,
            self.tasks,
            inner_steps=self.inner_steps,
            inner_lr=self.inner_lr,
            mask=self.mask,
            metrics=None if self.metrics is None else {name: name for name in self.metrics},
            seed=self.seed,
            devices=self.devices,
        )
        print(json.dumps(estimate.to_json(), indent=2, allow_nan=False) if self.json else estimate)
        estimate.save(scores)


@dataclasses.dataclass(frozen=True)
class Adapt:
    """Learns a new task from a few examples, and predicts others: images by class, or rows of a table.

    Attributes:
      run: folder of a run, or the name of a learner that ships (`mtnets learners`).
      support: folder with one folder of images per class; or a table, .csv or .parquet, with the target column. Where
        it has the task column too, each task is learned on its own.
      query: folder of images, or of class folders; or a table.
      out: CSV file for the predictions, and for each class its probability. Defaults to standard output.
      inner_steps: gradient steps. Defaults to those of training.
      interval: share of the targets that intervals are to cover, 0.9, whose ends stand beside each prediction of a
        number: those that the loss predicts (gaussian, quantile) or that masks spread.
      calibrated: make them as wide as validation tasks of training need, for any loss.
      masks: with how many masks each task is learned, 16, for methods that draw some. Defaults to one.
      data: where the data of training are now, to calibrate. Defaults to where they were.
    """

    example: ClassVar[str] = "mtnets adapt omniglot-any-way-1shot --support my/classes --query my/images"

    run: Run
    support: AnyPath
    query: AnyPath
    out: FilePath = ""
    inner_steps: int | None = None
    interval: float | None = None
    calibrated: bool = False
    masks: int | None = None
    data: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.errors import OptionError
        from mtnets.files import check_place
        from mtnets.learner import load, predict_files

        if self.calibrated and self.interval is None:
            raise OptionError("calibrated is True without an interval; say which share is to be covered: interval=0.9.")
        if self.out:
            check_place(self.out)
        learner = load(self.run)
        predictions = predict_files(
            learner,
            self.support,
            self.query,
            inner_steps=self.inner_steps,
            masks=self.masks,
            interval=self.interval,
            calibrate=_tasks(learner, self.data) if self.calibrated else None,
        )
        if self.out:
            predictions.save(self.out)
            print(f"{len(predictions.rows)} predictions written to {self.out}")
        elif sys.stdout.isatty():
            rows = [[printable(str(cell)) for cell in row] for row in (predictions.titles, *predictions.rows)]
            print(dataclasses.replace(predictions, titles=tuple(rows[0]), rows=rows[1:]), end="")
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(bytes(predictions))
        if predictions.score:
            print(predictions.score, file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Examines a learner: is its meta-gradient right, does every layer learn, does adaptation help, and what to try.

    Attributes:
      run: folder of a run, or the name of a learner that ships (`mtnets learners`).
      tasks: number of test tasks.
      inner_steps: steps of the learning curve. Defaults to twice the steps of training, and at least 5.
      data: where the data are now. Defaults to where they were in training.
      skip_differences: do not check the meta-gradient by finite differences, which takes longest.
      json: print one JSON object.
      out: file for the picture. Defaults to doctor.png in the run's folder.
    """

    example: ClassVar[str] = "mtnets doctor runs/sine --tasks 200"

    run: Run
    tasks: int = 200
    inner_steps: int | None = None
    data: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None
    skip_differences: bool = False
    json: bool = False
    out: FilePath = ""

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.analysis import diagnose
        from mtnets.analysis.figures import check_can_draw
        from mtnets.devices import use_cores
        from mtnets.files import check_place, write_json
        from mtnets.learner import load

        picture, record = Path(self.out or _folder(self.run) / "doctor.png"), _folder(self.run) / "doctor.json"
        check_place(picture)  # before the work
        check_place(record)
        check_can_draw()
        use_cores()
        learner = load(self.run)
        diagnosis = diagnose(
            learner,
            _tasks(learner, self.data),
            self.tasks,
            inner_steps=self.inner_steps,
            finite_differences=not self.skip_differences,
        )
        write_json(record, diagnosis.to_json())
        print(json.dumps(diagnosis.to_json(), indent=2, allow_nan=False) if self.json else diagnosis)
        diagnosis.plot(picture)
        print(f"Picture: {picture}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Lists the layers of a learner's network: shapes, which move, and how many numbers are meta-learned for each.

    Attributes:
      run: folder of a run, or the name of a learner that ships (`mtnets learners`).
      json: print one JSON object.
    """

    example: ClassVar[str] = "mtnets summary omniglot-any-way-1shot"

    run: Run
    json: bool = False

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.analysis import summarise
        from mtnets.learner import load

        learner = load(self.run)
        summary = summarise(learner.model, learner.method, learner.inner_steps)
        print(json.dumps(summary.to_json(), indent=2) if self.json else summary)


@dataclasses.dataclass(frozen=True)
class Report:
    """Writes a page on a run: how it went, how well it does, what moves, examples. Several runs stand side by side.

    Attributes:
      runs: folder of a run; or several, or folders with a folder for each seed, or that of a sweep.
      out: the file. Defaults to report.html in the folder; several runs need one.
      data: where the data are now, for examples of a single run. Defaults to where they were in training.
    """

    example: ClassVar[str] = "mtnets report runs/maml runs/mt-net --out report.html"

    runs: tyro.conf.Positional[tuple[str, ...]]
    out: str | None = None
    data: str | None = None

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.reports import report

        print(report(self.runs[0] if len(self.runs) == 1 else self.runs, self.out, data=self.data))


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compares two runs, or two folders of seeds, task by task on the same test tasks, and says what can be concluded.

    Attributes:
      one: folder of a run, or one with a folder for each seed.
      other: the same; differences are positive where this one is better.
      metric: the score. Defaults to that by which both have chosen their best learner.
      json: print one JSON object.
      plot: file for a picture of the differences, a PNG.
    """

    example: ClassVar[str] = "mtnets compare runs/maml runs/mt-net"

    one: Run
    other: Run
    metric: str | None = None
    json: bool = False
    plot: str | None = None

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.files import check_place
        from mtnets.reports import compare

        if self.plot is not None:
            check_place(self.plot)
        comparison = compare(self.one, self.other, metric=self.metric)
        print(json.dumps(comparison.to_json(), indent=2, allow_nan=False) if self.json else comparison)
        if self.plot is not None:
            comparison.plot(self.plot)
            print(f"Picture: {self.plot}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Methods:
    """Lists the methods: one inner step, what is learned, how many numbers for a network, options, paper.

    Attributes:
      mlp: count for a multilayer perceptron of these sizes.
      conv4: count for a conv-4 for Omniglot with this many ways instead.
      run: count for the network of this run instead.
      inner_steps: of training; some methods learn numbers for each step.
      json: print one JSON object.
    """

    example: ClassVar[str] = "mtnets methods --mlp 1 40 40 1"

    mlp: tuple[int, ...] = (1, 40, 40, 1)
    conv4: int | None = None
    run: Annotated[str, tyro.conf.arg(metavar="RUN")] = ""
    inner_steps: int = 1
    json: bool = False

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.analysis import catalogue
        from mtnets.learner import load
        from mtnets.networks import models

        what, model = f"an MLP {'-'.join(map(str, self.mlp))}", models.mlp(*self.mlp)
        if self.conv4 is not None:
            what, model = f"a conv-4 of {self.conv4} ways", models.conv4(self.conv4)
        if self.run:
            what, model = f"the network of {self.run}", load(self.run).model
        entries = list(catalogue(model, self.inner_steps))
        if self.json:
            print(json.dumps([entry._asdict() for entry in entries], indent=2))
            return
        rows = []
        for e in entries:
            count = "–" if e.parameters is None else f"{e.parameters:,}"
            options = ", ".join(f"{name.replace('_', '-')} {value}" for name, value in e.options.items())
            rows.append((e.name.replace("_", "-"), e.step, e.learned, e.estimator, count, options, e.paper))
        titles = (
            "method",
            "one inner step",
            "learned besides the start",
            "meta-gradient",
            "numbers",
            "options",
            "paper",
        )
        print_table(titles, rows, numbers=("numbers",))
        print(f"numbers: all that is meta-learned for {what}, its own weights included; –: does not apply to it.")


@dataclasses.dataclass(frozen=True)
class Losses:
    """Lists losses and metrics: `mtnets train FAMILY --loss NAME --metrics NAME NAME`.

    Attributes:
      json: print one JSON object.
    """

    example: ClassVar[str] = "mtnets losses --json"

    json: bool = False

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.analysis import losses_and_metrics

        losses, metrics = losses_and_metrics()
        if self.json:
            lists = {"losses": losses, "metrics": metrics}
            plain = {name: [entry._asdict() for entry in entries] for name, entries in lists.items()}
            print(json.dumps(plain, indent=2, ensure_ascii=False))
            return
        print_table(
            ("loss", "for one example", "targets", "options"), [(e.name, e.about, e.targets, e.options) for e in losses]
        )
        print()
        print_table(
            ("metric", "what it is", "targets", "better"), [(e.name, e.about, e.targets, e.better) for e in metrics]
        )


@dataclasses.dataclass(frozen=True)
class Learners:
    """Lists the learners that ship: `mtnets adapt NAME`, `mtnets evaluate NAME`, `mtnets.load("NAME")`.

    Attributes:
      json: print one JSON object.
    """

    example: ClassVar[str] = "mtnets learners --json"

    json: bool = False

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.shipped import learners

        cards = {name: learners.card(name) for name in learners.names()}
        if self.json:
            print(json.dumps(cards, indent=2, ensure_ascii=False))
            return
        rows = [(name, card["about"], card["score"], card["data"], card["licence"]) for name, card in cards.items()]
        print_table(("name", "what it does", "score", "trained on", "licence"), rows)


@dataclasses.dataclass(frozen=True)
class Recipes:
    """Lists the recipes, whole configurations of trainings: `mtnets train FAMILY --config NAME`.

    Attributes:
      json: print one JSON object.
    """

    example: ClassVar[str] = "mtnets recipes --json"

    json: bool = False

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.shipped import recipes

        shipped = {name: recipes.read(name) for name in recipes.names()}
        if self.json:
            print(json.dumps(shipped, indent=2, ensure_ascii=False))
            return
        rows = [(name, recipe["tasks"]["family"], recipe["about"]) for name, recipe in shipped.items()]
        print_table(("name", "family", "what"), rows)


@dataclasses.dataclass(frozen=True)
class Data:
    """Fetches the archives of a data set over HTTPS, checks them, and unpacks them once into a cache.

    Attributes:
      name: the data set.
      root: folder for the archives. Defaults to $MTNETS_DATA, then to data.
    """

    example: ClassVar[str] = "mtnets data omniglot --root data"

    name: tyro.conf.Positional[Literal["omniglot"]]
    root: FolderPath = ""

    def __call__(self) -> None:
        """Runs the command."""
        from mtnets.tasks.archives import data_root
        from mtnets.tasks.families.omniglot import download

        root = data_root(self.root)
        download(root)
        print(f"Omniglot is in {root}; train with: mtnets train omniglot --root {root}")


COMMANDS: dict[str, type] = {
    "evaluate": Evaluate,
    "adapt": Adapt,
    "doctor": Doctor,
    "summary": Summary,
    "report": Report,
    "compare": Compare,
    "methods": Methods,
    "losses": Losses,
    "learners": Learners,
    "recipes": Recipes,
    "data": Data,
}


def _tasks(learner: Any, data: str | None, **changes: Any) -> Any:
    """The tasks of a learner's training, their data read from where they are now."""
    from mtnets.tasks import family_from_record

    return family_from_record(learner.record.get("tasks", {}), data=data, **changes)


def _folder(run: str) -> Path:
    """The folder for reports on a learner: its own, or one below `runs` for a learner that ships."""
    return Path(run) if Path(run).is_dir() else Path("runs") / run
