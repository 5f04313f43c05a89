"""Parkinson's telemonitoring on a small file of the same layout: errors against direct NumPy, and nothing leaks."""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import mtnets
from experiments.updrs import compilation, networks
from experiments.updrs.baselines import baselines
from experiments.updrs.data import FEATURES, FILES, PATIENT, TARGETS, TIME, find, read, split, standardised
from experiments.updrs.experiment import Updrs
from experiments.updrs.networks import adapted
from experiments.updrs.trials import Candidate, Trials, choose, errors, shifted, trials
from mtnets import DataError, OptionError
from mtnets.tasks import Rows

SMALL: dict[str, Any] = {"methods": ("mt_net",), "shots": (2,), "folds": 3, "inner_lrs": (0.01, 0.1), "meta_steps": 3}
SMALL |= {"pooled_steps": 32, "hidden": (4,), "draws": 3}
HEADER = [PATIENT, "age", "sex", TIME, *TARGETS, *FEATURES[3:]]
PREDICTORS = {
    *("training_mean", "own_mean", "own_interpolation", "own_trend", "own_ridge"),
    *("pooled_ridge", "pooled_ridge_offset", "within_ridge_offset", "pooled_and_own_ridge"),
    *("boosting", "boosting_offset", "network", "network_offset", "network_fine_tuned"),
    *("mt_net", "mt_net_offset"),
}


def lines(patients: int = 9) -> list[list[str]]:
    """Recordings out of order; the age of a patient, 40 + its number, says who it is."""
    random = np.random.default_rng(0)
    made = []
    for patient in range(1, patients + 1):
        level, slope = random.uniform(10, 50), random.normal()
        for time in random.permutation(24 + patient % 3):
            y = level + slope * time / 10
            made.append([patient, 40 + patient, patient % 2, 7.25 * time, 0.7 * y, y, *random.lognormal(size=16)])
    return [[f"{value:.8g}" for value in line] for line in made]


