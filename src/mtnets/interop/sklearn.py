"""Few-shot learners as scikit-learn estimators: `FewShotClassifier` and `FewShotRegressor`.

    from mtnets.sklearn import FewShotClassifier

    classifier = FewShotClassifier().fit(X, y)  # a learner for small tables that ships with the package
    labels = classifier.predict(X_new)

Needs scikit-learn: pip install 'mtnets[sklearn]'.
"""

import contextlib
import functools
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Number
from pathlib import Path
from typing import Any, Literal, Self, Unpack

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtnets.arguments import check
from mtnets.errors import DataError, MtnetsError, OptionError, RunError, warn
from mtnets.inner import Batch, Method, as_loss, t_net
from mtnets.inner.losses import Gaussian
from mtnets.learner import AdaptedModel, Learner, load
from mtnets.learner.compiled import support_loss
from mtnets.learner.data import to_counts, to_inputs, to_weights
from mtnets.learner.meeting import check_weighs
from mtnets.networks.models import mlp
from mtnets.outer import TrainingOptions, meta_train
from mtnets.raw_arrays import check_unmasked, narrowed, read_array
from mtnets.tasks import Family, Inputs, Recipe, Rows, StandardisedRows
from mtnets.tasks.inputs.cells import is_table

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
    from sklearn.utils import check_random_state, check_X_y
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise OptionError("These estimators need scikit-learn 1.6 or later: pip install 'mtnets[sklearn]'.") from error

MOST_BLOCKS = 50
ABSENT = "no_validation"  # what scikit-learn calls targets that a method does not take
CHUNK = 128  # rows predicted at once, always as many, so that a prediction does not depend on its neighbours at all


def checked(estimator: Any, X: Any, y: Any = ABSENT, **options: Any) -> Any:
    """`validate_data`, which would lose the mask of a masked array."""
    check_unmasked(X, "X")
    check_unmasked(y, "y")
    return validate_data(estimator, X, y, **options)


