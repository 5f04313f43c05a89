"""Does meta-learning pay off a toy? Parkinson's telemonitoring; a patient is a task.

42 patients recorded their voice at home for half a year, some 140 times each. From 16 measures of a recording, age, sex
and time, the severity of the disease (total UPDRS, 7 to 55 points) is predicted for a patient never seen before, of
whom 5 or 10 recordings with their UPDRS are known: drawn at random from all (the queries are the others), or the
earliest (the queries are all later ones), as in real use.

Patients are split into folds: each in turn is test, the next one validation, the others are training. Every predictor
is scored on the same support and query rows, and every choice is made on the validation patients of the fold. For
random supports networks are meta-trained on random supports and queries; for the earliest on any run of neighbouring
recordings as support and later ones as queries. NAME_offset is NAME plus its mean residual on the support.

Three things to know of these data. UPDRS was assessed three times, and the values in the file lie on straight lines
between these assessments. So a patient's own mean is hard to beat; with recordings from all over the half year,
interpolation in time needs no voice at all; and a line through the first two days foretells the next assessment, from
which it was drawn: in real use it is not known. Recordings come in sixes of one day: the earliest 5 are of one day, the
earliest 10 of two. Only the support tells a new patient's level: what is trained on other patients alone does no better
than their mean.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import numpy as np

from experiments.resumable import check, make_parts, settings_of
from experiments.scores import mean_and_interval
from experiments.updrs import data, networks
from experiments.updrs.baselines import baselines
from experiments.updrs.compilation import compiled_once
from experiments.updrs.data import FEATURES, TIME, Groups
from experiments.updrs.networks import CLIP, Setup
from experiments.updrs.trials import Candidate, choose, errors, shifted, trials
from mtnets import METHODS, Implicit, Method, models
from mtnets.inner import method_to_json
from mtnets.tasks.archives import data_root
from mtnets.tasks.sampling.draws import check_counts

Support = Literal["random", "earliest"]
# Of methods that are rarely used in their bare form.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "t_net": {"sides": 2, "rates": "weight"},
    "mt_net": {"sides": 2, "rates": "weight"},
    "maml_plus_plus": {"per_step_offsets": False},
    "imaml": {"estimator": Implicit(0.1, damping=10.0)},
}


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
      root: folder with parkinsons_updrs.csv (or .data). Defaults to `$MTNETS_DATA`, then `data`.
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
        """Runs the experiment."""
        least = {"seeds": 1, "meta_steps": 1, "pooled_steps": 32, "draws": 1, "folds": 3}
        check(self, least, {"supports": get_args(Support)})
        for shots in self.shots:
            check_counts(shots=shots)
        names = [f"{shots}-{support}" for support in self.supports for shots in self.shots]
        with compiled_once():
            make_parts("updrs", self.out, names, self.part, settings=settings_of(self, "shots", "supports"))

    def part(self, name: str) -> dict[str, Any]:
        """Every predictor at a number of shots and a kind of support, on all patients."""
        shots, support = name.split("-")
        patients = data.read(data.find(data_root(self.root)), self.target)
        splits = data.split(sorted(patients, key=int), self.folds)
        draws = self.draws if support == "random" else 1
        setup = Setup(
            models.mlp(len(FEATURES), *self.hidden, 1, init_std=0.1),  # 0.01 is too small for a short training
            int(shots),
            support == "earliest",
            self.seeds,
            self.inner_lrs,
            self.meta_steps,
            self.pooled_steps,
        )
        methods = {name: METHODS[name](inner_clip=CLIP, **OPTIONS.get(name, {})) for name in self.methods}
        folds = []
        for i, parts in enumerate(splits):
            print(f"{name}: fold {i + 1} of {self.folds}", file=sys.stderr, flush=True)
            of_fold = {part: {name: patients[name] for name in names} for part, names in parts.items()}
            folds.append(fold(setup, methods, draws, of_fold))
        jax.clear_caches()  # the next part needs other programs, and these would fill the memory
        return {
            "shots": setup.shots,
            "support": support,
            "num_patients": len(patients),
            "draws": draws,
            "methods": {name: method_to_json(method) for name, method in methods.items()},
            "folds": splits,
            "patients": [name for parts in splits for name in parts["test"]],
            "predictors": summaries(folds),
        }


def fold(
    setup: Setup, methods: Mapping[str, Method], draws: int, patients: Mapping[str, Groups]
) -> dict[str, dict[str, Any]]:
    """Per predictor: errors of each test patient in points of UPDRS, and what was chosen on validation patients."""
    groups, std = data.standardised(patients)
    rows = data.longest(groups)
    validation, test = (trials(groups[part], setup.shots, draws, setup.ahead, rows) for part in ("validation", "test"))
    predictors = baselines(groups["train"], FEATURES.index(TIME)) | networks.pooled(setup, groups)
    for name, method in methods.items():
        candidates = networks.meta_trained(setup, method, groups)
        predictors[name] = candidates
        predictors[f"{name}_offset"] = [Candidate(each.setting, shifted(each.predict)) for each in candidates]
    scores = {}
    for name, candidates in predictors.items():
        best = choose(candidates, validation)
        each = errors(best.predict(test), test)
        scores[name] = {metric: std * values for metric, values in each.items()} | {"choice": best.setting}
    return scores


def summaries(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Per predictor, over the test patients of all folds: each error, and the same less that of the patient's own mean
    (below 0 is better), as mean and half-width of the 95 % interval over patients."""
    summary = {}
    for name in folds[0]:
        scores = {metric: np.concatenate([fold[name][metric] for fold in folds]) for metric in ("mae", "rmse")}
        own = {metric: np.concatenate([fold["own_mean"][metric] for fold in folds]) for metric in scores}
        summary[name] = {
            **{metric: mean_and_interval(score) for metric, score in scores.items()},
            "above_own_mean": {metric: mean_and_interval(scores[metric] - own[metric]) for metric in scores},
            "patients": {metric: score.tolist() for metric, score in scores.items()},
            "choices": [fold[name]["choice"] for fold in folds],
        }
    return summary
