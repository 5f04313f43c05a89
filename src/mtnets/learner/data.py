"""Raw examples and targets as what a network takes, checked."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from mtnets.errors import DataError
from mtnets.forks import check_process
from mtnets.inner import Batch
from mtnets.networks.model import Model
from mtnets.networks.several import shapes_in_words
from mtnets.raw_arrays import (
    WHOLE,
    check_no_path,
    check_real,
    is_several,
    narrowed,
    read_array,
    read_arrays,
    reading_array,
)
from mtnets.tasks import Inputs
from mtnets.trees import path_of


def to_inputs(model: Model, x: Any, inputs: Inputs, name: str) -> Any:
    """Inputs of a network, `[examples, *input_shape]`, or a dictionary or tuple of such.

    Raises:
      DataError: if shapes do not fit, or a number is not finite or beyond single precision.
    """
    return _on_device(model, _examples(model, x, inputs, name), inputs, name)


def to_queries(model: Model, x: Any, inputs: Inputs, name: str) -> tuple[Any, int]:
    """Inputs of a network to predict, and how many examples they are. More rows follow, which repeat examples, so that
    few programs are compiled; not where predictions depend on all that are in a batch.

    Raises:
      DataError: as `to_inputs`.
    """
    arrays = _examples(model, x, inputs, name)
    count = len(jax.tree.leaves(arrays)[0])
    size = count if model.norm == "transductive" else padded_size(count)
    repeated = jax.tree.map(lambda array: array[np.arange(size) % count], arrays)
    return _on_device(model, repeated, inputs, name), count


def padded_size(count: int) -> int:
    """The next of 1, 2, …, 8, 10, 12, 14, 16, 20, 24, …: four sizes from each power of two to the next, at most a
    quarter more than the count."""
    step = 2 ** max(0, (count - 1).bit_length() - 3)
    return -(-count // step) * step


def padded(batch: Batch) -> Batch:
    """A batch of `padded_size` of its examples, so that few programs are compiled: the examples that are repeated have
    weight 0. This is not for networks with batch norm, to which they would count."""
    count = batch.size
    size = padded_size(count)
    if size == count and batch.weights is not None:
        return batch
    weights = np.ones(count, np.float32) if batch.weights is None else batch.weights
    repeated = jax.tree.map(np.asarray, batch._replace(weights=weights)).take(np.arange(size) % count)
    return repeated._replace(weights=np.where(np.arange(size) < count, repeated.weights, 0))


def counted(batch: Batch) -> int:
    """How many examples of a batch count: those of weight 0 do not."""
    return batch.size if batch.weights is None else int(np.count_nonzero(np.asarray(batch.weights)))


def _on_device(model: Model, arrays: Any, inputs: Inputs, name: str) -> Any:
    """Inputs of the network, finite in its precision."""

    def placed(keys: Any, array: np.ndarray, like: Any) -> Array:
        what = f"{name}[{path_of(keys)!r}]" if keys else name
        if array.dtype.kind not in "iub":  # raw numbers in single precision too: scaled ones hide what is beyond it
            narrowed(array, np.float64 if np.dtype(like.dtype) == np.float64 else np.float32, what)
        return jnp.asarray(narrowed(inputs.scale(array), like.dtype, what))

    return jax.tree.map_with_path(placed, arrays, model.inputs)


def _examples(model: Model, x: Any, inputs: Inputs, name: str) -> Any:
    """Examples in the form that inputs of the network have, not scaled."""
    check_process()
    check_no_path(x, name)
    if model.takes_several:
        return _several(model, x, name)
    with reading_array(x, name):
        array = inputs.prepare(x)
    if array.ndim == len(model.input_shape) and model.input_shape == (1,):
        array = array[:, None]
    if array.ndim > 1 and array.shape[1:] == model.channels_last_shape:
        array = np.moveaxis(array, -1, 1)
    if array.shape[1:] != model.input_shape or len(array.shape) == 0 or len(array) == 0:
        several = array.ndim > 1 and array.shape[2:] == model.input_shape
        raise DataError(
            f"{name} has shape {array.shape}; this learner needs (examples, {', '.join(map(str, model.input_shape))}) "
            f"with at least one example{'. For several tasks at once, use adapt_many' * several}."
        )
    return array


def _several(model: Model, x: Any, name: str) -> Any:
    """The same for a network of several inputs."""
    needed = f"this learner needs {shapes_in_words(model.input_shape)}"
    places, structure = jax.tree.flatten_with_path(model.inputs)
    try:  # lists of numbers are arrays
        parts = structure.flatten_up_to(x)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is {described(x)}; {needed}.") from error
    arrays = [read_array(part, f"{name}[{path_of(keys)!r}]") for (keys, _), part in zip(places, parts, strict=True)]
    counts = {array.shape[:1] for array in arrays}
    for (keys, like), array in zip(places, arrays, strict=True):
        if array.shape[1:] != like.shape or not array.shape or not len(array) or len(counts) > 1:
            raise DataError(f"{name}[{path_of(keys)!r}] has shape {array.shape}; {needed} with as many examples each.")
    return jax.tree.unflatten(structure, arrays)


def described(x: Any) -> str:
    """What a user passed for several inputs, for an error."""
    if isinstance(x, Mapping):
        return f"a dictionary of {', '.join(map(str, x)) or 'nothing'}"
    return f"of shape {np.shape(x)}" if hasattr(x, "shape") else f"a {type(x).__name__}"


def to_targets(y: Any, inputs: Inputs, examples: int, shape: tuple[int, ...] | None, *, other: bool = False) -> Any:
    """Targets `[examples, *shape]` that are numbers, of any shape for None. Others, for a loss of the user's, may be
    whole numbers, or several arrays.

    Raises:
      DataError: if shapes do not fit or a number is not finite.
    """
    if other and is_several(y):
        parts = y.items() if isinstance(y, Mapping) else enumerate(y)
        several = {name: to_targets(part, inputs, examples, None, other=True) for name, part in parts}
        return several if isinstance(y, Mapping) else tuple(several.values())
    with reading_array(y, "y"):
        targets = _as_many(inputs.prepare_targets(y), examples)
    if targets.ndim == 1 and shape == (1,):
        targets = targets[:, None]
    if shape is not None and targets.shape != (examples, *shape):
        raise DataError(f"y has shape {targets.shape}; this learner needs {(examples, *shape)}.")
    whole = other and targets.dtype.kind in WHOLE
    return jnp.asarray(narrowed(targets, np.int32 if whole else np.float32, "y"))


def to_labels(
    y: Any,
    inputs: Inputs,
    examples: int,
    shape: tuple[int, ...] | None,
    outputs: int | Callable[[Any], int],
    weights: np.ndarray | None = None,
) -> tuple[Array, Array | None]:
    """Labels `[examples, *shape]`, and which outputs occur among those of a weight above 0, `[outputs]`; None where
    outputs mean the same classes in all tasks. How many outputs there are may be a function of the labels.

    Raises:
      DataError: if shapes or types do not fit, or a label is out of range.
    """
    with reading_array(y, "y"):
        labels = _as_many(inputs.prepare_targets(y), examples)
    if labels.shape[1:] != shape or labels.dtype.kind not in WHOLE:
        places = "one each" if not shape else f"{(examples, *shape)}"
        remedy = "; of names: numpy.unique(y, return_inverse=True)[1]" * (labels.dtype.kind in "UO")
        raise DataError(
            f"y has shape {labels.shape} and type {labels.dtype}; labels must be integers, {places}{remedy}."
        )
    if callable(outputs):
        outputs = outputs(labels)
    if labels.min() < 0 or labels.max() >= outputs:
        raise DataError(
            f"y has labels from {labels.min()} to {labels.max()}; this learner tells {outputs} classes apart, labelled "
            f"0 to {outputs - 1}."
        )
    counted = labels if weights is None else labels[weights > 0]
    occur = np.isin(np.arange(outputs), counted)  # by NumPy, which compiles nothing
    return jnp.asarray(labels, jnp.int32), None if inputs.shared_classes else jnp.asarray(occur)


def to_counts(weights: Any, y: Any, name: str = "weights") -> NDArray[np.float64]:
    """For how many examples each counts, `[examples]`: the weights themselves, or, where all are below 1, as many times
    them as make the largest 1.

    Args:
      weights: of the examples.
      y: their targets, which are as many.
      name: what to call the weights in an error.

    Raises:
      DataError: for weights that are not one number for each example, finite and at least 0, or that are all 0.
    """
    counts, targets = read_array(weights, name), jax.tree.leaves(read_arrays(y, "y"))[0]
    check_real(counts, name)
    if counts.shape != targets.shape[:1]:
        raise DataError(
            f"{name} has shape {counts.shape} and y {targets.shape}; there must be one weight for each example."
        )
    narrowed(counts, np.float32, name)
    counts = counts.astype(np.float64)
    if (counts < 0).any():
        place = int(np.argmax(counts < 0))
        raise DataError(f"{name} is {counts[place]:g} at {place}; a weight must be at least 0, and 0 leaves it out.")
    if not counts.any():
        raise DataError(f"All of {name} are zero, which leaves no example to learn from; make one of them larger.")
    return counts / min(1.0, counts.max())


def to_weights(counts: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weights of a batch, of which the largest is 1, so that no sum of them is beyond single precision."""
    return (counts / counts.max()).astype(np.float32)