class _FewShot(BaseEstimator):
    """What both estimators share: a learner, and the model that it has adapted."""

    _loss: Literal["mse", "cross-entropy"]  # which its learner must have
    _shipped: str  # the default learner

    def __init__(
        self,
        learner: Learner | str | Path | None = None,
        *,
        inner_steps: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.learner = learner
        self.inner_steps = inner_steps
        self.random_state = random_state

    def meta_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        tasks: ArrayLike,
        *,
        shots: int = 5,
        queries: int = 5,
        method: Method | None = None,
        hidden: Sequence[int] = (64,),
        **options: Unpack[TrainingOptions],
    ) -> Self:
        """Meta-trains a learner on the rows of many tasks, for `fit` to use from then on.

        Features, and targets of regression, are centred and scaled by the mean and spread of all rows. A fifth of the
        tasks choose the best learner, where there are at least ten.

        Args:
          X: features, `[rows, features]`.
          y: targets, `[rows]` or `[rows, outputs]`, or labels, `[rows]`. Labels mean the same in all tasks.
          tasks: which task each row belongs to, `[rows]`; names or numbers.
          shots: rows that a task is learned from in training.
          queries: rows that it is judged by.
          method: how it adapts. Defaults to a T-net with a learned rate per weight.
          hidden: units of each hidden layer of the network.
          **options: fields of `mtnets.Training`, for example `meta_steps=10_000`.

        Raises:
          DataError: for tasks with fewer rows than shots + queries, or lengths that differ.
        """
        numbers = self._loss == "mse"
        table, values = checked(self, X, y, dtype=np.float64, y_numeric=numbers, multi_output=numbers)
        narrowed(table, np.float32, "X")  # a number beyond single precision would hide all others when scaled
        names = _task_names(tasks, len(table))
        inputs, targets, outputs = self._meta_targets(table, values)
        rows = inputs.scale(inputs.prepare(table))
        seed = int(check_random_state(self.random_state or 0).randint(2**31 - 1))
        order = np.random.default_rng(seed).permutation(np.unique(names)).tolist()
        held = len(order) // 5 if len(order) >= 10 else 0

        def distribution(kept: Sequence[str]) -> Rows:
            tables = {name: (rows[names == name], targets[names == name]) for name in kept}
            return Rows.of(tables, shots=shots, queries=queries)

        train = distribution(order[held:])
        validation = distribution(order[:held]) if held else train
        network = mlp(table.shape[1], *hidden, outputs, init_std=0.1)
        recipe = Recipe(inner_lr=0.1, inner_steps=5, meta_batch=8, meta_steps=3000, inner_clip=10.0, clip_norm=10.0)
        family = Family(train, validation, validation, self._loss, recipe, lambda: network, inputs=inputs)
        settings: TrainingOptions = {"schedule": "cosine", "skip_nonfinite": 100}
        method = method or t_net(0.1, rates="weight")
        self.meta_learner_ = meta_train(None, method, family, seed=seed, progress=False, **(settings | options))
        self.meta_rows_ = shots
        return self

    def _meta_targets(self, table: NDArray, y: NDArray) -> tuple[StandardisedRows, NDArray, int]:
        """Inputs with the scale of the rows of all tasks, targets `[rows, outputs]` or labels `[rows]`, and outputs."""
        raise NotImplementedError

    # --- learning

    def _resolved(self) -> Learner:
        """The learner to use: that of `meta_fit`, the one given, or the one that ships."""
        if hasattr(self, "meta_learner_"):
            return self.meta_learner_
        learner = self.learner if isinstance(self.learner, Learner) else _loaded(str(self.learner or self._shipped))
        if learner.loss.targets != as_loss(self._loss).targets:
            other = {"numbers": "FewShotRegressor", "labels": "FewShotClassifier"}.get(learner.loss.targets)
            remedy = f"use {other}" if other else "use the learner itself: learner.adapt(x, y)"
            raise OptionError(
                f"The learner was trained with {learner.loss.name}, and {type(self).__name__} needs {self._loss}; "
                f"{remedy}."
            )
        return learner

    def _rows(self, inputs: Inputs, X: Any, y: Any = ABSENT, *, reset: bool, **of_y: Any) -> Any:
        """Rows `[rows, numbers]`, which for a learner of tables are the features of a data frame; with y, both.

        Args:
          inputs: of the learner.
          X: what the user gave.
          y: the targets, if there are any.
          reset: whether columns are met for the first time.
          **of_y: what `validate_data` is to know of y.

        Raises:
          DataError: where a learner of tables gets no data frame, rows of several tasks, or cells that do not fit.
        """
        if not inputs.named:
            return checked(self, X, y, dtype=inputs.rows_dtype, reset=reset, **of_y)
        if not is_table(X) or isinstance(X, Mapping):
            raise DataError(
                f"X is of type {type(X).__name__}, and the learner was trained on tables; pass a data frame with the "
                "columns of its training."
            )
        validate_data(self, X, reset=reset, skip_check_array=True)
        cells = inputs.collected(X)
        if not len(cells):
            raise DataError("X has 0 rows; give at least one.")
        if isinstance(y, str):
            return inputs.prepare(cells)
        check_unmasked(y, "y")
        _, targets = check_X_y(np.zeros((len(cells), 1)), y, **of_y)
        inputs.for_task(cells, targets)  # refuses rows of several tasks
        return inputs.prepare(cells), targets

    def _weighed(self, rows: NDArray, targets: NDArray, sample_weight: Any) -> tuple[NDArray, NDArray, NDArray]:
        """The rows of a weight above 0 with their targets, and for how many each counts, `[rows]`.

        Equal rows become one that counts for all, in an order that does not depend on the given one: so a row of weight
        2 is the same as that row twice, to the last bit. Batch norm may count all rows alike, and a stream has an
        order: these get them as they are.
        """
        each = np.full(len(rows), sample_weight) if isinstance(sample_weight, Number) else sample_weight
        counts = np.ones(len(rows)) if each is None else to_counts(each, targets, "sample_weight")
        kept = np.flatnonzero(counts)
        rows, targets, counts = rows[kept], targets[kept], counts[kept]
        learner = self._resolved()
        if learner.model.norm != "none" or learner.view.stream:
            return rows, targets, counts
        numbers = targets if targets.ndim > 1 else np.unique(targets, return_inverse=True)[1]
        both = np.column_stack([rows, numbers])
        _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
        return rows[first], targets[first], np.bincount(which.ravel(), counts)

    def _begin(self, X: NDArray, y: NDArray, counts: NDArray, *, more_rows: bool = False) -> None:
        """Chooses the learner of a new task and how its rows are scaled.

        Args:
          X: the first rows.
          y: their targets; labels are not looked at.
          counts: for how many rows each counts.
          more_rows: whether others follow, which these first ones scale too.
        """
        learner = self._resolved()
        self.learner_ = learner
        self.inputs_ = learner.inputs.for_task(learner.inputs.from_rows(X, learner.model.input_shape), y, counts)
        if more_rows and self.inputs_ != learner.inputs and len(X) < 2 and counts.sum() < 2:
            raise DataError(
                "The first rows of partial_fit say how features are scaled from then on, and X has 1; give two or more."
            )

    def _learn(self, X: NDArray, targets: NDArray, counts: NDArray, used: NDArray | None, *, again: bool) -> Self:
        """Adapts the learner to a task, from where it starts or, again, from where it is."""
        learner = self.learner_
        if not (self.inner_steps is None or (isinstance(self.inner_steps, Integral) and self.inner_steps >= 0)):
            raise OptionError(f"inner_steps is {self.inner_steps!r}; it must be a whole number of at least 0, or None.")
        if self.inner_steps == 0:
            warn(
                "inner_steps is 0: nothing is learned from the rows, and predictions are those of the learner as it "
                "starts; take 1 or more, or None."
            )
        blocks = 1
        if self.inner_steps is None and not again and not learner.view.stream:  # which is read once
            blocks = min(math.ceil(counts.sum() / self._rows_of_training()), MOST_BLOCKS)
        weights = to_weights(counts) if np.ptp(counts) else None
        support = Batch(self._network_inputs(X), targets, weights, used)  # type: ignore[arg-type]
        if weights is not None:
            check_weighs(learner.model, support, "The rows")
        support = learner.padded(support)
        seed = 0 if self.random_state is None else int(check_random_state(self.random_state).randint(2**31 - 1))
        adapted, best, n_iter = None, math.inf, self.n_iter_ if again else 0
        start = self.adapted_.moved if again else None
        for _ in range(blocks):
            try:
                candidate, loss = self._block(support, start, seed)
            except RunError:  # more steps than in training may diverge: the last good block counts
                if adapted is None:
                    raise
                break
            if adapted is not None and not loss < best:
                break
            adapted, best, start = candidate, loss, candidate.moved
            n_iter += candidate.inner_steps or 0
        assert adapted is not None
        self.adapted_, self.loss_, self.n_iter_ = adapted, best, n_iter
        return self

    def _block(self, support: Batch, start: Any, seed: int) -> tuple[AdaptedModel, float]:
        """The learner's inner steps once, and the training loss after them."""
        learner, steps = self.learner_, None if self.inner_steps is None else int(self.inner_steps)
        adapted = learner.adapt_batch(support, self.inputs_, inner_steps=steps, key=jax.random.key(seed), start=start)
        loss = float(support_loss(learner.inner, learner.meta, adapted.params, adapted.state, support))
        if not np.isfinite(loss):
            raise RunError(
                f"Adaptation diverged within {adapted.inner_steps} inner steps: the loss is not finite. Use fewer "
                "inner_steps, or look for features or targets far outside the others."
            )
        return adapted, loss

    def _rows_of_training(self) -> int:
        """How many rows the learner's tasks had in training; a huge number where that is not known."""
        if hasattr(self, "meta_rows_"):
            return self.meta_rows_
        tasks: Mapping[str, Any] = self.learner_.record.get("tasks") or {}
        return tasks.get("examples") or tasks.get("shots", 10**9) * tasks.get("ways", 1)

    def _network_inputs(self, X: NDArray) -> Any:
        """Inputs of the network from rows of a table."""
        model = self.learner_.model
        return to_inputs(model, self.inputs_.from_rows(X, model.input_shape), self.inputs_, "X")

    def _outputs(self, X: ArrayLike) -> NDArray[np.float64]:
        """What the adapted network says of each row, `[rows, outputs]`."""
        check_is_fitted(self, "adapted_")
        model = self.learner_.model
        table = self._rows(self.learner_.inputs, X, reset=False)
        size = CHUNK if model.norm != "transductive" else len(table)
        predictions = []
        for first in range(0, len(table), size):
            rows = table[first : first + size]
            filled = rows[np.arange(size) % len(rows)]
            chunk = self.adapted_(self.inputs_.from_rows(filled, model.input_shape))
            predictions.append(np.asarray(chunk, np.float64)[: len(rows)])
        return np.concatenate(predictions)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        with contextlib.suppress(MtnetsError):  # fit tells what is wrong with the learner
            learner = self._resolved()
            several = learner.loss.targets == "numbers" and _targets(learner) > 1
            tags.target_tags.multi_output, tags.target_tags.single_output = several, not several
            of_cells = tags.input_tags
            of_cells.allow_nan = of_cells.string = of_cells.categorical = learner.inputs.named
        return tags

    def __sklearn_clone__(self) -> Self:
        parameters: Any = {name: clone(value, safe=False) for name, value in self.get_params(deep=False).items()}
        copy = type(self)(**parameters)
        for name, value in vars(self).items():  # the learner of meta_fit is a parameter of fit, as `learner` is
            if name.startswith("meta_"):
                setattr(copy, name, value)
        return copy


