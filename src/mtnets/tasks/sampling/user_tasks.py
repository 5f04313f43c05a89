"""Tasks of your own: made by a function, or taken from a sequence of them."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mtnets.arguments import checked_arguments
from mtnets.errors import DataError, OptionError
from mtnets.inner.criterion import LossLike
from mtnets.inner.task import Distribution, Task
from mtnets.tasks.family import Family
from mtnets.tasks.inputs.base import AS_THEY_ARE, Inputs
from mtnets.tasks.inputs.images import Images
from mtnets.tasks.sampling.host_callback import Call, fetch_each
from mtnets.tasks.sampling.task_form import TaskForm, describe, without_jax

TaskFunction = Callable[[np.random.Generator], Any]


@checked_arguments
def from_function(
    train: TaskFunction,
    validation: TaskFunction | None = None,
    test: TaskFunction | None = None,
    *,
    loss: LossLike,
    ways: int | None = None,
    inputs: Images | None = None,
    most: tuple[int, int] | None = None,
    same_classes: bool = False,
) -> Family:
    """Tasks that a function makes on the host from a random generator.

        def make(rng):
            a, x = rng.uniform(0.1, 5), rng.uniform(-5, 5, (20, 1))
            return (x[:10], a * np.sin(x[:10])), (x[10:], a * np.sin(x[10:]))

        tasks = mtnets.tasks.from_function(make, loss="mse")

    Args:
      train: `train(rng) -> ((x_support, y_support), (x_query, y_query))`, NumPy arrays: x `[examples, ...]`, y
        `[examples, outputs]` (or `[examples]` for a single output) in regression, labels `[examples]` from 0 in
        classification. All randomness must come from `rng`, all tasks must have the same shapes, and the function must
        not use JAX. Devices may call it from several threads.
      validation, test: the functions of validation and test tasks. Default to `train`.
      loss: `"mse"` (regression), `"cross-entropy"` (classification), or another, as for `meta_train`. For one of your
        own, y are arrays of any shape and type.
      ways: classes of a task. Defaults to those of the first task.
      inputs: how uint8 images `[examples, size, size, channels]` become inputs. By default, x are inputs already.
      most: examples that a support set and a query set have at most, where their numbers differ from task to task. They
        are padded to this, with examples of weight 0, which do not count. By default, all must have as many.
      same_classes: whether labels mean the same classes in all tasks: letters of a text, parts of an image. By default
        each task numbers its own, and outputs that its support set has no label of are left out.

    Raises:
      OptionError: for another loss, ways below 2, or sizes below 1.
      DataError: for a function that makes no task, or a different one when called again with the same generator.
        Training raises it for a task unlike the first one in shape or type, or with a number that is not finite.
    """
    form = TaskForm(loss, ways, inputs, most, same_classes=same_classes)
    distributions: dict[str, Distribution] = {}
    for split, function in {"train": train, "validation": validation or train, "test": test or train}.items():
        task = functools.partial(_task_of_function, function, split)
        seed = np.zeros(2, np.uint32)
        first, again = task(form, seed), task(form, seed)
        if not all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(again))):
            raise DataError(
                f"The function of {split} tasks made two different ones with the same generator; draw every random "
                "number from the generator that it is given, and change nothing outside it."
            )
        form = form.fixed_by(first)
        distributions[split] = FromFunction(functools.partial(task, form), form.like, inputs or AS_THEY_ARE)
    return form.family(distributions)


@checked_arguments
def from_sequence(
    train: Sequence[Any] | Iterable[Any],
    validation: Sequence[Any] | Iterable[Any],
    test: Sequence[Any] | Iterable[Any],
    *,
    loss: LossLike,
    ways: int | None = None,
    inputs: Images | None = None,
    most: tuple[int, int] | None = None,
    same_classes: bool = False,
    limit: int = 10_000,
) -> Family:
    """Tasks from sequences of them: each task of a training is drawn from `train`, with replacement.

    A list or tuple is kept on the device. From any other sequence, such as a Grain `MapDataset`, tasks are fetched from
    the host as they are drawn. What can only be iterated over, such as a Grain `IterDataset` or a generator, cannot be
    resumed bit for bit: its first `limit` tasks are read into memory.

    Args:
      train, validation, test: tasks `((x_support, y_support), (x_query, y_query))` as for `from_function`, all of the
        same shapes. A task that is fetched must be the same each time, and be made without JAX.
      loss, ways, inputs, most, same_classes: as for `from_function`; tasks of a list or tuple are padded to the largest
        by default.
      limit: tasks to read of each argument that can only be iterated over.

    Raises:
      OptionError: for another loss, ways below 2, or a limit below 1.
      DataError: for a sequence without tasks, and for an element that is no task or is unlike the first one. All
        elements of a list are checked at once, those of other sequences as training fetches them.
    """
    if limit < 1:
        raise OptionError(f"limit is {limit}; it must be at least 1.")
    sequences = {
        split: _sequence(tasks, split, limit)
        for split, tasks in {"train": train, "validation": validation, "test": test}.items()
    }
    form = TaskForm(loss, ways, inputs, most or _most(sequences), same_classes=same_classes)
    distributions: dict[str, Distribution] = {}
    for split, sequence in sequences.items():
        task = functools.partial(_task_of_sequence, sequence, split)
        form = form.fixed_by(task(form, np.array(0)))
        if isinstance(sequence, list | tuple):
            each = [task(form, np.array(i)) for i in range(len(sequence))]
            stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *each)
            distributions[split] = Stored(stacked, inputs or AS_THEY_ARE)
        else:
            # an endless MapDataset has more tasks than an index of 32 bits tells apart
            count = min(len(sequence), 2**31 - 1)
            distributions[split] = FromSequence(functools.partial(task, form), form.like, inputs or AS_THEY_ARE, count)
    return form.family(distributions)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class FromFunction:
    """Tasks made on the host from random numbers.

    Attributes:
      task: makes one from the words of a key, `[words]` uint32.
      like: shapes and types of a task.
      inputs: how x become inputs of the network.
      call: of the program that draws.
    """

    task: Callable[[NDArray[Any]], Task] = dataclasses.field(metadata={"static": True})
    like: Task = dataclasses.field(metadata={"static": True})
    inputs: Inputs = dataclasses.field(metadata={"static": True})
    call: Call = dataclasses.field(default_factory=Call)

    def sample(self, key: Array) -> Task:
        """One task, of the shapes of `like`."""
        return _scaled(fetch_each(self.task, self.like, jax.random.key_data(key), self.call), self.inputs)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class FromSequence:
    """Tasks fetched from a sequence on the host.

    Attributes:
      task: the task at a place.
      like: shapes and types of a task.
      inputs: how x become inputs of the network.
      count: number of tasks.
      call: of the program that draws.
    """

    task: Callable[[NDArray[Any]], Task] = dataclasses.field(metadata={"static": True})
    like: Task = dataclasses.field(metadata={"static": True})
    inputs: Inputs = dataclasses.field(metadata={"static": True})
    count: int = dataclasses.field(metadata={"static": True})
    call: Call = dataclasses.field(default_factory=Call)

    def sample(self, key: Array) -> Task:
        """One task, of the shapes of `like`."""
        place = jax.random.randint(key, (), 0, self.count)
        return _scaled(fetch_each(self.task, self.like, place, self.call), self.inputs)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stored:
    """Tasks kept on the device.

    Attributes:
      tasks: all of them, with a leading axis of tasks.
      inputs: how x become inputs of the network.
    """

    tasks: Task
    inputs: Inputs = dataclasses.field(metadata={"static": True})

    def sample(self, key: Array) -> Task:
        """One of the tasks."""
        place = jax.random.randint(key, (), 0, len(self.tasks.support.x))
        return _scaled(jax.tree.map(lambda leaf: leaf[place], self.tasks), self.inputs)


def _task_of_function(function: TaskFunction, split: str, form: TaskForm, words: NDArray[Any]) -> Task:
    """The task that a function makes from a generator with these words as its seed."""
    seed = [int(word) for word in words]
    what = f"The {split} task of np.random.default_rng({seed})"
    return form.task(_call(lambda: function(np.random.default_rng(seed)), what), what)


def _task_of_sequence(tasks: Any, split: str, form: TaskForm, place: NDArray[Any]) -> Task:
    """The task at a place of a sequence."""
    what = f"Task {int(place)} of {split}"
    return form.task(_call(lambda: tasks[int(place)], what), what)


def _call(make: Callable[[], Any], what: str) -> Any:
    try:
        value = make()
    except Exception as error:  # the user's function may raise anything
        raise DataError(f"{what} cannot be made: {type(error).__name__}: {error}") from error
    return without_jax(value, what)


def _most(sequences: Mapping[str, Any]) -> tuple[int, int] | None:
    """The largest support and query set of lists and tuples; None where all have as many."""
    lists = [sequence for sequence in sequences.values() if isinstance(sequence, list | tuple)]
    try:
        sizes = {tuple(len(y) for _, y in task) for sequence in lists for task in sequence}
        return tuple(max(size) for size in zip(*sizes, strict=True)) if len(sizes) > 1 else None  # type: ignore[return-value]
    except (TypeError, ValueError):
        return None  # what is no task is told by name later


def _sequence(tasks: Any, split: str, limit: int) -> Any:
    """A sequence as it is, and the first tasks of what can only be iterated over as a list."""
    if isinstance(tasks, Mapping) or not (hasattr(tasks, "__getitem__") or hasattr(tasks, "__iter__")):
        raise DataError(f"{split} is {describe(tasks)}; expected a sequence of tasks.")
    indexed = hasattr(tasks, "__len__") and hasattr(tasks, "__getitem__")
    sequence = tasks if indexed else list(itertools.islice(tasks, limit))
    if len(sequence) == 0:
        raise DataError(
            f"There are no {split} tasks; expected a sequence of at least one (an iterator gives each once)."
        )
    return sequence


def _scaled(task: Task, inputs: Inputs) -> Task:
    return Task(*(batch._replace(x=inputs.scale(batch.x)) for batch in task))
