"""Few-shot learners as scikit-learn estimators: `FewShotClassifier` and `FewShotRegressor`.

    from mtnets.interop.sklearn import FewShotClassifier

    classifier = FewShotClassifier().fit(X, y)  # a learner for small tables that ships with the package
    labels = classifier.predict(X_new)

Needs scikit-learn: pip install 'mtnets[sklearn]'.
"""

import functools
import hashlib
import math
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray

from mtnets.errors import DataError, OptionError, RunError
from mtnets.inner.loop import Inner, inner_loop, starting_point
from mtnets.inner.losses import LOSSES, Loss
from mtnets.inner.methods import Method, t_net
from mtnets.inner.task import Batch, Distribution
from mtnets.learner.adapted import to_inputs
from mtnets.learner.learner import WEIGHTS, Learner, load
from mtnets.networks.models import mlp
from mtnets.outer.train import meta_train
from mtnets.tasks.families.random_tables import Scale, scale_of, standardise
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.inputs.inputs import Inputs
from mtnets.tasks.sampling.rows import Rows
from mtnets.trees import leaves_by_path, replace_leaves

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise OptionError("These estimators need scikit-learn 1.6 or later: pip install 'mtnets[sklearn]'.") from error

checked: Any = validate_data  # which says of arrays that they are strings
MOST_BLOCKS = 50
CHUNK = 128  # rows predicted at once, always as many, so that a prediction does not depend on its neighbours at all