class FewShotClassifier(ClassifierMixin, _FewShot):
    """A classifier that learns from few examples, by a few gradient steps of a meta-trained network.

    Args:
      learner: a `Learner`, a name or path for `mtnets.load`, or None for `tabular-classification`, which ships with the
        package: up to 64 features and 10 classes, standardised by the examples themselves. Another learner takes
        X as it is, reshaped to the shape of its inputs.
      inner_steps: gradient steps. None: those that the learner was trained with; with more rows than it saw then, as
        many times more, at most 50 times, for as long as the training loss falls. A learner of streams takes one for
        each slice of the rows, in their order.
      random_state: an int or RandomState, for methods that are random within a task (masks); None is 0.

    Attributes:
      classes_: the labels, `[classes]`.
      n_features_in_: features.
      n_iter_: gradient steps taken.
      loss_: mean training loss after them.
      adapted_: the adapted model.
      learner_: the learner.
      meta_learner_: what `meta_fit` has trained.

    Raises:
      DataError: more features or classes than the learner can take, or other shapes.
      OptionError: a learner for regression, or inner_steps below 0.
    """

    _loss = "cross-entropy"
    _shipped = "tabular-classification"

    classes_: NDArray

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learns a task from its examples.

        Args:
          X: features `[rows, features]`; for a learner of tables, a data frame with the columns of its training.
          y: labels `[rows]` of any kind; for a learner of tables, classes of its training.
          sample_weight: for how many rows each counts, `[rows]`, at least 0; 0 leaves a row out. Defaults to 1.

        Raises:
          DataError: for what does not fit the learner, and for weights that are below 0, or all 0.
        """
        table, labels, counts = self._table(X, y, sample_weight, reset=True)
        self._begin(table, labels, counts)
        self._name(np.unique(labels))
        return self._teach(table, labels, counts, again=False)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Goes on learning from where it is, with these examples, by `inner_steps` more steps. The rows of the
        first call say how features are scaled from then on.

        Args:
          X, y, sample_weight: as in `fit`.
          classes: all labels that will ever come, in the first call. Defaults to those of y.
        """
        first = not hasattr(self, "adapted_")
        table, labels, counts = self._table(X, y, sample_weight, reset=first)
        if first:
            self._begin(table, labels, counts, more_rows=True)
            self._name(np.unique(labels if classes is None else np.asarray(classes)))
        elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise DataError(
                f"classes is not what it was in the first call: {list(self.classes_)}; fit anew for others."
            )
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise DataError(f"y has the label {unknown[0]}, which is not among classes; name all in the first call.")
        return self._teach(table, labels, counts, again=not first)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of the classes, `[rows, classes]`, in the order of `classes_`."""
        logits = self._outputs(X)[:, self.places_]
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        return likely / likely.sum(axis=1, keepdims=True)

    def predict(self, X: ArrayLike) -> NDArray:
        """The likeliest label of each row, `[rows]`."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def _table(
        self, X: ArrayLike, y: ArrayLike, sample_weight: Any, *, reset: bool
    ) -> tuple[NDArray, NDArray, NDArray]:
        table, labels = self._rows(self._resolved().inputs, X, y, reset=reset)
        check_classification_targets(labels)
        return self._weighed(table, labels, sample_weight)

    def _name(self, classes: NDArray) -> None:
        """Says which output stands for which class: those of meta_fit or of a table as they were, others in order."""
        known = getattr(self, "meta_classes_", classes)
        if not np.isin(classes, known).all():
            new = np.setdiff1d(classes, known)[0]
            raise DataError(f"y has the label {new!r}, which meta_fit did not have; call meta_fit with it too.")
        named = self.inputs_.named
        places = self.inputs_.prepare_targets(classes) if named else np.searchsorted(known, classes)
        if len(classes) > self.learner_.outputs:
            raise DataError(
                f"y has {len(classes)} classes, more than the {self.learner_.outputs} that this learner tells apart; "
                "join some, or use sklearn.multiclass.OneVsRestClassifier around this, or a learner of yours."
            )
        self.classes_, self.places_ = classes, places

    def _teach(self, table: NDArray, labels: NDArray, counts: NDArray, *, again: bool) -> Self:
        # outputs without a class are masked, as `Learner.adapt` does, where classes are numbered anew in every task
        used = np.isin(np.arange(self.learner_.outputs), self.places_)
        targets = self.places_[np.searchsorted(self.classes_, labels)].astype(np.int32)
        return self._learn(table, targets, counts, None if self.inputs_.shared_classes else used, again=again)

    def _meta_targets(self, table: NDArray, y: NDArray) -> tuple[StandardisedRows, NDArray, int]:
        check_classification_targets(y)
        self.meta_classes_, labels = np.unique(y, return_inverse=True)
        inputs = StandardisedRows(table.shape[1], shared_classes=True).with_scale(table)
        return inputs, labels, len(self.meta_classes_)


