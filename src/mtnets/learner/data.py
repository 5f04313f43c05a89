"""Raw examples and targets as what a network takes, checked."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.errors import DataError, MtnetsError, first_line
from mtnets.networks.model import Model
from mtnets.tasks import Inputs


def to_inputs(model: Model, x: Any, inputs: Inputs, name: str) -> Array:
    """Inputs of a network, `[examples, *input_shape]`.

    Raises:
      DataError: if shapes do not fit or a number is not finite.
    """
    with as_numbers(x, name):
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
    return jnp.asarray(inputs.scale(check_finite(array, name)), model.input_dtype)


def to_targets(y: Any, inputs: Inputs, examples: int, outputs: int) -> Array:
    """Targets `[examples, outputs]` of regression.

    Raises:
      DataError: if shapes do not fit or a number is not finite.
    """
    with as_numbers(y, "y"):
        targets = _as_many(inputs.prepare_targets(y), examples)
    if targets.ndim == 1 and outputs == 1:
        targets = targets[:, None]
    if targets.shape != (examples, outputs):
        raise DataError(f"y has shape {targets.shape}; this learner needs ({examples}, {outputs}).")
    return jnp.asarray(check_finite(targets, "y"), jnp.float32)


def to_labels(y: Any, inputs: Inputs, examples: int, outputs: int) -> tuple[Array, Array | None]:
    """Labels `[examples]`, and which outputs occur among them, `[outputs]`; None where outputs mean the same classes in
    all tasks.

    Raises:
      DataError: if shapes or types do not fit, or a label is out of range.
    """
    with as_numbers(y, "y"):
        labels = _as_many(inputs.prepare_targets(y), examples)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"y has shape {labels.shape} and type {labels.dtype}; labels must be integers, one each.")
    if labels.min() < 0 or labels.max() >= outputs:
        raise DataError(
            f"y has labels from {labels.min()} to {labels.max()}; this learner tells {outputs} classes apart, labelled "
            f"0 to {outputs - 1}."
        )
    occur = np.isin(np.arange(outputs), labels)  # by NumPy, which compiles nothing
    return jnp.asarray(labels, jnp.int32), None if inputs.shared_classes else jnp.asarray(occur)


@contextlib.contextmanager
def as_numbers(value: Any, name: str) -> Iterator[None]:
    """Turns errors of NumPy about a value that it cannot read into one DataError.

    Raises:
      DataError: for ragged lists, other objects than numbers, and a masked array, whose mask would be lost.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{name} is a masked array; fill in what is masked, or leave those examples out.")
    try:
        yield
    except MtnetsError:
        raise
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{name} cannot be read as an array of numbers ({first_line(error)}); all examples must have one shape."
        ) from error


def check_finite(array: np.ndarray, name: str) -> np.ndarray:
    """The array, if it holds finite numbers. Raises DataError otherwise."""
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise DataError(f"{name} has type {array.dtype}; it must be real numbers.")
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{name} is {array[first]} at {first}; remove or replace what is NaN or infinite.")
    return array


def _as_many(targets: np.ndarray, examples: int) -> np.ndarray:
    if len(targets.shape) == 0 or len(targets) != examples:
        raise DataError(f"x has {examples} examples and y has shape {targets.shape}; they must have as many.")
    return targets