def write(folder: Path, rows: list[list[str]], header: list[str] = HEADER) -> Path:
    path = folder / "parkinsons_updrs.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def by_time(rows: list[list[str]]) -> dict[str, np.ndarray]:
    """All columns of each patient's recordings in order of time."""
    table = np.array(rows, float)
    found = {str(int(p)): table[table[:, 0] == p] for p in np.unique(table[:, 0])}
    return {name: rows[np.argsort(rows[:, 3])] for name, rows in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("support", ["random", "earliest"])
def test_the_whole_in_small(tmp_path, monkeypatch, support) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setitem(networks.FINE_TUNING, "steps", (2,))
    families = []

    def meta_train(model, method, family, **settings):
        families.append(family)
        return mtnets.meta_train(model, method, family, **settings)

    monkeypatch.setattr(networks, "meta_train", meta_train)
    write(tmp_path, lines())
    Updrs(**SMALL, supports=(support,), root=str(tmp_path), out=str(tmp_path / "out"))()
    part = json.loads((tmp_path / "out" / f"2-{support}.json").read_text())
    assert part["command"] == "python -m experiments updrs"
    assert (part["num_patients"], part["draws"], part["shots"]) == (9, 3 if support == "random" else 1, 2)
    assert part["methods"]["mt_net"]["name"] == "mt_net"
    assert "root" not in part["settings"]
    assert part["predictors"].keys() == PREDICTORS

    own = part["predictors"]["own_mean"]
    for predictor in part["predictors"].values():
        assert len(predictor["choices"]) == 3
        for metric in ("mae", "rmse"):
            scores, of_own = (np.array(each["patients"][metric]) for each in (predictor, own))
            np.testing.assert_allclose(predictor[metric]["mean"], scores.mean())
            half = 2.306004 * scores.std(ddof=1) / 3  # Student's t of 9 patients
            np.testing.assert_allclose(predictor[metric]["ci95"], half, rtol=1e-6)
            above = predictor["above_own_mean"][metric]
            np.testing.assert_allclose(above["mean"], (scores - of_own).mean(), atol=1e-12)
            half = 2.306004 * (scores - of_own).std(ddof=1) / 3
            np.testing.assert_allclose(above["ci95"], half, rtol=1e-6, atol=1e-12)

    # the two means, written naively on the file
    patients = by_time(lines())
    tested = [p for fold in part["folds"] for p in fold["test"]]
    assert part["patients"] == tested
    assert sorted(tested) == sorted(patients)
    expected: dict[str, dict[str, list[Any]]] = {n: {"mae": [], "rmse": []} for n in ("own_mean", "training_mean")}
    for fold in part["folds"]:
        of_training = np.concatenate([patients[p][:, 5] for p in fold["train"]]).mean()
        for p in fold["test"]:
            y = patients[p][:, 5]
            table = {p: (np.zeros((len(y), 1)), y[:, None])}
            supports = trials(table, 2, part["draws"], support == "earliest", len(y)).support
            misses: dict[str, list[np.ndarray]] = {name: [] for name in expected}
            for places in supports:
                rest = np.delete(y, places)
                misses["own_mean"].append(rest - y[places].mean())
                misses["training_mean"].append(rest - of_training)
            for name, of_draws in misses.items():
                expected[name]["mae"].append(np.mean([np.abs(miss).mean() for miss in of_draws]))
                expected[name]["rmse"].append(np.mean([np.sqrt((miss**2).mean()) for miss in of_draws]))
    for name, scores in expected.items():
        for metric, values in scores.items():
            np.testing.assert_allclose(part["predictors"][name]["patients"][metric], values, rtol=1e-9)

    # whoever was trained and validated on is who the folds say: ages tell
    assert len(families) == 3 * 2
    for i, family in enumerate(families):
        fold = part["folds"][i // 2]
        raw = np.concatenate([patients[p][:, 1] for p in fold["train"]])
        for rows, kind in ((family.train, "train"), (family.validation, "validation")):
            ages = np.concatenate([np.asarray(x[:n, 0]) for x, n in zip(rows.x, rows.counts, strict=True)])
            found = np.unique(np.rint(ages * raw.std() + raw.mean())) - 40
            assert sorted(found) == sorted(int(p) for p in fold[kind])


def test_every_patient_is_tested_once_on_what_never_saw_it() -> None:
    names = [str(i) for i in range(1, 12)]
    folds = split(names, 4)
    assert sorted(p for fold in folds for p in fold["test"]) == sorted(names)
    for fold in folds:
        parts = [set(fold[kind]) for kind in ("train", "validation", "test")]
        assert set.union(*parts) == set(names)
        assert sum(map(len, parts)) == len(names)
    assert folds == split(names, 4)
    assert folds[0]["test"] != names[:3]


def test_standardisation_knows_training_patients_alone(tmp_path) -> None:
    patients = read(write(tmp_path, lines()))
    parts = {"train": {p: patients[p] for p in "123"}, "validation": {}, "test": {p: patients[p] for p in "45"}}
    groups, spread = standardised(parts)
    x = np.concatenate([x for x, _ in groups["train"].values()])
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(x.std(0), 1)
    raw = np.concatenate([patients[p][1] for p in "123"])
    np.testing.assert_allclose(spread, raw.std())
    np.testing.assert_allclose(groups["test"]["4"][1] * spread + raw.mean(), patients["4"][1])


def tables(counts: dict[str, int], features: int = 3) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    return {p: (random.normal(size=(n, features)), random.normal(size=(n, 1))) for p, n in counts.items()}


def test_support_and_queries_are_apart_and_whole() -> None:
    groups = tables({"3": 8, "7": 12})
    for shots in (1, 3):
        found = trials(groups, shots, 5, False, 15)
        assert found.x.shape == (10, 15, 3)
        for i in range(10):
            count = 8 if i < 5 else 12
            queries = np.flatnonzero(found.query[i])
            assert sorted([*found.support[i], *queries]) == list(range(count))
            np.testing.assert_array_equal(found.support_y[i], found.y[i][found.support[i]])
    # one draw after the other differs, and fewer shots are among more
    few, many = trials(groups, 2, 5, False, 15), trials(groups, 4, 5, False, 15)
    assert len(set(map(tuple, few.support))) > 5
    assert all(set(a) < set(b) for a, b in zip(few.support, many.support, strict=True))
    # draws of a patient do not depend on who is beside it
    np.testing.assert_array_equal(trials({"7": groups["7"]}, 2, 5, False, 15).support, few.support[5:])

    earliest = trials(groups, 3, 1, True, 15)
    np.testing.assert_array_equal(earliest.support, [[0, 1, 2]] * 2)
    np.testing.assert_array_equal(np.flatnonzero(earliest.query[0]), range(3, 8))
    with pytest.raises(DataError, match="Patient 3 has 8 recordings; 8 shots leave none"):
        trials(groups, 8, 1, True, 15)


def test_linear_predictors_are_those_of_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    train, new = tables({"1": 30, "2": 40}), trials(tables({"5": 9, "6": 12}), 4, 2, False, 12)
    found = baselines(train, time=1)
    x, y = (np.concatenate([table[i] for table in train.values()]) for i in range(2))

    def check(name: str, strength: float, fits: list, columns: slice = slice(None), **setting: float) -> None:
        candidate = next(c for c in found[name] if c.setting == {"strength": strength, **setting})
        expected = [fit.predict(rows[:, columns]) for fit, rows in zip(fits, new.x, strict=True)]
        np.testing.assert_allclose(candidate.predict(new), expected, rtol=1e-6, atol=1e-9)

    def ridge(strength: float, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None):
        weights = np.ones(len(rows)) if weights is None else weights
        return linear.Ridge(strength * weights.sum()).fit(rows, targets, weights)

    own = list(zip(new.support_x, new.support_y, strict=True))
    check("own_ridge", 0.1, [ridge(0.1, *each) for each in own])
    check("own_trend", 0.01, [ridge(0.01, a[:, 1:2], b) for a, b in own], slice(1, 2))
    check("pooled_ridge", 0.1, [ridge(0.1, x, y[:, 0])] * 4)
    both = [
        (np.concatenate([x, a]), np.concatenate([y[:, 0], b]), np.repeat([1 / 70, 10 / 4], [70, 4])) for a, b in own
    ]
    check("pooled_and_own_ridge", 0.1, [ridge(0.1, *each) for each in both], weight=10.0)

    # the others differ from a plain prediction by a constant, such that the support is met on average
    plain = {"pooled_ridge_offset": "pooled_ridge", "boosting_offset": "boosting"}
    for name in ("pooled_ridge_offset", "within_ridge_offset", "boosting_offset"):
        for i, candidate in enumerate(found[name]):
            prediction = candidate.predict(new)
            at_support = np.take_along_axis(prediction, new.support, 1)
            np.testing.assert_allclose(at_support.mean(1), new.support_y.mean(1), atol=1e-9)
            if name in plain:
                moved = prediction - found[plain[name]][i].predict(new)
                np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :1], moved.shape), atol=1e-9)
    centred = [(a - a.mean(0), b - b.mean(0)) for a, b in train.values()]
    slopes = ridge(0.1, *(np.concatenate(part) for part in zip(*centred, strict=True))).coef_.ravel()
    within = next(c for c in found["within_ridge_offset"] if c.setting == {"strength": 0.1}).predict(new)
    expected = new.support_y.mean(1)[:, None] + (new.x - new.support_x.mean(1, keepdims=True)) @ slopes
    np.testing.assert_allclose(within, expected, rtol=1e-6)


