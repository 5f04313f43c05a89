"""`mtnets reproduce updrs`: does meta-learning pay off a toy? Parkinson's telemonitoring; a patient is a task.

42 patients recorded their voice at home for half a year, some 140 times each. From 16 measures of a recording, age, sex
and time, the severity of the disease (total UPDRS, 7 to 55 points) is predicted for a patient never seen before, of
whom 5 or 10 recordings with their UPDRS are known: drawn at random from all (the queries are the others), or the
earliest (the queries are all later ones), as in real use.

Patients are split into folds: each in turn is test, the next one validation, the others are training. Every predictor
is scored on the very same support and query rows, and whatever is chosen is chosen on the validation patients of the
fold. For random supports networks are meta-trained on random supports and queries; for the earliest on any run of
neighbouring recordings as support and later ones as queries. NAME_offset is NAME shifted by its mean residual on the
support.

Three things to know of these data. UPDRS was assessed three times, and what the file has for a recording lies on a
straight line between two of these assessments. So a patient's own mean is hard to beat; with recordings from all over
the half year interpolation in time needs no voice at all; and a line through the first two days foretells the next
assessment, from which it was drawn: no such thing is known in use. Recordings come in sixes of one day: the earliest 5
are of one day, the earliest 10 of two. Nothing but the support tells a new patient's level: what is trained on other
patients alone does no better than their mean.

References:
  Tsanas, Little, McSharry & Ramig, Accurate Telemonitoring of Parkinson's Disease Progression by Noninvasive Speech
  Tests, IEEE Transactions on Biomedical Engineering 57(4), 2010 (online 2009).
"""

import contextlib
import csv
import dataclasses
import functools
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental.compilation_cache import compilation_cache

from mtnets.errors import DataError, OptionError
from mtnets.inner.loop import Inner, inner_loop, starting_point
from mtnets.inner.methods import METHODS, Method
from mtnets.inner.task import Batch
from mtnets.learner.evaluate import TEST_SEED
from mtnets.learner.learner import Learner
from mtnets.networks import models
from mtnets.networks.model import Model
from mtnets.outer.train import meta_train
from mtnets.reproduce.baselines import Candidate, Floats, Groups, Trials, baselines, choose, errors, shifted
from mtnets.reproduce.parts import check, make_parts, settings_of
from mtnets.reproduce.summary import interval95
from mtnets.tasks.families.omniglot import data_root
from mtnets.tasks.families.sinusoid import check_counts
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.sampling.rows import Rows

FILES = ("parkinsons_updrs.csv", "parkinsons_updrs.data")  # the latter is the name in the archive of UCI
SOURCE = "https://archive.ics.uci.edu/dataset/189/parkinsons+telemonitoring (UCI, Tsanas et al. 2009)"
PATIENT, TIME = "subject#", "test_time"
TARGETS = ("motor_UPDRS", "total_UPDRS")
# Positive and skewed: some recordings are 17 spreads away from the mean, but not their logarithms.
LOGARITHMIC = (
    *("Jitter(%)", "Jitter(Abs)", "Jitter:RAP", "Jitter:PPQ5", "Jitter:DDP"),
    *("Shimmer", "Shimmer(dB)", "Shimmer:APQ3", "Shimmer:APQ5", "Shimmer:APQ11", "Shimmer:DDA", "NHR"),
)
VOICE = (*LOGARITHMIC, "HNR", "RPDE", "DFA", "PPE")
FEATURES = ("age", "sex", TIME, *VOICE)
Support = Literal["random", "earliest"]
# Of methods whose bare form is not what one would use.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "t_net": {"sides": 2, "rates": "weight"},
    "mt_net": {"sides": 2, "rates": "weight"},
    "maml_plus_plus": {"per_step_offsets": False},
    "imaml": {"proximal": 0.1, "damping": 10.0},
}
SPLIT_SEED = 0
INNER_STEPS = 5
CLIP = 10.0  # norm of a task's gradient
QUERIES = 20  # of a task in meta-training
POOLED_BATCH = 64
CACHE = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
FINE_TUNING = {"steps": (10, 100, 300), "inner_lr": (0.1, 0.3, 1.0)}


