"""What the tasks of a user must be, alone and compared with the first one; checked in NumPy as they are made."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mtnets.errors import DataError, OptionError
from mtnets.inner.criterion import LossLike, as_loss
from mtnets.inner.objective import Loss
from mtnets.inner.task import Batch, Distribution, Task
from mtnets.networks.model import Model
from mtnets.networks.models import mlp
from mtnets.raw_arrays import REAL, WHOLE, is_several, narrowed, read_array
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.inputs.base import AS_THEY_ARE, SAME_CLASSES
from mtnets.tasks.inputs.images import Images
from mtnets.trees import path_of

# no inner_clip: targets, and so gradients, may be in any unit
OF_NUMBERS = Recipe(inner_lr=0.01, inner_steps=1, meta_batch=4, meta_steps=60_000, clip_norm=10.0)
OF_LABELS = Recipe(inner_lr=0.1, inner_steps=5, meta_batch=16, meta_steps=10_000, inner_clip=10.0, clip_norm=10.0)


@dataclasses.dataclass(frozen=True)
class TaskForm:
    """What the tasks of a family must be.

    Attributes:
      loss: of predictions against targets.
      ways: classes of a task; None until the first task is known.
      images: how x become inputs; None where they are inputs already.
      most: examples that support and query set are padded to; None where all tasks have as many.
      like: shapes and types of the first task; None until it is known.
      same_classes: whether labels mean the same classes in all tasks.
    """

    loss: LossLike
    ways: int | None
    images: Images | None
    most: tuple[int, int] | None = None
    like: Any = None
    same_classes: bool = False

    def __post_init__(self) -> None:
        as_loss(self.loss)
        if self.same_classes and self.images is not None:
            raise OptionError(
                "same_classes is True, and classes of images are numbered anew in each task; leave out same_classes or "
                "inputs."
            )
        if self.ways is not None and self.ways < 2:
            raise OptionError(f"ways is {self.ways}; it must be at least 2.")
        if self.most is not None and min(self.most) < 1:
            raise OptionError(f"most is {self.most}; it must be two numbers of at least 1.")

    @property
    def judge(self) -> Loss:
        """The loss by value."""
        return as_loss(self.loss)

    def task(self, value: Any, what: str) -> Task:
        """A task as NumPy arrays, from `((x_support, y_support), (x_query, y_query))`.

        Args:
          value: the task.
          what: what to call it in an error.

        Raises:
          DataError: for a value that is no task, or is unlike the first task.
        """
        try:
            (x_support, y_support), (x_query, y_query) = value
        except (TypeError, ValueError):
            raise DataError(
                f"{what} is {describe(value)}; expected ((x_support, y_support), (x_query, y_query))."
            ) from None
        task = Task(
            Batch(self._x(x_support, f"{what}: x_support"), self._y(y_support, f"{what}: y_support")),
            Batch(self._x(x_query, f"{what}: x_query"), self._y(y_query, f"{what}: y_query")),
        )
        _check_whole(task, what)
        if self.most is not None:
            task = Task(*(_padded(part, most, what) for part, most in zip(task, self.most, strict=True)))
        if self.like is not None:
            _check_like(task, self.like, what)
        return task

    def fixed_by(self, first: Task) -> "TaskForm":
        """The form with the ways, shapes and types of the first task; unchanged where there was one before."""
        if self.like is not None:
            return self
        ways = self.ways
        if self.judge.labels and ways is None:
            ways = max(2, 1 + int(max(first.support.y.max(), first.query.y.max())))
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), first)
        return dataclasses.replace(self, ways=ways, like=like)

    def family(self, distributions: Mapping[str, Distribution]) -> Family:
        """The family of these distributions, by split."""
        train, validation, test = (distributions[split] for split in ("train", "validation", "test"))
        inputs = self.images or (SAME_CLASSES if self.same_classes else AS_THEY_ARE)
        recipe = OF_LABELS if self.judge.labels else OF_NUMBERS
        return Family(train, validation, test, self.loss, recipe, self._network, inputs=inputs)

    def _network(self, each: int | None = None) -> Model:
        x, y = self.like.support.x, self.like.support.y
        if not hasattr(x, "shape") or len(x.shape) != 2 or x.dtype != np.float32 or not hasattr(y, "shape"):
            raise OptionError(f"Examples {describe(x)} need a network of yours: meta_train(mtnets.wrap(...), ...).")
        outputs = self.ways or (each or self.judge.outputs_per_target) * y.shape[-1]
        return mlp(x.shape[1], 64, 64, outputs, init_std=0.1)

    def _x(self, value: Any, name: str) -> Any:
        if self.images is None and is_several(value):
            return jax.tree.map(lambda part: self._x(part, name), value, is_leaf=lambda v: not is_several(v))
        x = read_array(value, name)
        if self.images is not None:
            self.images.check(x, name)
            return x
        if x.ndim < 2 or not _is_real(x):
            raise DataError(f"{name} is {describe(x)}; expected numbers [examples, ...].")
        return narrowed(x, np.int32 if x.dtype.kind in WHOLE else np.float32, name)

    def _y(self, value: Any, name: str) -> Any:
        if self.judge.targets == "any" and is_several(value):
            return jax.tree.map(lambda part: _as_it_is(part, name), value, is_leaf=lambda v: not is_several(v))
        y = read_array(value, name)
        if self.judge.labels:
            return self._labels(y, name)
        if self.judge.targets == "any" and y.dtype.kind in WHOLE:
            return narrowed(y, np.int32, name)
        y = y[:, None] if y.ndim == 1 else y
        if y.ndim < 2 or not _is_real(y):
            raise DataError(f"{name} is {describe(y)}; expected numbers [examples, outputs].")
        return narrowed(y, np.float32, name)

    def _labels(self, y: NDArray[Any], name: str) -> NDArray[np.int32]:
        if y.ndim < 1 or y.dtype.kind not in WHOLE:
            raise DataError(f"{name} is {describe(y)}; expected integer labels [examples].")
        if y.size and (y.min() < 0 or (self.ways and y.max() >= self.ways)):
            raise DataError(
                f"{name} has labels from {y.min()} to {y.max()}; expected 0 to {(self.ways or 2) - 1}. Number the "
                "classes of each task from 0, or say how many there are: ways=..."
            )
        return narrowed(y, np.int32, name)


def _as_it_is(value: Any, name: str) -> NDArray[Any]:
    """One of several targets, of any shape."""
    y = read_array(value, name)
    return narrowed(y, np.int32 if y.dtype.kind in WHOLE else np.float32, name)


def _named(task: Any) -> dict[str, Any]:
    """Every array of a task by its name: `x_support`, or `x_support['image']` where there are several."""
    named = {}
    for part in ("support", "query"):
        for name in "xy":
            tree = getattr(getattr(task, part), name)
            for keys, leaf in jax.tree.leaves_with_path(tree):
                named[f"{name}_{part}" + (f"[{path_of(keys)!r}]" if keys else "")] = leaf
    return named


def _pairs(query: Batch, support: Batch) -> list[tuple[str, Any, Any]]:
    """The arrays of both sets, side by side."""
    pairs = []
    for name in "xy":
        of_query, of_support = (jax.tree.leaves(getattr(part, name)) for part in (query, support))
        pairs += [(name, *each) for each in zip(of_query, of_support, strict=False)]
    return pairs


def _check_whole(task: Task, what: str) -> None:
    """Raises DataError where the parts of a task do not fit each other."""
    for name, part in (("support", task.support), ("query", task.query)):
        counts = [[len(leaf) for leaf in jax.tree.leaves(each)] for each in (part.x, part.y)]
        if len({*counts[0], *counts[1]}) != 1 or not counts[0][0]:
            x, y = (", ".join(map(str, dict.fromkeys(each))) for each in counts)
            raise DataError(
                f"{what}: x_{name} has {x} examples and y_{name} {y}; they must have the same number, at least one."
            )
    for name, query, support in _pairs(task.query, task.support):
        if query.shape[1:] != support.shape[1:] or query.dtype != support.dtype:
            raise DataError(f"{what}: {name}_query is {describe(query)} and that of the support {describe(support)}.")


def _padded(batch: Batch, most: int, what: str) -> Batch:
    """The batch with as many examples as `most`: its first one again, of weight 0."""
    count = batch.size
    if count > most:
        raise DataError(f"{what} has a set of {count} examples, more than the {most} of most=.")
    places = np.where(np.arange(most) < count, np.arange(most), 0)
    return batch.take(places)._replace(weights=(np.arange(most) < count).astype(np.float32))  # type: ignore[arg-type]


def _check_like(task: Task, first: Any, what: str) -> None:
    """Raises DataError where a task differs from the first one in shape or type."""
    for part in ("support", "query"):
        names = [f"{name}_{part}" for name in "xy"]
        of_task, of_first = getattr(task, part), getattr(first, part)
        pairs = zip(names, (of_task.x, of_task.y), (of_first.x, of_first.y), strict=True)
        for name, each, like in pairs:
            if jax.tree.structure(each) != jax.tree.structure(like):
                raise DataError(
                    f"{what}: {name} is {describe(each)} and that of the first training task {describe(like)}; all "
                    "tasks must have the same form."
                )
    for (name, leaf), like in zip(_named(task).items(), _named(first).values(), strict=True):
        if leaf.shape != like.shape or leaf.dtype != like.dtype:
            raise DataError(
                f"{what}: {name} is {describe(leaf)} and that of the first training task {describe(like)}; all tasks "
                "must have the same shapes and types."
            )


def without_jax(value: Any, what: str) -> Any:
    """The value. Raises DataError if it holds JAX arrays."""
    if any(isinstance(leaf, Array) for leaf in jax.tree.leaves(value)):
        raise DataError(f"{what} holds JAX arrays; make it with NumPy alone, as JAX would wait for itself there.")
    return value


def _is_real(array: NDArray[Any]) -> bool:
    return array.dtype.kind in REAL


def describe(value: Any) -> str:
    """The type and shape of a value, for an error."""
    if value is None:
        return "None (a filter of a Grain MapDataset leaves such holes; filter the data that it is made of)"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {list(value.shape)}"
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else type(value).__name__
