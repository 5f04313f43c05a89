"""Small tables: the shipped tabular learners against logistic or ridge regression, neighbours and a Gaussian process.

    python experiments/tabular.py                 (about 5 minutes on 2 cores)

Data sets that come with scikit-learn. Each draw takes some rows to learn from (of each class as many) and all others to
test; the same draws for every method. Writes results/tabular.json: mean and 95 % interval over draws, and those of the
paired differences; prints the table of docs/tabular.md.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtnets.files import write_json
from mtnets.interop.sklearn import FewShotClassifier, FewShotRegressor
from mtnets.tasks.families.random_tables import scale_of, standardise

CLASSIFICATION = {"wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits}
SHOTS, ROWS = (1, 2, 5, 10), (5, 10, 20, 50)
OURS = "few-shot"


class OurScaler(TransformerMixin, BaseEstimator):
    """Scales as the few-shot estimators do; tells what is due to that from what is due to meta-learning."""

    def fit(self, X: np.ndarray, y: Any = None) -> "OurScaler":
        self.scale_ = scale_of(X)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return standardise(X, self.scale_, X.shape[1])


def scaled(model: Any) -> Any:
    return make_pipeline(StandardScaler(), model)


def classifiers(features: int, shots: int) -> dict[str, Any]:
    """Ours, and others with usual settings; there are no rows to tune on."""
    kernel = RBF(features**0.5)
    return {
        OURS: FewShotClassifier(),
        "logistic regression": scaled(LogisticRegression(max_iter=1000)),
        "the same, our scaling": make_pipeline(OurScaler(), LogisticRegression(max_iter=1000)),
        "nearest neighbours": scaled(KNeighborsClassifier(1 if shots < 5 else 3)),
        "Gaussian process": scaled(GaussianProcessClassifier(kernel, optimizer=None)),
    }


def regressors(features: int, rows: int) -> dict[str, Any]:
    """The same; the strength of ridge regression is chosen by leaving one row out."""
    kernel, ridge = RBF(features**0.5) + WhiteKernel(0.5), RidgeCV(np.logspace(-1, 4, 11))
    return {
        OURS: FewShotRegressor(),
        "ridge regression": scaled(ridge),
        "the same, our scaling": make_pipeline(OurScaler(), ridge),
        "nearest neighbours": scaled(KNeighborsRegressor(3 if rows < 20 else 5)),
        "Gaussian process": scaled(GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True)),
    }


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean and half-width of the 95 % interval over draws."""
    return {"mean": float(values.mean()), "ci95": float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))}


def draw(y: np.ndarray, size: int, seed: int, *, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, `size` of each class or in all, and the others."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(y == c) for c in np.unique(y)] if classes else [np.arange(len(y))]
    learn = np.concatenate([rng.choice(group, size, replace=False) for group in groups])
    return learn, np.setdiff1d(np.arange(len(y)), learn)


def compare(
    x: np.ndarray, y: np.ndarray, size: int, draws: int, models: dict[str, Any], scores: dict[str, Callable]
) -> dict[str, Any]:
    """Every model on every draw: means, differences to ours paired by draw, and seconds of one fit and prediction."""
    found = {name: {score: np.zeros(draws) for score in scores} for name in models}
    seconds = dict.fromkeys(models, 0.0)
    for i in range(draws):
        learn, ask = draw(y, size, i, classes="accuracy" in scores)
        for name, model in models.items():
            begun = time.perf_counter()
            prediction = model.fit(x[learn], y[learn]).predict(x[ask])
            seconds[name] += time.perf_counter() - begun
            for score, measure in scores.items():
                found[name][score][i] = measure(y[ask], prediction)
    return {
        name: {score: interval(values) for score, values in found[name].items()}
        | {f"{score} of ours − this": interval(found[OURS][score] - values) for score, values in found[name].items()}
        | {"seconds": seconds[name] / draws}
        for name in models
    }


def accuracy(y: np.ndarray, prediction: np.ndarray) -> float:
    return float((y == prediction).mean())


def r2(y: np.ndarray, prediction: np.ndarray) -> float:
    return float(1 - np.square(y - prediction).mean() / y.var())


def mae(y: np.ndarray, prediction: np.ndarray) -> float:
    return float(np.abs(y - prediction).mean())


def table(title: str, score: str, factor: float, digits: int, sets: dict[str, Any]) -> str:
    """Markdown: one row per data set and size, one column per method, what ours is ahead in brackets."""
    names = list(next(iter(next(iter(sets.values())).values())))
    lines = [f"| {title} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    show = lambda of, form: f"{factor * of['mean']:{form}.{digits}f} ± {factor * of['ci95']:.{digits}f}"  # noqa: E731
    for data, sizes in sets.items():
        for size, methods in sizes.items():
            cells = [show(methods[name][score], "") for name in names]
            ahead = ["", *(f" ({show(methods[name][f'{score} of ours − this'], '+')})" for name in names[1:])]
            lines.append(f"| {data}, {size} | {' | '.join(map(str.__add__, cells, ahead))} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", default="results/tabular.json")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)

    classification: dict[str, Any] = {}
    for name, read in CLASSIFICATION.items():
        x, y = read(return_X_y=True)
        classification[name] = {}
        for shots in SHOTS:
            models = classifiers(x.shape[1], shots)
            classification[name][shots] = compare(x, y, shots, args.draws, models, {"accuracy": accuracy})
            means = {n: round(r["accuracy"]["mean"], 3) for n, r in classification[name][shots].items()}
            print(name, shots, means, flush=True)
    x, y = load_diabetes(return_X_y=True)
    diabetes: dict[int, Any] = {}
    for rows in ROWS:
        models = regressors(x.shape[1], rows)
        diabetes[rows] = compare(x, y, rows, args.draws, models, {"r2": r2, "mae": mae})
        print("diabetes", rows, {n: round(r["r2"]["mean"], 3) for n, r in diabetes[rows].items()}, flush=True)

    results = {"classification": classification, "regression": {"diabetes": diabetes}}
    write_json(args.out, {"command": " ".join(["python", *sys.argv]), "draws": args.draws, **results})
    print(table("rows of each class: accuracy in %", "accuracy", 100, 1, classification))
    print(table("rows: R²", "r2", 1, 2, {"diabetes": diabetes}))
    print(table("rows: mean absolute error", "mae", 1, 1, {"diabetes": diabetes}))


if __name__ == "__main__":
    main()