@dataclasses.dataclass(frozen=True)
class Updrs:
    """Parkinson's telemonitoring: meta-learning against strong and simple predictors, on new patients.

    Attributes:
      methods: which methods are meta-trained.
      shots: known recordings of a new patient.
      supports: which ones: at random, or the earliest.
      folds: parts that the patients are split into.
      seeds: number of seeds of every network.
      inner_lrs: inner rates α to choose from.
      meta_steps: length of each meta-training.
      pooled_steps: length of the training of the network that knows no patients.
      hidden: units of each hidden layer of all networks.
      draws: random supports of each test patient.
      target: total_UPDRS or motor_UPDRS.
      root: folder with parkinsons_updrs.csv (or .data); `$MTNETS_DATA`, else `data`, where it is empty.
      out: folder for one JSON per number of shots and kind of support.
    """

    methods: tuple[str, ...] = ("maml", "meta_sgd", "mt_net", "t_net")
    shots: tuple[int, ...] = (5, 10)
    supports: tuple[Support, ...] = get_args(Support)
    folds: int = 6
    seeds: int = 1
    inner_lrs: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    meta_steps: int = 500
    pooled_steps: int = 1000
    hidden: tuple[int, ...] = (40, 40)
    draws: int = 20
    target: Literal["total_UPDRS", "motor_UPDRS"] = "total_UPDRS"
    root: str = ""
    out: str = "results/reproduce/updrs"

    def __call__(self) -> None:
        """Runs the command."""
        least = {"seeds": 1, "meta_steps": 1, "pooled_steps": 32, "draws": 1, "folds": 3}
        check(self, least, {"supports": get_args(Support)})
        for shots in self.shots:
            check_counts(shots=shots)
        names = [f"{k}-{support}" for support in self.supports for k in self.shots]
        with compiled_once():
            make_parts(self.out, names, self.part, settings=settings_of(self, "shots", "supports"))

    def part(self, name: str) -> dict[str, Any]:
        """Every predictor at a number of shots and a kind of support, on all patients."""
        first, support = name.split("-")
        shots = int(first)
        patients = read(find(data_root(self.root)), self.target)
        splits = split(sorted(patients, key=int), self.folds)
        draws = self.draws if support == "random" else 1
        setup = _Setup(
            models.mlp(len(FEATURES), *self.hidden, 1, init_std=0.1),  # a short training cannot start from .01
            {name: METHODS[name](inner_clip=CLIP, **OPTIONS.get(name, {})) for name in self.methods},
            METHODS["maml"](0.0, inner_clip=CLIP),
            shots,
            support == "earliest",
            draws,
        )
        folds = []
        for i, parts in enumerate(splits):
            print(f"{name}: fold {i + 1} of {self.folds}", file=sys.stderr, flush=True)
            folds.append(self._fold(setup, {kind: {p: patients[p] for p in names} for kind, names in parts.items()}))
        jax.clear_caches()  # programs of this part, of no use to the next, would fill the memory
        return {
            "command": "mtnets reproduce updrs",
            "shots": shots,
            "support": support,
            "num_patients": len(patients),
            "draws": draws,
            "methods": {name: method.to_json() for name, method in setup.methods.items()},
            "folds": splits,
            "patients": [p for parts in splits for p in parts["test"]],
            "predictors": summaries(folds),
        }

    def _fold(self, setup: "_Setup", patients: Mapping[str, Groups]) -> dict[str, Any]:
        """Per predictor: errors on each test patient in points of UPDRS, and what was chosen on validation patients."""
        groups, spread = standardised(patients)
        most = max(len(y) for part in groups.values() for _, y in part.values())
        validation, test = (
            trials(groups[part], setup.shots, setup.draws, setup.ahead, most) for part in ("validation", "test")
        )
        found: dict[str, Any] = {}
        for name, candidates in {
            **baselines(groups["train"], FEATURES.index(TIME)),
            **self._pooled(setup, groups, sum(len(y) for part in groups.values() for _, y in part.values())),
            **{name: self._meta_trained(setup, method, groups, most) for name, method in setup.methods.items()},
        }.items():
            variants = {name: candidates}
            if name in setup.methods:
                variants[f"{name}_offset"] = [Candidate(each.setting, shifted(each.predict)) for each in candidates]
            for variant, of_variant in variants.items():
                best = choose(of_variant, validation)
                scores = errors(best.predict(test), test)
                found[variant] = {metric: spread * score for metric, score in scores.items()} | {"choice": best.setting}
        return found

    def _pooled(self, setup: "_Setup", groups: Mapping[str, Groups], most: int) -> dict[str, list[Candidate]]:
        """A network trained on rows of all training patients alike, as it is at several lengths of training: without
        adaptation, shifted by the mean residual of the support, and fine-tuned on the support."""
        kept: dict[int, list[Learner]] = {}
        lengths = [self.pooled_steps // 32 * k for k in (1, 4, 16, 32)]

        def keep(step: int, learners: list[Learner]) -> None:
            if step in lengths:
                kept[step] = learners

        # without inner steps, a task of the only group is a batch of rows
        train, validation = (
            _rows({"all": _together(groups[part])}, most, shots=1, queries=POOLED_BATCH)
            for part in ("train", "validation")
        )
        recipe = Recipe(inner_lr=0.0, inner_steps=0, meta_batch=1, meta_steps=lengths[-1])
        meta_train(
            setup.model,
            setup.plain,
            Family(train, validation, validation, "mse", recipe, lambda: setup.model),
            seed=list(range(self.seeds)),
            schedule="cosine",
            validate_every=lengths[0],
            validation_tasks=1,  # of no consequence
            progress=False,
            callback=keep,
        )
        plain = [({"steps": step}, adapted(learners)) for step, learners in kept.items()]
        tuned = [
            Candidate(
                {"steps": step, "inner_steps": inner_steps, "inner_lr": rate},
                adapted([dataclasses.replace(each, inner_steps=inner_steps, inner_lr=rate) for each in learners]),
            )
            for step, learners in kept.items()
            for inner_steps in FINE_TUNING["steps"]
            for rate in FINE_TUNING["inner_lr"]
        ]
        return {
            "network": [Candidate(*each) for each in plain],
            "network_offset": [Candidate(setting, shifted(predict)) for setting, predict in plain],
            "network_fine_tuned": tuned,
        }

    def _meta_trained(
        self, setup: "_Setup", method: Method, groups: Mapping[str, Groups], most: int
    ) -> list[Candidate]:
        """A network meta-trained with each inner rate, stopped where validation patients say."""
        train, validation = (
            _rows(groups[part], most, shots=setup.shots, queries=QUERIES, ahead=setup.ahead, split=part)
            for part in ("train", "validation")
        )
        recipe = Recipe(inner_lr=0.0, inner_steps=INNER_STEPS, meta_batch=4, meta_steps=self.meta_steps)
        learners = meta_train(
            setup.model,
            method,
            Family(train, validation, validation, "mse", recipe, lambda: setup.model),
            seed=list(range(self.seeds)),
            inner_lr=self.inner_lrs,
            schedule="cosine",
            # over the whole training, not a third of it: one program to compile instead of two
            multi_step_loss=self.meta_steps if method.estimator.weighs_steps else 0,
            skip_nonfinite=self.meta_steps,  # a run that fails must not end those beside it
            validate_every=max(1, self.meta_steps // 7),
            tasks_at_once=1,
            progress=False,
        )
        # the very method: what is the same in all folds is compiled once
        learners = [dataclasses.replace(learner, method=method) for learner in learners]
        candidates = []
        for i, rate in enumerate(self.inner_lrs):
            group = learners[i * self.seeds : (i + 1) * self.seeds]
            stops = [learner.record["meta_step"] for learner in group]
            candidates.append(Candidate({"inner_lr": rate, "meta_step": stops}, adapted(group)))
        return candidates


class _Setup(NamedTuple):
    """What all folds of a part have in common."""

    model: Model
    methods: Mapping[str, Method]
    plain: Method  # gradient descent
    shots: int
    ahead: bool
    draws: int


# --- data


def find(root: Path) -> Path:
    """The file in a folder. Raises DataError if it is not there."""
    for name in FILES:
        if (root / name).is_file():
            return root / name
    raise DataError(
        f"Parkinson's telemonitoring is not in {root}: expected {' or '.join(FILES)} there; it is published at "
        f"{SOURCE}. Fetch it, or set --root or MTNETS_DATA."
    )


def read(path: Path, target: str = "total_UPDRS") -> dict[str, tuple[Floats, Floats]]:
    """Features `[recordings, 19]` and target `[recordings, 1]` of each patient, in order of time; jitter, shimmer and
    NHR as logarithms.

    Raises:
      DataError: a column is missing, a line has another number of cells than the header, a cell is no finite number, or
        one to take the logarithm of is not above 0.
    """
    if target not in TARGETS:
        raise OptionError(f"target is {target!r}; it must be {' or '.join(TARGETS)}.")
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *lines = [[cell.strip() for cell in line] for line in csv.reader(file)] or [[]]
    wanted = (PATIENT, *FEATURES, target)
    missing = [name for name in wanted if name not in header]
    if missing or not lines:
        what = f"no column {', '.join(missing)}" if missing else "no recordings"
        raise DataError(f"{path} has {what}; expected one recording a line below a header {','.join(wanted)}.")
    table = np.empty((len(lines), len(wanted)))
    for i, line in enumerate(lines):
        if len(line) != len(header):
            raise DataError(f"Line {i + 2} of {path} has {len(line)} cells; expected {len(header)}, as in the header.")
        for j, name in enumerate(wanted):
            where, logarithmic = f"{name} on line {i + 2} of {path}", name in LOGARITHMIC
            number = _number(line[header.index(name)], where, "a number above 0" if logarithmic else "a finite number")
            table[i, j] = np.log(number) if logarithmic else number
    numbers = table[:, 0]
    if (numbers != np.round(numbers)).any():
        i = int(np.argmax(numbers != np.round(numbers)))
        raise DataError(f"{PATIENT} on line {i + 2} of {path} is {numbers[i]}; expected a whole number.")
    patients = {}
    for patient in np.unique(numbers):
        rows = table[numbers == patient, 1:]
        rows = rows[np.argsort(rows[:, FEATURES.index(TIME)], kind="stable")]
        patients[str(int(patient))] = rows[:, :-1], rows[:, -1:]
    return patients


def _number(cell: str, where: str, expected: str) -> float:
    with contextlib.suppress(ValueError):
        number = float(cell)
        if np.isfinite(number) and (number > 0 or "above 0" not in expected):
            return number
    raise DataError(f"{where} is {cell!r}; expected {expected}.")


def split(names: Sequence[str], folds: int) -> list[dict[str, list[str]]]:
    """Each fold in turn is test, the next one validation, the others are training."""
    if len(names) < folds:
        raise OptionError(f"folds is {folds}, more than the {len(names)} patients; use fewer.")
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(names)
    parts = [[str(name) for name in part] for part in np.array_split(shuffled, folds)]
    return [
        {
            "train": [p for j in range(2, folds) for p in parts[(i + j) % folds]],
            "validation": parts[(i + 1) % folds],
            "test": parts[i],
        }
        for i in range(folds)
    ]


def standardised(patients: Mapping[str, Groups]) -> tuple[Mapping[str, Groups], float]:
    """Features and targets less their mean over their spread on training patients; and that spread of the target."""
    x, y = _together(patients["train"])
    (x_mean, x_spread), (y_mean, y_spread) = ((a.mean(0), np.where(a.std(0) > 0, a.std(0), 1.0)) for a in (x, y))
    groups = {
        part: {name: ((x - x_mean) / x_spread, (y - y_mean) / y_spread) for name, (x, y) in tables.items()}
        for part, tables in patients.items()
    }
    return groups, float(y_spread[0])


def _together(groups: Groups) -> tuple[Floats, Floats]:
    """The rows of all groups as one table."""
    return np.concatenate([x for x, _ in groups.values()]), np.concatenate([y for _, y in groups.values()])


def trials(groups: Groups, shots: int, draws: int, earliest: bool, most: int) -> Trials:
    """Supports of each patient, the earliest or at random, and all queries; tables are padded to `most` rows.

    The draws of a patient depend on its number alone; 5 rows are among the 10 of the same draw.
    """
    x, y, support, query = [], [], [], []
    for name, (features, targets) in groups.items():
        count = len(targets)
        if count <= shots:
            raise DataError(f"Patient {name} has {count} recordings; {shots} shots leave none to predict.")
        random = np.random.default_rng([TEST_SEED, int(name)])
        for _ in range(draws):
            places = np.arange(shots) if earliest else np.sort(random.permutation(count)[:shots])
            support.append(places)
            query.append((np.arange(most) < count) & ~np.isin(np.arange(most), places))
            x.append(np.pad(features, ((0, most - count), (0, 0))))
            y.append(np.pad(targets[:, 0], (0, most - count)))
    return Trials(np.stack(x), np.stack(y), np.stack(support), np.stack(query), draws)


def _rows(groups: Groups, most: int, **options: Any) -> Rows:
    """Tasks from patients, padded to `most` rows: programs for other shapes are other programs."""
    rows = Rows.of(groups, **options)
    padding = ((0, 0), (0, most - rows.x.shape[1]), (0, 0))
    return dataclasses.replace(rows, x=jnp.pad(rows.x, padding), y=jnp.pad(rows.y, padding))


# --- networks


def adapted(learners: Sequence[Learner]) -> Any:
    """The predictor that adapts each of several learners to the support."""

    def predict(trials: Trials) -> Floats:
        support = Batch(_single(trials.support_x), _single(trials.support_y)[..., None])
        keys = jax.random.split(jax.random.key(TEST_SEED), len(trials.y))
        x = _single(trials.x)
        each = [_adapted(one.inner, (one.meta, one.state, one.inner_lr), support, x, keys) for one in learners]
        return np.stack(each).astype(np.float64)

    return predict


def _single(array: Floats) -> Array:
    return jnp.asarray(array, jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def _adapted(inner: Inner, learned: Any, support: Batch, x: Array, keys: Array) -> Array:
    """Predictions `[trials, rows]` of one learner after its inner steps."""
    meta, state, inner_lr = learned
    start, rule = starting_point(inner, meta), inner.method.test_rule or inner.method.rule

    def one(support: Batch, x: Array, key: Array) -> Array:
        params, state_after, *_ = inner_loop(inner, start, state, inner_lr, support, key, rule=rule)
        return inner.model.apply(params, state_after, x, None)[0][:, 0]

    return jax.vmap(one)(support, x, keys)


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """Programs that are the same in all folds but for their data are compiled once; that is most of the time else."""
    if getattr(jax.config, CACHE[0]):  # the user's own
        yield
        return
    before = [getattr(jax.config, name) for name in CACHE]
    with tempfile.TemporaryDirectory(prefix="mtnets-") as folder:
        try:
            _configure(folder, 0.2)
            yield
        finally:
            _configure(*before)


def _configure(*values: Any) -> None:
    for name, value in zip(CACHE, values, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it looks where it is only once


# --- scores


def summaries(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Per predictor, over the test patients of all folds: each error, and what it is above that of the patient's own
    mean (below 0 is better), as mean and half-width of the 95 % interval over patients (Student's t)."""
    found = {}
    for name in folds[0]:
        scores = {m: np.concatenate([fold[name][m] for fold in folds]) for m in ("mae", "rmse")}
        own = {m: np.concatenate([fold["own_mean"][m] for fold in folds]) for m in scores}
        found[name] = {
            **{metric: _mean_and_interval(score) for metric, score in scores.items()},
            "above_own_mean": {metric: _mean_and_interval(scores[metric] - own[metric]) for metric in scores},
            "patients": {metric: score.tolist() for metric, score in scores.items()},
            "choices": [fold[name]["choice"] for fold in folds],
        }
    return found


def _mean_and_interval(values: Floats) -> dict[str, float]:
    return {"mean": float(values.mean()), "ci95": float(interval95(values))}
