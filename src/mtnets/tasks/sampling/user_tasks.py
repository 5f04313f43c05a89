"""Tasks of your own: made by a function, or taken from a sequence of them."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray

from mtnets.errors import DataError, OptionError
from mtnets.inner.losses import LOSSES
from mtnets.inner.task import Batch, Distribution, Task
from mtnets.networks.model import Model
from mtnets.networks.models import mlp
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.inputs.inputs import AS_THEY_ARE
from mtnets.tasks.sampling.host_callback import fetch_each

Loss = Literal["mse", "cross-entropy"]
Make = Callable[[np.random.Generator], Any]

RECIPES = {
    # no inner_clip: targets may be in any unit, and so may gradients
    "mse": Recipe(inner_lr=0.01, inner_steps=1, meta_batch=4, meta_steps=60_000, clip_norm=10.0),
    "cross-entropy": Recipe(
        inner_lr=0.1, inner_steps=5, meta_batch=16, meta_steps=10_000, inner_clip=10.0, clip_norm=10.0
    ),
}


def from_function(
    train: Make,
    validation: Make | None = None,
    test: Make | None = None,
    *,
    loss: Loss,
    ways: int | None = None,
    inputs: Images | None = None,
) -> Family:
    """Tasks that a function makes on the host from a random generator.

        def make(rng):
            a, x = rng.uniform(0.1, 5), rng.uniform(-5, 5, (20, 1))
            return (x[:10], a * np.sin(x[:10])), (x[10:], a * np.sin(x[10:]))

        tasks = mtnets.tasks.from_function(make, loss="mse")

    Args:
      train: `train(rng) -> ((x_support, y_support), (x_query, y_query))`, NumPy arrays: x `[examples, ...]`, y
        `[examples, outputs]` (or `[examples]` for a single output) in regression, labels `[examples]` from 0 in
        classification. All randomness comes from `rng`, all tasks have the same shapes, and JAX must not be used in it.
        Devices may call it from several threads.
      validation, test: the functions of validation and test tasks; `train` serves for both unless given.
      loss: `"mse"` (regression) or `"cross-entropy"` (classification).
      ways: classes of a task; as many as the first one has unless given.
      inputs: how uint8 images `[examples, size, size, channels]` become inputs; x are inputs already unless given.

    Raises:
      OptionError: for another loss, or ways below 2.
      DataError: for a function that makes no task, or another one when called again with the same generator. So does
        training, for a task unlike the first one in shape or type, or with a number that is not finite.
    """
    form = Form(loss, ways, inputs)
    made = {}
    for split, function in {"train": train, "validation": validation or train, "test": test or train}.items():
        task = functools.partial(_made, function, split)
        zero = np.zeros(2, np.uint32)
        first, again = task(form, zero), task(form, zero)
        if not all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(again))):
            raise DataError(
                f"The function of {split} tasks made two different ones with the same generator; draw every random "
                "number from the generator that it is given, and change nothing outside it."
            )
        form = form.fixed_by(first)
        made[split] = FromFunction(functools.partial(task, form), form.like, inputs)
    return form.family(made)


def from_sequence(
    train: Sequence[Any] | Iterable[Any],
    validation: Sequence[Any] | Iterable[Any],
    test: Sequence[Any] | Iterable[Any],
    *,
    loss: Loss,
    ways: int | None = None,
    inputs: Images | None = None,
    limit: int = 10_000,
) -> Family:
    """Tasks from sequences of them: each task of a training is one of `train`, drawn with replacement.

    A list or tuple is kept on the device. Of anything else that has `[i]` and a length, such as a Grain `MapDataset`,
    tasks are fetched from the host as they are drawn. What can only be iterated over, such as a Grain `IterDataset` or
    a generator, cannot be gone on with bit for bit: the first `limit` tasks are read into memory, and drawn from.

    Args:
      train, validation, test: tasks `((x_support, y_support), (x_query, y_query))` as for `from_function`, all of the
        same shapes. A task that is fetched must be the same one each time, and made without JAX.
      loss, ways, inputs: as for `from_function`.
      limit: tasks to be read, of each of these, from what can only be iterated over.

    Raises:
      OptionError: for another loss, ways below 2, or a limit below 1.
      DataError: without tasks, or for what is no task or is unlike the first one: of a list any task, of other
        sequences the first one, and later ones when training fetches them.
    """
    if limit < 1:
        raise OptionError(f"limit is {limit}; it must be at least 1.")
    form = Form(loss, ways, inputs)
    made: dict[str, Distribution] = {}
    for split, given in {"train": train, "validation": validation, "test": test}.items():
        tasks = _sequence(given, split, limit)
        task = functools.partial(_taken, tasks, split)
        form = form.fixed_by(task(form, np.array(0)))
        if isinstance(tasks, list | tuple):
            each = [task(form, np.array(i)) for i in range(len(tasks))]
            made[split] = Stored(jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *each), inputs)
        else:
            # an endless MapDataset has more tasks than an index of 32 bits tells apart
            made[split] = FromSequence(functools.partial(task, form), form.like, inputs, min(len(tasks), 2**31 - 1))
    return form.family(made)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class FromFunction:
    """Tasks made on the host from random numbers.

    Attributes:
      task: makes one from the words of a key, `[words]` uint32.
      like: shapes and types of a task.
      inputs: how x become inputs; None where they are.
    """

    task: Callable[[NDArray[Any]], Task]
    like: Task
    inputs: Images | None

    def sample(self, key: Array) -> Task:
        """One task, of the shapes of `like`."""
        return _converted(fetch_each(self.task, self.like, jax.random.key_data(key)), self.inputs)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class FromSequence:
    """Tasks fetched from a sequence on the host.

    Attributes:
      task: the task of some place.
      like: shapes and types of a task.
      inputs: how x become inputs; None where they are.
      count: how many there are.
    """

    task: Callable[[NDArray[Any]], Task]
    like: Task
    inputs: Images | None
    count: int

    def sample(self, key: Array) -> Task:
        """One task, of the shapes of `like`."""
        return _converted(fetch_each(self.task, self.like, jax.random.randint(key, (), 0, self.count)), self.inputs)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stored:
    """Tasks kept on the device.

    Attributes:
      tasks: all of them, with a leading axis of tasks.
      inputs: how x become inputs; None where they are.
    """

    tasks: Task
    inputs: Images | None = dataclasses.field(metadata={"static": True})

    def sample(self, key: Array) -> Task:
        """One of them."""
        place = jax.random.randint(key, (), 0, len(self.tasks.support.x))
        return _converted(jax.tree.map(lambda leaf: leaf[place], self.tasks), self.inputs)


@dataclasses.dataclass(frozen=True)
class Form:
    """What the tasks of a family must be.

    Attributes:
      loss, ways, inputs: as for `from_function`.
      like: shapes and types, those of the first task; None before there is one.
    """

    loss: Loss
    ways: int | None
    inputs: Images | None
    like: Any = None

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise OptionError(f"There is no loss {self.loss!r}; choose one of {', '.join(LOSSES)}.")
        if self.ways is not None and self.ways < 2:
            raise OptionError(f"ways is {self.ways}; it must be at least 2.")

    def task(self, given: Any, what: str) -> Task:
        """A task as NumPy arrays, checked; `what` names it in an error."""
        try:
            (x_support, y_support), (x_query, y_query) = given
        except (TypeError, ValueError):
            raise DataError(
                f"{what} is {_described(given)}; expected ((x_support, y_support), (x_query, y_query))."
            ) from None
        task = Task(
            Batch(self._x(x_support, f"{what}: x_support"), self._y(y_support, f"{what}: y_support")),
            Batch(self._x(x_query, f"{what}: x_query"), self._y(y_query, f"{what}: y_query")),
        )
        for name, (x, y) in zip(("support", "query"), task, strict=True):
            if len(x) != len(y) or not len(x):
                raise DataError(f"{what}: x_{name} has {len(x)} examples and y_{name} {len(y)}; they must be as many.")
        names = ("x_support", "y_support", "x_query", "y_query")
        # its own support set is like its query set but for the number of examples
        halves = zip(names, jax.tree.leaves(task), jax.tree.leaves(Task(task.support, task.support)), strict=True)
        for name, leaf, support in halves:
            if leaf.shape[1:] != support.shape[1:] or leaf.dtype != support.dtype:
                raise DataError(f"{what}: {name} is {_described(leaf)} and that of the support {_described(support)}.")
        if self.like is not None:
            for name, leaf, like in zip(names, jax.tree.leaves(task), jax.tree.leaves(self.like), strict=True):
                if leaf.shape != like.shape or leaf.dtype != like.dtype:
                    raise DataError(
                        f"{what}: {name} is {_described(leaf)} and that of the first training task "
                        f"{_described(like)}; all tasks must have the same shapes and types."
                    )
        return task

    def fixed_by(self, first: Task) -> "Form":
        """The form that this task gives to all after it, where none did before."""
        if self.like is not None:
            return self
        ways = self.ways
        if self.loss == "cross-entropy" and ways is None:
            ways = max(2, 1 + int(max(first.support.y.max(), first.query.y.max())))
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), first)
        return dataclasses.replace(self, ways=ways, like=like)

    def family(self, made: Mapping[str, Distribution]) -> Family:
        """The family of these distributions, by split."""
        return Family(
            made["train"], made["validation"], made["test"], self.loss, RECIPES[self.loss], self._network,
            inputs=self.inputs or AS_THEY_ARE,
        )  # fmt: skip

    def _network(self) -> Model:
        x, y = self.like.support
        if len(x.shape) != 2 or x.dtype != np.float32:
            raise OptionError(f"Examples {_described(x)} need a network of yours: meta_train(mtnets.wrap(...), ...).")
        return mlp(x.shape[1], 64, 64, self.ways or y.shape[1], init_std=0.1)

    def _x(self, given: ArrayLike, name: str) -> Any:
        x = np.asarray(given)
        if self.inputs is not None:
            if x.dtype != np.uint8 or x.shape[1:] != self.inputs.shape:
                shape = ", ".join(map(str, self.inputs.shape))
                raise DataError(f"{name} is {_described(x)}; expected uint8 [examples, {shape}].")
            return x
        if x.ndim < 2 or not (np.issubdtype(x.dtype, np.number) or x.dtype == bool) or np.iscomplexobj(x):
            raise DataError(f"{name} is {_described(x)}; expected numbers [examples, ...].")
        return _finite(x, np.int32 if np.issubdtype(x.dtype, np.integer) else np.float32, name)

    def _y(self, given: ArrayLike, name: str) -> Any:
        y = np.asarray(given)
        if self.loss == "cross-entropy":
            if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
                raise DataError(f"{name} is {_described(y)}; expected integer labels [examples].")
            if y.size and (y.min() < 0 or (self.ways and y.max() >= self.ways)):
                raise DataError(
                    f"{name} has labels from {y.min()} to {y.max()}; expected 0 to {(self.ways or 2) - 1}. Number the "
                    "classes of each task from 0, or say how many there are: ways=..."
                )
            return y.astype(np.int32)
        y = y[:, None] if y.ndim == 1 else y
        if y.ndim != 2 or not (np.issubdtype(y.dtype, np.number) or y.dtype == bool) or np.iscomplexobj(y):
            raise DataError(f"{name} is {_described(y)}; expected numbers [examples, outputs].")
        return _finite(y, np.float32, name)


def _made(function: Make, split: str, form: Form, words: NDArray[Any]) -> Task:
    """The task that a function makes with these words as the seed of its generator."""
    seed = [int(word) for word in words]
    what = f"The {split} task of np.random.default_rng({seed})"
    return form.task(_called(lambda: function(np.random.default_rng(seed)), what), what)


def _taken(tasks: Any, split: str, form: Form, place: NDArray[Any]) -> Task:
    """The task at some place of a sequence."""
    what = f"Task {int(place)} of {split}"
    return form.task(_called(lambda: tasks[int(place)], what), what)


def _called(make: Callable[[], Any], what: str) -> Any:
    try:
        made = make()
    except Exception as error:  # it is the user's function: anything
        raise DataError(f"{what} cannot be made: {type(error).__name__}: {error}") from error
    if any(isinstance(leaf, Array) for leaf in jax.tree.leaves(made)):
        raise DataError(f"{what} holds JAX arrays; make it with NumPy alone, as JAX would wait for itself there.")
    return made


def _sequence(given: Any, split: str, limit: int) -> Any:
    """What has `[i]` and a length as it is, and the first tasks of anything else as a list."""
    if isinstance(given, Mapping) or not (hasattr(given, "__getitem__") or hasattr(given, "__iter__")):
        raise DataError(f"{split} is {_described(given)}; expected a sequence of tasks.")
    tasks = given
    if not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        tasks = list(itertools.islice(given, limit))
    if len(tasks) == 0:
        raise DataError(
            f"There are no {split} tasks; expected a sequence of at least one (an iterator gives each once)."
        )
    return tasks


def _converted(task: Task, inputs: Images | None) -> Task:
    if inputs is None:
        return task
    return Task(*(Batch(inputs.to_inputs(x), y) for x, y in task))


def _finite(array: NDArray[Any], dtype: Any, name: str) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        made = array.astype(dtype)
    if made.dtype == np.int32 and (made != array).any():
        raise DataError(
            f"{name} has whole numbers beyond 32 bits, such as {array[made != array][0]}; make them smaller."
        )
    if not np.isfinite(made).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(made))[0])
        raise DataError(f"{name} is {array[place]} at {place}; expected finite numbers, within single precision.")
    return made


def _described(value: Any) -> str:
    if value is None:
        return "None (a filter of a Grain MapDataset leaves such holes; filter what it is made of)"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {list(value.shape)}"
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else type(value).__name__
