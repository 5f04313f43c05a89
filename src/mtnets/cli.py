"""The command line: `mtnets train | evaluate | adapt | doctor | …`. Options are fields of dataclasses."""

import dataclasses
import inspect
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_type_hints

import tyro
from rich.console import Console
from rich.table import Table

import mtnets
from mtnets.analysis.catalogue import catalogue
from mtnets.analysis.doctor import diagnose
from mtnets.devices import cores, use_cores
from mtnets.errors import MtnetsError, OptionError
from mtnets.files import write_json
from mtnets.inner.folds import Kind
from mtnets.inner.methods import METHODS, MetaGradient, Method
from mtnets.inner.rules import MaskUse, Rates
from mtnets.learner.evaluate import TEST_SEED, evaluate
from mtnets.learner.learner import Learner, load
from mtnets.learner.predictions import predict_files
from mtnets.outer.train import Training, meta_train
from mtnets.serialisation import from_json
from mtnets.shipped import learners, recipes
from mtnets.tasks import FAMILIES, Family, rebuild
from mtnets.tasks.families.omniglot import data_root, download

if TYPE_CHECKING:
    Names = str
else:
    Names = Literal[tuple(name.replace("_", "-") for name in METHODS)]


@dataclasses.dataclass(frozen=True)
class MethodOptions:
    """How the network adapts.

    Attributes:
      method: the method, one point of the update rule.
      inner_lr: inner rate α on the mean loss; the task family's unless given.
      meta_gradient: the estimator; the method's own unless given.
      last_steps: inner steps that the truncated estimator differentiates through.
      adapts: which layers move: all, head, body, first, or the names of layers; the method's own choice unless given.
      proximal: pull of the weights toward their start, λ of λ/2 |w − θ|².
      inner_clip: clips the norm of a task's gradient; as the task family does unless given.
      inner_optimiser: what makes a direction of a task's gradients: sgd, momentum or adam.
      per_step_offsets: learn scales and offsets of normalisation apart for each inner step.
      rates: fixed, or learned per weight or per layer-step; methods with a choice of rates only.
      sides: of the metric: 1 (outputs) or 2 (inputs too); methods with a metric only.
      metric: how it is stored: full, low-rank (I + U Vᵀ), for wide layers, or diagonal; methods with a metric only.
      rank: of a low-rank metric: columns of U and V; methods with a metric only.
      mask: how masks are used at test: sample (the paper's), mean or threshold; methods with masks only.
      temperature: of the masks' Gumbel-softmax; methods with masks only.
      factors: of meta-curvature: some of o, i, f.
      context: elements of CAVIA's context vector.
      cg_steps: steps of conjugate gradients; imaml only.
      damping: of that; imaml only.
      start: of sparse-maml's logits.
    """

    method: Names = "mt-net"
    inner_lr: float | None = None
    meta_gradient: MetaGradient | None = None
    last_steps: int | None = None
    adapts: tuple[str, ...] | None = None
    proximal: float | None = None
    inner_clip: float | None = None
    inner_optimiser: Literal["sgd", "momentum", "adam"] | None = None
    per_step_offsets: bool | None = None
    rates: Rates | None = None
    sides: Literal[1, 2] | None = None
    metric: Kind | None = None
    rank: int | None = None
    mask: MaskUse | None = None
    temperature: float | None = None
    factors: str | None = None
    context: int | None = None
    cg_steps: int | None = None
    damping: float | None = None
    start: float | None = None

    def build(self) -> Method:
        """The method; options left out are its own."""
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        name = given.pop("method").replace("-", "_")
        if len(given.get("adapts", ())) == 1:
            given["adapts"] = given["adapts"][0]
        known = inspect.signature(METHODS[name]).parameters
        for option in given:
            if option not in known:
                raise OptionError(f"{name} has no option {option!r}; it has {', '.join(known)}.")
        return METHODS[name](**given)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where the run goes.

    Attributes:
      seed: of the starting weights and of all tasks.
      out: folder for config, metrics, checkpoints, the best learner and its result; runs/FAMILY-METHOD unless given.
      resume: go on from the last checkpoint in that folder.
      overwrite: empty that folder first.
      quiet: show no progress.
    """

    seed: int = 0
    out: str = ""
    resume: bool = False
    overwrite: bool = False
    quiet: bool = False


def train(family: str, options: Any) -> None:
    """Meta-trains a learner on a family of tasks."""
    use_cores(options.training.devices or (1 if family in ("sinusoid", "polynomial") else cores()))
    built = options.tasks.build()
    folder = Path(options.run.out or f"runs/{family}-{options.method.method}")
    learner = meta_train(
        None,
        options.method.build(),
        built,
        seed=options.run.seed,
        out=folder,
        resume=options.run.resume,
        overwrite=options.run.overwrite,
        progress=not options.run.quiet,
        **dataclasses.asdict(options.training),
    )
    result = json.loads((folder / "result.json").read_text())
    test = result["test"]
    last = test["inner_steps"][-1]
    mean = "not finite" if last["mean"] is None else f"{last['mean']:.4f} ± {last['ci95'] or 0:.4f}"
    print(
        f"{test['metric']} {mean} on {test['num_tasks']} test tasks after {last['step']} "
        f"inner step{'s' * (last['step'] != 1)} "
        f"({learner.record['meta_step']} meta-steps, batch norm: {learner.model.norm}); written to {folder}"
    )


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Scores a learner on test tasks, per inner step.

    Attributes:
      run: folder of a run, or the name of a learner that ships (`mtnets learners`).
      tasks: number of test tasks.
      inner_steps: gradient steps; those of training unless given.
      shots: support examples (of each class); those of training unless given.
      queries: query examples (of each class); those of training unless given.
      root: where the data are now, if not where they were.
      mask: how masks are used: sample, mean or threshold; as in training unless given.
      seed: of the tasks; the default is one fixed stream, the same for all methods.
      devices: CPU devices that share the tasks.
      json: print one JSON object.
      scores: file for the scores of every task; evaluation/scores.npz in the run's folder unless given.
    """

    run: tyro.conf.Positional[str]
    tasks: int = 600
    inner_steps: int | None = None
    shots: int | None = None
    queries: int | None = None
    root: str | None = None
    mask: MaskUse | None = None
    seed: int = TEST_SEED
    devices: int | None = None
    json: bool = False
    scores: str = ""

    def __call__(self) -> None:
        """Runs the command."""
        use_cores(cores() if self.devices is None else self.devices)
        learner = load(self.run)
        changes = {"shots": self.shots, "queries": self.queries}
        family = _tasks(learner, self.root, **{n: v for n, v in changes.items() if v is not None})
        estimate = evaluate(
            learner,
            family,
            self.tasks,
            inner_steps=self.inner_steps,
            mask=self.mask,
            seed=self.seed,
            devices=self.devices,
        )
        print(json.dumps(estimate.to_json(), indent=2, allow_nan=False) if self.json else estimate)
        estimate.save(self.scores or _folder(self.run) / "evaluation" / "scores.npz")


