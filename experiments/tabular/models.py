"""The estimators that are compared on small tables."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.tabular.scores import OURS
from mtnets.sklearn import FewShotClassifier, FewShotRegressor
from mtnets.tasks.inputs import scale_of, standardise

Models = dict[str, Any]
UNFITTED: dict[str, Any] = {"optimizer": None}  # the kernel as it is given


class OurScaler(TransformerMixin, BaseEstimator):
    """Scales as the few-shot estimators do: tells the gain of scaling from that of meta-learning."""

    def fit(self, X: np.ndarray, y: Any = None) -> "OurScaler":
        self.scale_ = scale_of(X)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return standardise(X, self.scale_, X.shape[1])


def scaled(model: Any) -> Any:
    """A model behind a StandardScaler."""
    return make_pipeline(StandardScaler(), model)


def classifiers(features: int, shots: int) -> Models:
    """Ours, and others with usual settings: there are no rows to tune on."""
    kernel = RBF(features**0.5)
    return {
        OURS: FewShotClassifier(),
        "logistic regression": scaled(LogisticRegression(max_iter=1000)),
        "the same, our scaling": make_pipeline(OurScaler(), LogisticRegression(max_iter=1000)),
        "nearest neighbours": scaled(KNeighborsClassifier(1 if shots < 5 else 3)),
        "Gaussian process": scaled(GaussianProcessClassifier(kernel, **UNFITTED)),
    }


def regressors(features: int, rows: int) -> Models:
    """The same for numbers. The strength of ridge regression is chosen by leaving one row out."""
    kernel, ridge = RBF(features**0.5) + WhiteKernel(0.5), RidgeCV(np.logspace(-1, 4, 11))
    return {
        OURS: FewShotRegressor(),
        "ridge regression": scaled(ridge),
        "the same, our scaling": make_pipeline(OurScaler(), ridge),
        "nearest neighbours": scaled(KNeighborsRegressor(3 if rows < 20 else 5)),
        "Gaussian process": scaled(GaussianProcessRegressor(kernel, normalize_y=True, **UNFITTED)),
    }