class FewShotRegressor(RegressorMixin, _FewShot):
    """A regressor that learns from few examples, by a few gradient steps of a meta-trained network.

    Args:
      learner: a `Learner`, a name or path for `mtnets.load`, or None for `tabular-regression`, which ships with the
        package: up to 64 features, standardised by the examples themselves as the target is. Another learner takes
        X and y as they are, X reshaped to the shape of its inputs.
      inner_steps: gradient steps. None: those that the learner was trained with; with more rows than it saw then, as
        many times more, at most 50 times, for as long as the training loss falls. A learner of streams takes one for
        each slice of the rows, in their order.
      random_state: an int or RandomState, for methods that are random within a task (masks); None is 0.

    Attributes:
      n_features_in_: features.
      n_iter_: gradient steps taken.
      loss_: mean squared training error after them, of the scaled target.
      adapted_: the adapted model.
      learner_: the learner.
      meta_learner_: what `meta_fit` has trained.

    Raises:
      DataError: more features than the learner can take, or other shapes.
      OptionError: a learner for classification, or inner_steps below 0.
    """

    _loss = "mse"
    _shipped = "tabular-regression"

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learns a task from its examples.

        Args:
          X: features `[rows, features]`; for a learner of tables, a data frame with the columns of its training.
          y: targets `[rows]`, or `[rows, outputs]` for a learner of as many outputs.
          sample_weight: for how many rows each counts, `[rows]`, at least 0; 0 leaves a row out. Defaults to 1.

        Raises:
          DataError: for what does not fit the learner, and for weights that are below 0, or all 0.
        """
        table, targets, counts = self._table(X, y, sample_weight, reset=True)
        self._begin(table, targets, counts)
        return self._teach(table, targets, counts, again=False)

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Goes on learning from where it is, with these examples, by `inner_steps` more steps. The rows of the
        first call say how features are scaled from then on. Arguments are those of `fit`."""
        first = not hasattr(self, "adapted_")
        table, targets, counts = self._table(X, y, sample_weight, reset=first)
        if first:
            self._begin(table, targets, counts, more_rows=True)
        return self._teach(table, targets, counts, again=not first)

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Targets `[rows]`, or `[rows, targets]` for a learner of several.

        Args:
          X: rows.
          return_std: return `(targets, standard deviations)`, as a learner with the loss `gaussian` predicts them.

        Raises:
          OptionError: for standard deviations of a learner with another loss.
        """
        outputs, loss = self._outputs(X), self.learner_.loss
        if not return_std:
            return _flat(loss.point(outputs))
        if not isinstance(loss, Gaussian):
            raise OptionError(
                f"The learner was trained with {loss.name}, which says no standard deviation; train one with the loss "
                "'gaussian', or use predict_interval."
            )
        return _flat(loss.point(outputs)), _flat(np.sqrt(loss.variance(outputs)))

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> NDArray[np.float64]:
        """Lower and upper ends of central intervals, `[rows, 2]` or `[rows, targets, 2]`.

        Args:
          X: rows.
          coverage: the share of targets that are to lie within, for a learner with the loss `gaussian`. One with
            `quantile` has the levels that it was trained with, and coverage must be that of two of them.

        Raises:
          OptionError: for a learner whose loss says no interval of this coverage.
        """
        check("coverage", coverage, float)
        low, high = self.learner_.loss.interval(self._outputs(X), coverage)
        return _flat(np.stack([np.asarray(low), np.asarray(high)], axis=-1))

    def _table(
        self, X: ArrayLike, y: ArrayLike, sample_weight: Any, *, reset: bool
    ) -> tuple[NDArray, NDArray, NDArray]:
        learner = self._resolved()
        several = _targets(learner) > 1
        table, targets = self._rows(learner.inputs, X, y, reset=reset, y_numeric=True, multi_output=several)
        return self._weighed(table, np.asarray(targets, np.float64).reshape(len(table), -1), sample_weight)

    def _teach(self, table: NDArray, targets: NDArray, counts: NDArray, *, again: bool) -> Self:
        count = _targets(self.learner_)
        if targets.shape[1] != count:
            raise DataError(
                f"y has {targets.shape[1]} columns and this learner predicts {count} numbers; give as many."
            )
        scaled = narrowed(self.inputs_.prepare_targets(_flat(targets)), np.float32, "y")
        return self._learn(table, scaled.reshape(len(table), -1), counts, None, again=again)

    def _meta_targets(self, table: NDArray, y: NDArray) -> tuple[StandardisedRows, NDArray, int]:
        targets = np.asarray(y, np.float64).reshape(len(table), -1)
        narrowed(targets, np.float32, "y")
        inputs = StandardisedRows(table.shape[1], scales_targets=True).with_scale(table, targets)
        return inputs, inputs.prepare_targets(targets), targets.shape[1]


def _task_names(tasks: ArrayLike, rows: int) -> NDArray[np.str_]:
    """The name of the task of each row. Raises DataError where one is missing."""
    names = read_array(tasks, "tasks")
    if names.shape != (rows,):
        raise DataError(f"tasks has shape {names.shape}; it must name the task of each of the {rows} rows.")
    missing = [name is None or (isinstance(name, float) and math.isnan(name)) for name in names.tolist()]
    if any(missing):
        raise DataError(f"tasks has no name for row {missing.index(True)}; name the task of every row.")
    return names.astype(str)


@functools.lru_cache(maxsize=16)
def _loaded(name: str) -> Learner:
    """A learner by name or path, read once."""
    return load(name)


__all__ = ["FewShotClassifier", "FewShotRegressor"]


def _targets(learner: Learner) -> int:
    """How many numbers a learner predicts for an example."""
    shape = learner.loss.shape_of_targets(learner.output_shape)
    return learner.outputs if shape is None else shape[-1]


def _flat(values: NDArray) -> NDArray[np.float64]:
    return values[:, 0] if values.shape[1] == 1 else values