def test_interpolation_meets_straight_lines() -> None:
    pytest.importorskip("sklearn")
    time = np.linspace(-1, 1, 10)
    new = trials({"1": (time[:, None], 3 - 2 * time[:, None])}, 4, 3, False, 10)
    found = baselines(tables({"1": 30}, features=1), time=0)["own_interpolation"][0].predict(new)
    for prediction, places in zip(found, new.support, strict=True):
        inside = slice(places[0], places[-1] + 1)
        np.testing.assert_allclose(prediction[inside], 3 - 2 * time[inside])
        np.testing.assert_allclose(prediction[: places[0]], 3 - 2 * time[places[0]])
        np.testing.assert_allclose(prediction[places[-1] :], 3 - 2 * time[places[-1]])


def test_choice_and_errors() -> None:
    y = np.array([[0.0, 1, 2, 0], [1, 1, 1, 1]])
    query = np.array([[False, True, True, False], [False, True, True, True]])
    new = Trials(np.zeros((2, 4, 1)), y, np.zeros((2, 1), int), query, 1)
    found = errors(np.stack([y + 1, y - 3]), new)  # two seeds
    np.testing.assert_allclose(found["mae"], 2)
    wrong = np.array([[0, 3, 1, 99], [0, 0, 0, 0]])
    np.testing.assert_allclose(errors(y + wrong, new)["mae"], [2, 0])
    np.testing.assert_allclose(errors(y + wrong, new)["rmse"], [np.sqrt(5), 0])

    def away(by: float) -> Candidate:
        return Candidate({"by": by}, lambda trials: trials.y + by)

    assert choose([away(np.nan), away(2), away(-1), away(np.inf)], new).setting == {"by": -1}
    np.testing.assert_allclose(errors(shifted(away(2).predict)(new), new)["mae"], 0)
    draws = new._replace(draws=2)
    np.testing.assert_allclose(errors(y + wrong, draws)["mae"], [1])


def test_networks_predict_as_learners_do() -> None:
    groups = tables({"5": 9, "6": 12})
    model = mtnets.models.mlp(3, 4, 1, init_std=1.0)
    rows = Rows.of(groups, shots=4, queries=2)
    settings = {"loss": "mse", "meta_steps": 0, "meta_batch": 1, "inner_steps": 3, "progress": False}
    learners = mtnets.meta_train(model, mtnets.maml(0.1), rows, seed=[0, 1], **settings)
    new = trials(groups, 4, 2, False, 12)
    found = adapted(learners)(new)
    assert found.shape == (2, 4, 12)
    for learner, predictions in zip(learners, found, strict=True):
        for x, support_x, support_y, prediction in zip(new.x, new.support_x, new.support_y, predictions, strict=True):
            expected = learner.adapt(support_x, support_y)(x)[:, 0]
            np.testing.assert_allclose(prediction, expected, rtol=1e-4, atol=1e-5)