class _FewShot(BaseEstimator):
    """What both estimators share: a learner, the task that it has learned, and how tables become its inputs."""

    _loss: Literal["mse", "cross-entropy"]  # of learners that fit
    _shipped: str  # the learner unless one is given

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
        **settings: Any,
    ) -> Self:
        """Meta-trains a learner on the rows of many tasks, for `fit` to use from then on.

        Features, and targets of regression, are centred and scaled by the mean and spread of all rows. A fifth of the
        tasks choose the best learner, where there are at least ten.

        Args:
          X: features, `[rows, features]`.
          y: targets or labels, `[rows]`. Labels mean the same in all tasks.
          tasks: which task each row belongs to, `[rows]`; names or numbers.
          shots: rows that a task is learned from in training.
          queries: rows that it is judged by.
          method: how it adapts; a T-net with a learned rate per weight unless given.
          hidden: units of each hidden layer of the network.
          **settings: fields of `mtnets.train.Training`, for example `meta_steps=10_000`.

        Raises:
          DataError: for tasks with fewer rows than shots + queries, or lengths that differ.
        """
        table, values = checked(self, X, y, dtype=np.float64, y_numeric=self._loss == "mse")
        names = np.asarray(tasks)
        if names.shape != (len(table),):
            raise DataError(f"tasks has shape {names.shape}; it must name the task of each of the {len(table)} rows.")
        missing = [name is None or (isinstance(name, float) and math.isnan(name)) for name in names.tolist()]
        if any(missing):
            raise DataError(f"tasks has no name for row {missing.index(True)}; name the task of every row.")
        names = names.astype(str)
        features, scale = table.shape[1], scale_of(table)
        targets, outputs = self._begin_meta(values)
        inputs = standardise(table, scale, features)
        seed = int(check_random_state(self.random_state or 0).randint(2**31 - 1))
        groups = np.random.default_rng(seed).permutation(np.unique(names))
        tables = {name: (inputs[names == name], targets[names == name]) for name in groups}
        held = len(groups) // 5 if len(groups) >= 10 else 0

        def rows(kept: Sequence[str]) -> Distribution:
            return Rows.of({name: tables[name] for name in kept}, shots=shots, queries=queries)

        named = list(tables)
        train = rows(named[held:])
        validation = rows(named[:held]) if held else train
        network = mlp(features, *hidden, outputs, init_std=0.1)
        method = method or t_net(0.1, rates="weight")
        recipe = Recipe(inner_lr=0.1, inner_steps=5, meta_batch=8, meta_steps=3000, inner_clip=10.0, clip_norm=10.0)
        family = Family(train, validation, validation, self._loss, recipe, lambda: network)
        settings = {"schedule": "cosine", "skip_nonfinite": 100, "progress": False} | settings
        self.meta_learner_ = meta_train(None, method, family, seed=seed, **settings)
        self.meta_scale_ = scale
        self.meta_rows_ = shots
        return self

    # --- learning

    def _resolved(self) -> tuple[Learner, str]:
        """The learner to use, and what scales its inputs: the task's own rows, those of meta_fit, or nothing."""
        if hasattr(self, "meta_learner_"):
            return self.meta_learner_, "meta"
        given = self.learner
        learner = given if isinstance(given, Learner) else _loaded(str(given or self._shipped))
        if learner.loss != self._loss:
            raise OptionError(
                f"The learner was trained with {learner.loss}, and {type(self).__name__} needs {self._loss}; use "
                f"{'FewShotRegressor' if learner.loss == 'mse' else 'FewShotClassifier'}."
            )
        if type(learner.inputs) not in (Inputs, Images):
            raise OptionError("This learner reads tables by columns of its own; use learner.adapt, or meta_fit here.")
        tabular = (learner.record.get("tasks") or {}).get("family") == "tabular"
        return learner, "task" if tabular else "none"

    def _learn(self, X: NDArray, targets: NDArray, used: NDArray, *, again: bool) -> None:
        """Adapts the learner to a task, from where it starts or, again, from where it is."""
        learner = self.learner_
        if not (self.inner_steps is None or (isinstance(self.inner_steps, Integral) and self.inner_steps >= 0)):
            raise OptionError(f"inner_steps is {self.inner_steps!r}; it must be a whole number of at least 0, or None.")
        if self.inner_steps is not None or again:
            blocks = 1
        else:
            blocks = min(math.ceil(len(X) / self._rows_of_training()), MOST_BLOCKS)
        inputs = self._inputs(X)
        # a power of two of rows, so that few programs are compiled; repeated rows weigh nothing
        size = len(inputs) if learner.model.norm != "none" else max(16, 2 ** math.ceil(math.log2(len(inputs))))
        places = np.arange(size) % len(inputs)
        weights = (np.arange(size) < len(inputs)).astype(np.float32)
        parts: Any = inputs[places], Examples(targets[places], weights, used)
        support = Batch(*parts)
        self.block_ = learner.inner_steps if self.inner_steps is None else self.inner_steps
        inner = self._inner()
        seed = 0 if self.random_state is None else int(check_random_state(self.random_state).randint(2**31 - 1))
        start = leaves_by_path(learner.meta.params)
        moved: Any = self.moved_ if again else {p: start[p] for layer in inner.layers for p in layer.paths}
        key, best, steps = jax.random.key(seed), None, 0
        for _ in range(blocks):
            block = _block(inner, learner.meta, learner.state, learner.inner_lr, moved, support, key)
            if best is None and not np.isfinite(block.after):
                raise RunError(
                    f"Adaptation diverged within {inner.steps} inner steps: the loss is not finite. Use fewer "
                    "inner_steps, or look for features or targets far outside the others."
                )
            if best is not None and not block.after < best.after:
                break
            best, moved, steps = block, block.moved, steps + inner.steps
        assert best is not None
        self.moved_ = {name: np.asarray(leaf) for name, leaf in best.moved.items()}
        self.state_ = {name: np.asarray(leaf) for name, leaf in leaves_by_path(best.state).items()}
        self.n_iter_ = steps + (self.n_iter_ if again else 0)
        self.loss_ = float(best.after)

    def _rows_of_training(self) -> int:
        """How many rows the learner's tasks had in training, if that is known; as if endless otherwise."""
        if hasattr(self, "meta_rows_"):
            return self.meta_rows_
        tasks: Mapping[str, Any] = self.learner_.record.get("tasks") or {}
        return tasks.get("examples") or tasks.get("shots", 10**9) * tasks.get("ways", 1)

    def _inner(self) -> Inner:
        return Inner(self.learner_.model, self.learner_.method, _weighted(self._loss), self.block_)

    def _start(self, X: NDArray) -> None:
        """Chooses the learner and the scale of a new task."""
        self.learner_, scaling = self._resolved()
        if scaling == "none":
            self.scale_ = None
        else:
            self.scale_ = scale_of(X) if scaling == "task" else self.meta_scale_
        self._inputs(X[:1])  # raises where the table does not fit

    def _enough(self, X: NDArray) -> None:
        """Raises DataError where rows to begin with cannot say how features are scaled from then on."""
        if self.scale_ is not None and not hasattr(self, "meta_learner_") and len(X) < 2:
            raise DataError(
                "The first rows of partial_fit say how features are scaled from then on, and X has 1; give two or more."
            )

    def _inputs(self, X: NDArray) -> NDArray:
        """Inputs of the network from rows of a table; in NumPy, which compiles nothing anew for other shapes."""
        model = self.learner_.model
        if self.scale_ is not None:
            X = standardise(X, self.scale_, model.input_shape[0])
        elif X.shape[1] != math.prod(model.input_shape):
            shape = " × ".join(map(str, model.input_shape))
            raise DataError(
                f"X has {X.shape[1]} features; this learner needs {math.prod(model.input_shape)} ({shape})."
            )
        return np.asarray(to_inputs(model, X.reshape(-1, *model.input_shape), self.learner_.inputs, "X"))

    def _outputs(self, X: ArrayLike) -> NDArray[np.float64]:
        """What the adapted network says of each row, `[rows, outputs]`."""
        check_is_fitted(self, "moved_")
        table = checked(self, X, dtype=_dtype(self.learner_), reset=False)
        learner, inputs = self.learner_, self._inputs(table)
        state, inner = replace_leaves(learner.state, self.state_), self._inner()
        size = CHUNK if learner.model.norm != "transductive" else len(inputs)
        found = []
        for first in range(0, len(inputs), size):
            rows = inputs[first : first + size]
            padded = np.pad(rows, [(0, size - len(rows)), *[(0, 0)] * (rows.ndim - 1)])
            found.append(np.asarray(_predict(inner, learner.meta, self.moved_, state, padded))[: len(rows)])
        return np.concatenate(found).astype(np.float64)

    def __sklearn_clone__(self) -> Self:
        options: Any = {name: clone(value, safe=False) for name, value in self.get_params(deep=False).items()}
        made = type(self)(**options)
        for name, value in vars(self).items():  # what meta_fit has learned is what fit begins with, as a learner is
            if name.startswith("meta_"):
                setattr(made, name, value)
        return made

    # --- pickling: a learner holds functions, its file does not

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {name: _pack(value) if isinstance(value, Learner) else value for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({n: _unpack(value) if isinstance(value, _Packed) else value for n, value in state.items()})

    def _begin_meta(self, y: NDArray) -> tuple[NDArray, int]:
        """Targets `[rows, 1]` of many tasks in units of their spread, or labels `[rows]`; outputs of a network."""
        raise NotImplementedError


class FewShotClassifier(ClassifierMixin, _FewShot):
    """A classifier that learns from few examples, by a few gradient steps of a meta-trained network.

    Args:
      learner: a `Learner`, a name or path for `mtnets.load`, or None for `tabular-classification`, which ships with the
        package: up to 64 features and 10 classes, standardised by the examples themselves. Another learner takes
        X as it is, reshaped to the shape of its inputs.
      inner_steps: gradient steps. None: those that the learner was trained with; with more rows than it saw then, as
        many times more, at most 50 times, for as long as the training loss falls.
      random_state: an int or RandomState, for methods that are random within a task (masks); None is 0.

    Attributes:
      classes_: the labels, `[classes]`.
      n_features_in_: features.
      n_iter_: gradient steps taken.
      loss_: mean training loss after them.
      learner_: the learner.
      meta_learner_: what `meta_fit` has trained.

    Raises:
      DataError: more features or classes than the learner can take, or other shapes.
      OptionError: a learner for regression, or inner_steps below 0.
    """

    _loss = "cross-entropy"
    _shipped = "tabular-classification"

    classes_: NDArray

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learns a task from its examples: features `[rows, features]`, labels `[rows]` of any kind."""
        table, labels = self._table(X, y, reset=True)
        self._start(table)
        self._name(np.unique(labels))
        self._teach(table, labels, again=False)
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Goes on learning from where it is, with these examples, by `inner_steps` more steps. The rows of the
        first call say how features are scaled from then on.

        Args:
          X, y: as in `fit`.
          classes: all labels that will ever come, in the first call; those of y unless given.
        """
        first = not hasattr(self, "moved_")
        table, labels = self._table(X, y, reset=first)
        if first:
            self._start(table)
            self._enough(table)
            self._name(np.unique(labels if classes is None else np.asarray(classes)))
        elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise DataError(
                f"classes is not what it was in the first call: {list(self.classes_)}; fit anew for others."
            )
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise DataError(f"y has the label {unknown[0]}, which is not among classes; name all in the first call.")
        self._teach(table, labels, again=not first)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of the classes, `[rows, classes]`, in the order of `classes_`."""
        logits = self._outputs(X)[:, self.places_]
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        return likely / likely.sum(axis=1, keepdims=True)

    def predict(self, X: ArrayLike) -> NDArray:
        """The likeliest label of each row, `[rows]`."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def _table(self, X: ArrayLike, y: ArrayLike, *, reset: bool) -> tuple[NDArray, NDArray]:
        table, labels = checked(self, X, y, dtype=_dtype(self._resolved()[0]), reset=reset)
        check_classification_targets(labels)
        return table, labels

    def _name(self, classes: NDArray) -> None:
        """Says which output stands for which class: those of meta_fit as they were, others in order."""
        known = getattr(self, "meta_classes_", classes)
        if not np.isin(classes, known).all():
            new = np.setdiff1d(classes, known)[0]
            raise DataError(f"y has the label {new!r}, which meta_fit did not have; call meta_fit with it too.")
        places = np.searchsorted(known, classes)
        if len(classes) > self.learner_.outputs:
            raise DataError(
                f"y has {len(classes)} classes, more than the {self.learner_.outputs} that this learner tells apart; "
                "join some, or use sklearn.multiclass.OneVsRestClassifier around this, or a learner of yours."
            )
        self.classes_, self.places_ = classes, places

    def _teach(self, table: NDArray, labels: NDArray, *, again: bool) -> None:
        # outputs without a class are masked, as `Learner.adapt` does, where classes are numbered anew in every task
        used = np.isin(np.arange(self.learner_.outputs), self.places_) | hasattr(self, "meta_learner_")
        targets = self.places_[np.searchsorted(self.classes_, labels)].astype(np.int32)
        self._learn(table, targets, used, again=again)

    def _begin_meta(self, y: NDArray) -> tuple[NDArray, int]:
        check_classification_targets(y)
        self.meta_classes_, labels = np.unique(y, return_inverse=True)
        return labels, len(self.meta_classes_)


class FewShotRegressor(RegressorMixin, _FewShot):
    """A regressor that learns from few examples, by a few gradient steps of a meta-trained network.

    Args:
      learner: a `Learner`, a name or path for `mtnets.load`, or None for `tabular-regression`, which ships with the
        package: up to 64 features, standardised by the examples themselves as the target is. Another learner takes
        X and y as they are, X reshaped to the shape of its inputs.
      inner_steps: gradient steps. None: those that the learner was trained with; with more rows than it saw then, as
        many times more, at most 50 times, for as long as the training loss falls.
      random_state: an int or RandomState, for methods that are random within a task (masks); None is 0.

    Attributes:
      n_features_in_: features.
      n_iter_: gradient steps taken.
      loss_: mean squared training error after them, of the scaled target.
      learner_: the learner.
      meta_learner_: what `meta_fit` has trained.

    Raises:
      DataError: more features than the learner can take, or other shapes.
      OptionError: a learner for classification, or inner_steps below 0.
    """

    _loss = "mse"
    _shipped = "tabular-regression"

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learns a task from its examples: features `[rows, features]`, targets `[rows]`, or `[rows, outputs]` for a
        learner of as many outputs."""
        table, targets = self._table(X, y, reset=True)
        self._start(table)
        return self._teach(table, targets, again=False)

    def partial_fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Goes on learning from where it is, with these examples, by `inner_steps` more steps. The rows of the
        first call say how features are scaled from then on."""
        first = not hasattr(self, "moved_")
        table, targets = self._table(X, y, reset=first)
        if first:
            self._start(table)
            self._enough(table)
        return self._teach(table, targets, again=not first)

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Targets `[rows]`, or `[rows, outputs]` for a learner of several."""
        found = self._outputs(X)
        if self.target_scale_ is not None:
            found = self.target_scale_.mean + found * self.target_scale_.spread
        return found[:, 0] if found.shape[1] == 1 else found

    def _table(self, X: ArrayLike, y: ArrayLike, *, reset: bool) -> tuple[NDArray, NDArray]:
        learner = self._resolved()[0]
        table, targets = checked(
            self, X, y, dtype=_dtype(learner), y_numeric=True, multi_output=learner.outputs > 1, reset=reset
        )
        return table, np.asarray(targets, np.float64).reshape(len(table), -1)

    def _teach(self, table: NDArray, targets: NDArray, *, again: bool) -> Self:
        if not again:
            self.target_scale_ = self._target_scale(targets)
        outputs = self.learner_.outputs
        if targets.shape[1] != outputs:
            raise DataError(f"y has {targets.shape[1]} columns and this learner has {outputs} outputs; give as many.")
        if self.target_scale_ is not None:
            spread = self.target_scale_.spread
            targets = np.where(spread > 0, (targets - self.target_scale_.mean) / np.where(spread > 0, spread, 1), 0)
        self._learn(table, targets.astype(np.float32), np.ones(outputs, bool), again=again)
        return self

    def _target_scale(self, targets: NDArray) -> Scale | None:
        if self.scale_ is None:
            return None
        scale = scale_of(targets) if not hasattr(self, "meta_learner_") else self.meta_target_scale_
        # of a constant one, what is left are roundings
        return Scale(scale.mean, np.where(np.isfinite(scale.spread), scale.spread, 0.0))

    def _begin_meta(self, y: NDArray) -> tuple[NDArray, int]:
        targets = np.asarray(y, np.float64)
        scale = self.meta_target_scale_ = scale_of(targets[:, None])
        return (targets[:, None] - scale.mean) / scale.spread, 1


# --- the inner loop, for examples that weigh


class Examples(NamedTuple):
    """Targets, with what the loss needs to know beside them.

    Attributes:
      y: targets `[examples, outputs]`, or labels `[examples]`.
      weights: of the examples, `[examples]`.
      used: which outputs the task uses, `[outputs]`.
    """

    y: Any
    weights: Any
    used: Any


class Block(NamedTuple):
    """Some inner steps: the weights that moved, the state, and the training loss after them."""

    moved: dict[str, Array]
    state: Any
    after: Array


@functools.cache
def _weighted(name: str) -> Loss:
    """A mean loss in which examples have weights; the same function for the same name, so that programs are reused."""

    def loss(prediction: Array, examples: Any) -> Array:
        if name == "cross-entropy":
            # a finite stand-in for −∞, whose gradient would be NaN
            prediction = jnp.where(examples.used, prediction, -1e9)
        each = jax.vmap(lambda p, y: LOSSES[name](p[None], y[None]))(prediction, examples.y)
        return (each * examples.weights).sum() / examples.weights.sum()

    return loss


@functools.partial(jax.jit, static_argnums=0)
def _block(inner: Inner, meta: Any, state: Any, inner_lr: Any, moved: Any, support: Batch, key: Array) -> Block:
    meta = meta._replace(params=replace_leaves(meta.params, moved))
    rule = inner.method.test_rule or inner.method.rule
    adapted = inner_loop(inner, starting_point(inner, meta), state, inner_lr, support, key, rule=rule)
    prediction, _ = inner.model.apply(adapted.params, adapted.state, support.x, None)
    return Block(adapted.weights, adapted.state, inner.loss(prediction, support.y))


@functools.partial(jax.jit, static_argnums=0)
def _predict(inner: Inner, meta: Any, moved: Any, state: Any, x: Array) -> Array:
    params = replace_leaves(meta.params, inner.fold(meta, moved, inner.steps))
    return inner.model.apply(params, state, x, None)[0]


# --- learners


def _dtype(learner: Learner) -> Any:
    """Numbers are read in double precision; images, which a learner converts itself, as they are."""
    return "numeric" if isinstance(learner.inputs, Images) else np.float64


@functools.lru_cache(maxsize=16)
def _loaded(name: str) -> Learner:
    """A learner by name or path, the same object each time, so that its programs are compiled once."""
    return load(name)


class _Packed(NamedTuple):
    """A learner as the bytes of its file."""

    data: bytes


_alive: weakref.WeakValueDictionary[str, Learner] = weakref.WeakValueDictionary()


def _pack(learner: Learner) -> _Packed:
    if learner.model.config is None:
        raise RunError(
            "A learner whose network is of your own cannot be pickled, since it holds functions; save it with "
            "learner.save(path), and pickle the estimator's predictions or refit after loading."
        )
    with tempfile.TemporaryDirectory() as folder:
        learner.save(folder)
        packed = _Packed((Path(folder) / WEIGHTS).read_bytes())
    _alive[hashlib.sha256(packed.data).hexdigest()] = learner
    return packed


def _unpack(packed: _Packed) -> Learner:
    """The learner of a pickle; the one that was packed, where it is still there, with its compiled programs."""
    digest = hashlib.sha256(packed.data).hexdigest()
    learner = _alive.get(digest)
    if learner is None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / WEIGHTS).write_bytes(packed.data)
            learner = _alive[digest] = load(folder)
    return learner
