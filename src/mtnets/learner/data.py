"""Raw examples and targets as what a network takes, checked."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.errors import DataError
from mtnets.forks import check_process
from mtnets.inner import Batch
from mtnets.networks.model import Model
from mtnets.raw_arrays import WHOLE, narrowed, reading_array
from mtnets.tasks import Inputs


def to_inputs(model: Model, x: Any, inputs: Inputs, name: str) -> Array:
    """Inputs of a network, `[examples, *input_shape]`.

    Raises:
      DataError: if shapes do not fit, or a number is not finite or beyond single precision.
    """
    return _on_device(model, _examples(model, x, inputs, name), inputs, name)


def to_queries(model: Model, x: Any, inputs: Inputs, name: str) -> tuple[Array, int]:
    """Inputs of a network to predict, and how many examples they are. More rows follow, which repeat examples, so that
    few programs are compiled; not where predictions depend on all that are in a batch.

    Raises:
      DataError: as `to_inputs`.
    """
    array = _examples(model, x, inputs, name)
    count = len(array)
    size = count if model.norm == "transductive" else padded_size(count)
    return _on_device(model, array[np.arange(size) % count], inputs, name), count


def padded_size(count: int) -> int:
    """The next of 1, 2, …, 8, 10, 12, 14, 16, 20, 24, …: four sizes from each power of two to the next, at most a
    quarter more than the count."""
    step = 2 ** max(0, (count - 1).bit_length() - 3)
    return -(-count // step) * step


def padded(batch: Batch) -> Batch:
    """A batch of `padded_size` of its examples, so that few programs are compiled: the examples that are repeated have
    weight 0. This is not for networks with batch norm, to which they would count."""
    count = len(batch.x)
    size = padded_size(count)
    if size == count and batch.weights is not None:
        return batch
    places = np.arange(size) % count
    weights = np.ones(count, np.float32) if batch.weights is None else np.asarray(batch.weights)
    x, y = np.asarray(batch.x)[places], np.asarray(batch.y)[places]
    return Batch(x, y, np.where(np.arange(size) < count, weights[places], 0), batch.outputs)  # type: ignore[arg-type]


def _on_device(model: Model, array: np.ndarray, inputs: Inputs, name: str) -> Array:
    """Inputs of the network, finite in its precision."""
    if array.dtype.kind not in "iub":  # raw numbers in single precision too: scaled ones hide what is beyond it
        narrowed(array, np.float64 if _is_double(model) else np.float32, name)
    return jnp.asarray(narrowed(inputs.scale(array), model.input_dtype, name))


def _examples(model: Model, x: Any, inputs: Inputs, name: str) -> np.ndarray:
    """Examples in the form that inputs of the network have, not scaled."""
    check_process()
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


def to_targets(y: Any, inputs: Inputs, examples: int, shape: tuple[int, ...] | None) -> Array:
    """Targets `[examples, *shape]` that are numbers; of any shape for None.

    Raises:
      DataError: if shapes do not fit or a number is not finite.
    """
    with reading_array(y, "y"):
        targets = _as_many(inputs.prepare_targets(y), examples)
    if targets.ndim == 1 and shape == (1,):
        targets = targets[:, None]
    if shape is not None and targets.shape != (examples, *shape):
        raise DataError(f"y has shape {targets.shape}; this learner needs {(examples, *shape)}.")
    whole = shape is None and targets.dtype.kind in WHOLE
    return jnp.asarray(narrowed(targets, np.int32 if whole else np.float32, "y"))


def to_labels(
    y: Any, inputs: Inputs, examples: int, shape: tuple[int, ...] | None, outputs: int
) -> tuple[Array, Array | None]:
    """Labels `[examples, *shape]`, and which outputs occur among them, `[outputs]`; None where outputs mean the same
    classes in all tasks.

    Raises:
      DataError: if shapes or types do not fit, or a label is out of range.
    """
    with reading_array(y, "y"):
        labels = _as_many(inputs.prepare_targets(y), examples)
    if labels.shape[1:] != shape or labels.dtype.kind not in WHOLE:
        places = "one each" if not shape else f"{(examples, *shape)}"
        raise DataError(f"y has shape {labels.shape} and type {labels.dtype}; labels must be integers, {places}.")
    if labels.min() < 0 or labels.max() >= outputs:
        raise DataError(
            f"y has labels from {labels.min()} to {labels.max()}; this learner tells {outputs} classes apart, labelled "
            f"0 to {outputs - 1}."
        )
    occur = np.isin(np.arange(outputs), labels)  # by NumPy, which compiles nothing
    return jnp.asarray(labels, jnp.int32), None if inputs.shared_classes else jnp.asarray(occur)


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
        largest = np.abs(np.asarray(x, np.float64)[*task, example]).max()
        raise DataError(
            f"The prediction for {place} is {array[wrong][0]}, for inputs up to {largest:.2g}; correct the example, or "
            "use a network whose numbers do not grow that far."
        )


def _is_double(model: Model) -> bool:
    return np.dtype(model.input_dtype) == np.float64


def _as_many(targets: np.ndarray, examples: int) -> np.ndarray:
    if len(targets.shape) == 0 or len(targets) != examples:
        raise DataError(f"x has {examples} examples and y has shape {targets.shape}; they must have as many.")
    return targets
