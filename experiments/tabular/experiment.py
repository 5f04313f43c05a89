"""Small tables: the shipped tabular learners against linear models, neighbours and a Gaussian process.

Data sets that come with scikit-learn. Each draw takes some rows to learn from (of each class as many) and all others to
test; the draws are the same for every method. All of it takes some 5 minutes on 2 cores.
"""

import dataclasses
import warnings
from typing import Any, NamedTuple

from experiments.resumable import check, make_parts, settings_of
from experiments.tabular.scores import accuracy, compare, mae, r2
from mtnets import OptionError


class Data(NamedTuple):
    """A data set.

    Attributes:
      loader: name of the function in `sklearn.datasets` that reads it.
      classes: whether its targets are classes.
      sizes: rows to learn from, of each class or in all.
    """

    loader: str
    classes: bool
    sizes: tuple[int, ...]


DATA = {
    "wine": Data("load_wine", True, (1, 2, 5, 10)),
    "breast-cancer": Data("load_breast_cancer", True, (1, 2, 5, 10)),
    "digits": Data("load_digits", True, (1, 2, 5, 10)),
    "diabetes": Data("load_diabetes", False, (5, 10, 20, 50)),
}


@dataclasses.dataclass(frozen=True)
class Tabular:
    """Small tables: the learners that ship against linear models, neighbours and a Gaussian process.

    Attributes:
      data: which data sets.
      draws: number of draws of the rows to learn from.
      out: folder for one JSON per data set.
    """

    data: tuple[str, ...] = tuple(DATA)
    draws: int = 200
    out: str = "results/tabular"

    def __call__(self) -> None:
        """Runs the experiment."""
        check(self, {"draws": 1}, {"data": DATA})
        make_parts("tabular", self.out, self.data, self.part, settings=settings_of(self, "data"))

    def part(self, name: str) -> dict[str, Any]:
        """One data set: every number of rows."""
        try:
            from sklearn import datasets
            from sklearn.exceptions import ConvergenceWarning

            from experiments.tabular.models import classifiers, regressors
        except ImportError as error:
            raise OptionError("Small tables need scikit-learn: pip install 'mtnets[experiments]'.") from error
        loader, classes, sizes = DATA[name]
        x, y = getattr(datasets, loader)(return_X_y=True)
        models, scores = (classifiers, {"accuracy": accuracy}) if classes else (regressors, {"r2": r2, "mae": mae})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            rows = {size: compare(x, y, size, self.draws, models(x.shape[1], size), scores) for size in sizes}
        return {"data": name, "kind": "classification" if classes else "regression", "rows": rows}