@dataclasses.dataclass(frozen=True)
class Adapt:
    """Learns a new task from a few examples, and predicts others: images by class, or rows of a table.

    Attributes:
      run: folder of a run, or the name of a learner that ships (`mtnets learners`).
      support: folder with one folder of images per class; or a table, .csv or .parquet, with the target column. Where
        it has the task column too, each task is learned on its own.
      query: folder of images, or of class folders; or a table.
      out: CSV file for the predictions, and for each class its probability; standard output unless given.
      inner_steps: gradient steps; those of training unless given.
    """

    run: tyro.conf.Positional[str]
    support: str
    query: str
    out: str = ""
    inner_steps: int | None = None

    def __call__(self) -> None:
        """Runs the command."""
        found = predict_files(load(self.run), self.support, self.query, inner_steps=self.inner_steps)
        if self.out:
            found.save(self.out)
            print(f"{len(found.rows)} predictions written to {self.out}")
        else:
            print(found, end="")
        if found.score:
            print(found.score, file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Examines a learner: is its meta-gradient right, does every layer learn, does adaptation help, and what to try.

    Attributes:
      run: folder of a run, or the name of a learner that ships (`mtnets learners`).
      tasks: number of test tasks.
      inner_steps: how far the curve goes; twice those of training, at least 5, unless given.
      root: where the data are now, if not where they were.
      skip_differences: do not check the meta-gradient by finite differences, which takes longest.
      json: print one JSON object.
      out: picture; doctor.png in the run's folder unless given.
    """

    run: tyro.conf.Positional[str]
    tasks: int = 200
    inner_steps: int | None = None
    root: str | None = None
    skip_differences: bool = False
    json: bool = False
    out: str = ""

    def __call__(self) -> None:
        """Runs the command."""
        use_cores(cores())
        learner = load(self.run)
        family = _tasks(learner, self.root)
        found = diagnose(
            learner, family, self.tasks, inner_steps=self.inner_steps, finite_differences=not self.skip_differences
        )
        write_json(_folder(self.run) / "doctor.json", found.to_json())
        print(json.dumps(found.to_json(), indent=2, allow_nan=False) if self.json else found)
        picture = Path(self.out or _folder(self.run) / "doctor.png")
        found.plot(picture)
        print(f"Picture: {picture}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Lists the layers of a learner's network: shapes, which move, and how many numbers are meta-learned for each.

    Attributes:
      run: folder of a run, or the name of a learner that ships (`mtnets learners`).
      json: print one JSON object.
    """

    run: tyro.conf.Positional[str]
    json: bool = False

    def __call__(self) -> None:
        """Runs the command."""
        learner = load(self.run)
        found = learner.model.summary(learner.method, learner.inner_steps)
        print(json.dumps(found.to_json(), indent=2) if self.json else found)


@dataclasses.dataclass(frozen=True)
class Methods:
    """Lists the methods: one inner step, what is learned, how many numbers for a network, paper.

    Attributes:
      mlp: sizes of a multilayer perceptron to count for.
      conv4: ways of a conv-4 for Omniglot to count for, instead.
      run: a run whose network to count for, instead.
      inner_steps: of training; some methods learn something for each.
      json: print one JSON object.
    """

    mlp: tuple[int, ...] = (1, 40, 40, 1)
    conv4: int | None = None
    run: str = ""
    inner_steps: int = 1
    json: bool = False

    def __call__(self) -> None:
        """Runs the command."""
        what, model = f"an MLP {'-'.join(map(str, self.mlp))}", mtnets.models.mlp(*self.mlp)
        if self.conv4 is not None:
            what, model = f"a conv-4 of {self.conv4} ways", mtnets.models.conv4(self.conv4)
        if self.run:
            what, model = f"the network of {self.run}", load(self.run).model
        entries = list(catalogue(model, self.inner_steps))
        if self.json:
            print(json.dumps([entry._asdict() for entry in entries], indent=2))
            return
        rows = []
        for e in entries:
            count = "–" if e.parameters is None else f"{e.parameters:,}"
            rows.append((e.name.replace("_", "-"), e.step, e.learned, e.estimator, count, e.paper))
        _table(("method", "one inner step", "learned besides the start", "meta-gradient", "numbers", "paper"), rows)
        print(f"numbers: all that is meta-learned for {what}, its own weights included; –: does not apply to it.")


@dataclasses.dataclass(frozen=True)
class Learners:
    """Lists the learners that ship: `mtnets adapt NAME`, `mtnets evaluate NAME`, `mtnets.load("NAME")`.

    Attributes:
      json: print one JSON object.
    """

    json: bool = False

    def __call__(self) -> None:
        """Runs the command."""
        cards = {name: learners.card(name) for name in learners.names()}
        if self.json:
            print(json.dumps(cards, indent=2, ensure_ascii=False))
            return
        rows = [(name, card["about"], card["score"], card["data"], card["licence"]) for name, card in cards.items()]
        _table(("name", "what it does", "score", "trained on", "licence"), rows)


@dataclasses.dataclass(frozen=True)
class Recipes:
    """Lists the recipes, whole configurations of trainings: `mtnets train FAMILY --config NAME`.

    Attributes:
      json: print one JSON object.
    """

    json: bool = False

    def __call__(self) -> None:
        """Runs the command."""
        found = {name: recipes.read(name) for name in recipes.names()}
        if self.json:
            print(json.dumps(found, indent=2, ensure_ascii=False))
            return
        _table(("name", "family", "what"), [(name, r["tasks"]["family"], r["about"]) for name, r in found.items()])


@dataclasses.dataclass(frozen=True)
class Data:
    """Fetches the archives of a data set over HTTPS, checks them, and unpacks them once into a cache.

    Attributes:
      name: of the data set.
      root: folder for the archives; $MTNETS_DATA, else data, unless given.
    """

    name: tyro.conf.Positional[Literal["omniglot"]]
    root: str = ""

    def __call__(self) -> None:
        """Runs the command."""
        root = data_root(self.root)
        download(root)
        print(f"Omniglot is in {root}; train with: mtnets train omniglot --root {root}")


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title == "numbers" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _tasks(learner: Learner, root: str | None, **changes: Any) -> Family:
    """The tasks of a learner's training, their data read from where they are now."""
    record = learner.record["tasks"]
    moved = {} if root is None else {"data" if record.get("family") == "table" else "root": root}
    return rebuild(record, **moved, **changes)


def _folder(run: str) -> Path:
    """Where what is found out about a learner is written: into its folder; below `runs` for one that ships."""
    return Path(run) if Path(run).is_dir() else Path("runs") / run


def train_options(family: str) -> type:
    """The options of `mtnets train FAMILY`, flat."""
    fields = [("tasks", FAMILIES[family]), ("method", MethodOptions), ("training", Training), ("run", RunOptions)]
    made = dataclasses.make_dataclass(
        f"Train{family.title()}",
        [(name, kind, dataclasses.field(default_factory=kind)) for name, kind in fields],
        frozen=True,
    )
    made.__doc__ = f"Meta-trains a learner on {family} tasks."
    return made


def from_config(kind: type, family: str, path: str, given: str | None = None) -> Any:
    """Options of a training from a recipe, or from the `config.json` or `result.json` of a run; those of its method
    only if no other is `given`."""
    try:
        shipped = path in recipes.names() and not Path(path).exists()
        config = recipes.read(path) if shipped else json.loads(Path(path).read_text())
        config = config.get("config", config)  # a result holds its configuration
        if not config.keys() >= {"tasks", "method", "training"}:
            raise OptionError(
                f"{path} is not a configuration; name the config.json or result.json of a run, or a recipe."
            )
        tasks, method = dict(config.get("tasks", {})), dict(config.get("method", {}))
        found = tasks.pop("family", family)
        if found != family:
            raise OptionError(f"{path} is for {found} tasks; run: mtnets train {found} --config {path}")
        if config.get("optimiser", "adam") != "adam":
            raise OptionError(f"{path} is of a run with an optimiser of its own; repeat it in Python.")
        name = method.pop("name", "mt_net")
        if name not in METHODS:
            raise OptionError(f"{path} is of a run with a method of its own, {name!r}; repeat it in Python.")
        if given and given.replace("-", "_") != name:  # the options are those of another method
            name, method = given.replace("-", "_"), {"inner_lr": method.get("inner_lr")}
        method["method"] = name.replace("_", "-")
        if isinstance(method.get("adapts"), str):
            method["adapts"] = (method["adapts"],)
        values = {"tasks": tasks, "method": method, "training": config.get("training", {})}
        hints = get_type_hints(kind)
        parts = {name: from_json(hints[name], value) for name, value in values.items()}
        return kind(**parts, run=RunOptions(seed=config.get("seed", 0)))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        if isinstance(error, MtnetsError):
            raise
        raise OptionError(f"{path} is not a configuration ({error}); name a config.json of a run.") from error


def main(args: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
      args: arguments; those of the process unless given.

    Returns:
      The exit status: 0, or 1 after one sentence on standard error.
    """
    args = sys.argv[1:] if args is None else args
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_: print(f"mtnets: {message}", file=sys.stderr)
            _parse(args)()
    except MtnetsError as error:
        print(f"mtnets: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"mtnets: {error.filename or 'a file'}: {error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mtnets: stopped; a run with a checkpoint goes on with --resume.", file=sys.stderr)
        return 130
    return 0


def _parse(args: list[str]) -> Callable[[], object]:
    """The command that the arguments ask for."""
    flat = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff)
    if args[:1] == ["train"] and len(args) > 1 and args[1] in FAMILIES:
        family, rest = args[1], args[2:]
        kind = train_options(family)
        default = None
        if "--config" in rest:
            at = rest.index("--config")
            if at + 1 == len(rest):
                raise OptionError("--config needs the path of a config.json.")
            path, rest = rest[at + 1], rest[:at] + rest[at + 2 :]
            given = rest[rest.index("--method") + 1 :][:1] if "--method" in rest else []
            default = from_config(kind, family, path, *given)
        about = f"{kind.__doc__} --config FILE starts from a recipe (mtnets recipes) or the config.json of a run."
        options: Any = tyro.cli(
            kind, args=rest, default=default, prog=f"mtnets train {family}", description=about, config=flat
        )
        return lambda: train(family, options)
    if args in (["--version"], ["-V"]):
        return lambda: print(f"mtnets {mtnets.__version__}")
    commands = [
        ("train", _Train),
        ("evaluate", Evaluate),
        ("adapt", Adapt),
        ("doctor", Doctor),
        ("summary", Summary),
        ("methods", Methods),
        ("learners", Learners),
        ("recipes", Recipes),
        ("data", Data),
    ]
    return tyro.cli(
        Union[tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in commands)],  # type: ignore[arg-type]  # noqa: UP007
        args=args,
        prog="mtnets",
        description="Few-shot learning by gradient descent: meta-train, evaluate, adapt.",
        config=flat,
    )


@dataclasses.dataclass(frozen=True)
class _Train:
    """Meta-trains a learner: mtnets train sinusoid | polynomial | glyphs | omniglot | miniimagenet | folder |
    table | tabular; --help
    after any of them lists its options."""

    def __call__(self) -> None:
        raise OptionError(f"Name a family of tasks: mtnets train {' | '.join(FAMILIES)}.")


if __name__ == "__main__":
    sys.exit(main())