def test_a_cache_for_the_while() -> None:
    before = {name: getattr(jax.config, name) for name in compilation.CACHE}
    with compilation.compiled_once():
        assert getattr(jax.config, compilation.CACHE[0]) == before[compilation.CACHE[0]]  # somebody else's is kept
    compilation.configure(None, 1.0)
    try:
        with compilation.compiled_once():
            folder = Path(getattr(jax.config, compilation.CACHE[0]))
            assert folder.is_dir()
        assert not folder.exists()
        assert [getattr(jax.config, name) for name in compilation.CACHE] == [None, 1.0]
    finally:
        compilation.configure(*before.values())


def test_columns_may_be_in_any_order(tmp_path) -> None:
    rows = lines(3)
    expected = read(write(tmp_path, rows), "motor_UPDRS")
    turned = read(write(tmp_path, [row[::-1] for row in rows], HEADER[::-1]), "motor_UPDRS")
    naive = by_time(rows)
    assert expected.keys() == turned.keys() == naive.keys()
    for name, (x, y) in expected.items():
        np.testing.assert_array_equal(x[:, [0, 1, 2, *range(15, 19)]], naive[name][:, [1, 2, 3, *range(18, 22)]])
        np.testing.assert_allclose(x[:, 3:15], np.log(naive[name][:, 6:18]))  # jitter, shimmer and NHR
        np.testing.assert_array_equal(y, naive[name][:, 4:5])
        np.testing.assert_array_equal(x, turned[name][0])


@pytest.mark.parametrize(
    ("line", "cells", "message"),
    [
        (3, lambda row: [*row, "1"], "Line 3 of .*csv has 23 cells; expected 22, as in the header"),
        (4, lambda row: [*row[:-1], "low"], "PPE on line 4 of .*csv is 'low'; expected a finite number"),
        (2, lambda row: [*row[:5], "nan", *row[6:]], "total_UPDRS on line 2 of .* is 'nan'"),
        (5, lambda row: ["1.5", *row[1:]], r"subject# on line 5 of .* is 1\.5; expected a whole number"),
        (2, lambda row: [*row[:6], "0", *row[7:]], r"Jitter\(%\) on line 2 of .* is '0'; expected a number above 0"),
        (1, lambda row: row[:-1], "no column PPE; expected one recording a line below a header subject#,age"),
    ],
)
def test_bad_files(tmp_path, line, cells, message) -> None:
    rows = [HEADER, *lines(3)]
    rows[line - 1] = cells(rows[line - 1])
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, rows[1:], rows[0]))


def test_no_file_and_empty_ones(tmp_path) -> None:
    with pytest.raises(DataError, match=r"parkinsons_updrs.csv or parkinsons_updrs.data there; .*archive.ics.uci.edu"):
        find(tmp_path)
    with pytest.raises(DataError, match="has no recordings; expected one recording a line"):
        read(write(tmp_path, []))
    (tmp_path / "parkinsons_updrs.csv").write_text("")
    with pytest.raises(DataError, match="has no column subject#, age"):
        read(tmp_path / "parkinsons_updrs.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("mame",)}, "methods holds 'mame'; choose some of maml"),
        ({"folds": 2}, "folds is 2; it must be at least 3"),
        ({"shots": (0,)}, "shots is 0; it must be at least 1"),
        ({"supports": ("latest",)}, "supports holds 'latest'; choose some of random, earliest"),
        ({"target": "mood"}, "target is 'mood'; it must be motor_UPDRS or total_UPDRS"),
        ({"folds": 10}, "folds is 10, more than the 3 patients"),
    ],
)
def test_bad_options(tmp_path, options, message) -> None:
    write(tmp_path, lines(3))
    with pytest.raises(OptionError, match=message):
        Updrs(**{**SMALL, **options}, root=str(tmp_path), out=str(tmp_path / "out"))()


def test_without_scikit_learn(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(OptionError, match=r"pip install 'mtnets\[experiments\]'"):
        baselines(tables({"1": 5}), time=0)


def test_the_real_file() -> None:
    root = Path(os.environ.get("MTNETS_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not any((root / name).exists() for name in FILES):
        pytest.skip(f"{FILES[0]} is not in {root} (set MTNETS_DATA to the folder that has it)")
    patients = read(find(root))
    assert list(patients) == [str(i) for i in range(1, 43)]
    assert sum(len(y) for _, y in patients.values()) == 5875
    for x, y in patients.values():
        assert x.shape[1] == 19
        assert (np.diff(x[:, FEATURES.index(TIME)]) >= 0).all()
        assert 7 <= y.min() <= y.max() < 55