@contextlib.contextmanager
def of_task(place: int) -> Iterator[None]:
    """Lets errors of data name the task."""
    try:
        yield
    except DataError as error:
        raise DataError(f"Task {place}: {error}") from error


def check_predictions(predictions: Any, x: Any, *, logits: bool) -> None:
    """Raises DataError for predictions `[..., examples, outputs]` that are not finite.

    Args:
      predictions: of a network.
      x: its inputs, `[..., examples, *input_shape]`.
      logits: whether they are logits, which may be −∞.
    """
    array = np.asarray(predictions, np.float32)
    wrong = ~np.isfinite(array)
    if logits:
        wrong &= array != -np.inf
    if wrong.any():
        *task, example = (int(i) for i in np.argwhere(wrong)[0][:-1])
        place = f"example {example}" + "".join(f" of task {i}" for i in task)
        largest = max(np.abs(np.asarray(part, np.float64)[*task, example]).max() for part in jax.tree.leaves(x))
        raise DataError(
            f"The prediction for {place} is {array[wrong][0]}, for inputs up to {largest:.2g}; correct the example, or "
            "use a network whose numbers do not grow that far."
        )


def _as_many(targets: np.ndarray, examples: int) -> np.ndarray:
    if len(targets.shape) == 0 or len(targets) != examples:
        raise DataError(f"x has {examples} examples and y has shape {targets.shape}; they must have as many.")
    return targets
