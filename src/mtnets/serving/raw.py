"""From the JSON of a request to the raw examples that a learner takes, and from labels of any name to its own."""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError, OptionError, first_line, listed
from mtnets.learner import Learner
from mtnets.raw_arrays import WHOLE, read_array
from mtnets.serving.limits import Limits
from mtnets.tasks import Images
from mtnets.tasks.inputs.image_files import FORMATS, load

Label = str | int


def to_raw(learner: Learner, x: Sequence[Any], limits: Limits) -> Any:
    """Raw examples for `learner.adapt`: an array `[examples, ...]`, several of them, or columns of a table.

    Args:
      learner: that takes them.
      x: an item for each example; see `forms.Inputs`.
      limits: how many, and how large images may be.

    Raises:
      DataError: for too many examples, or one that is not what the learner takes.
    """
    if len(x) > limits.examples:
        raise DataError(f"x has {len(x)} examples; send at most {limits.examples}.")
    if learner.inputs.named:
        return _columns(x)
    if isinstance(learner.inputs, Images) and any(isinstance(item, str) for item in x):
        return np.stack([_image(item, learner.inputs, f"x[{i}]", limits.pixels) for i, item in enumerate(x)])
    if learner.model.takes_several:
        return _several(learner, x)
    return _numbers(x, "x")


def joined(first: Any, second: Any) -> Any:
    """Raw examples of both, one after the other. Raises DataError where their forms differ."""
    try:
        if isinstance(first, Mapping) and isinstance(next(iter(first.values()), None), list):
            names = dict.fromkeys((*first, *second))
            counts = [len(next(iter(part.values()))) for part in (first, second)]
            parts = zip((first, second), counts, strict=True)
            parts = [{name: part.get(name, [None] * count) for name in names} for part, count in parts]
            return {name: parts[0][name] + parts[1][name] for name in names}
        return jax.tree.map(lambda one, two: np.concatenate([one, two]), first, second)
    except ValueError as error:
        raise DataError(
            f"x is of another form than the examples that the task has ({error}); send the same."
        ) from error


def classes_of(learner: Learner) -> tuple[Label, ...] | None:
    """The classes that outputs stand for in all tasks; None where each task has its own, or for numbers."""
    if not learner.loss.labels or not learner.inputs.shared_classes:
        return None
    named = getattr(learner.inputs, "classes", ())
    return tuple(named) or tuple(range(learner.outputs))


def named_classes(y: Sequence[Any], most: int) -> tuple[Label, ...]:
    """The classes of a task by its labels, in order.

    Raises:
      DataError: for labels that are not all text, or all whole numbers, or too many of them.
    """
    for i, label in enumerate(y):
        if isinstance(label, bool) or not isinstance(label, Label) or type(label) is not type(y[0]):
            raise DataError(f"y[{i}] is {label!r:.40}; labels must be all text, or all whole numbers.")
    names = tuple(sorted(set(y)))
    if len(names) > most:
        raise DataError(f"y has {len(names)} classes; send at most {most}.")
    return names


def to_targets(learner: Learner, y: Sequence[Any] | None, classes: Sequence[Label] | None, count: int) -> Any:
    """Targets for `learner.adapt`.

    Args:
      learner: that learns them.
      y: an item for each example; None for the target column of a table.
      classes: of the task, for labels whose meaning is its own.
      count: of examples.

    Raises:
      DataError: for as many targets as there are no examples, or a label that is none of the classes.
    """
    if y is None:
        if not learner.inputs.named:
            raise DataError("y is missing; send a label or number for each example.")
        return None
    if len(y) != count:
        raise DataError(f"x has {count} examples and y {len(y)}; send as many.")
    if learner.inputs.named:
        return list(y)
    if not learner.loss.labels:
        return _numbers(y, "y")
    if classes is None or learner.inputs.shared_classes:
        labels = _numbers(y, "y")
        if labels.dtype.kind not in WHOLE:
            raise DataError(f"y has type {labels.dtype}, and the labels of this learner are whole numbers; send these.")
        return labels
    places = {name: place for place, name in enumerate(classes)}
    unknown = [repr(label) for label in dict.fromkeys(map(_hashable, y)) if label not in places]
    if unknown:
        raise DataError(
            f"y has {listed(unknown)}, and the task {listed([repr(name) for name in classes])}; for new classes learn "
            "all examples anew: anew=true."
        )
    return np.array([places[label] for label in y])


def check_served(learner: Learner) -> None:
    """Raises OptionError for a learner whose targets no request can have."""
    shape = learner.criterion.inner_loss.shape_of_targets(learner.output_shape)
    if learner.loss.labels and shape != ():
        raise OptionError(
            f"The learner has labels of the shape {shape} for each example, and those that are served have one each; "
            "use it in Python: learner.adapt(x, y)."
        )


def _hashable(label: Any) -> Any:
    return label if isinstance(label, Label) else repr(label)


def _numbers(values: Sequence[Any], name: str) -> NDArray[Any]:
    array = read_array(values, name)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name}[0] is {values[0]!r:.40}; send numbers, nested as the learner's inputs are.")
    return array


def _image(item: Any, inputs: Images, name: str, most: int) -> NDArray[np.uint8]:
    """The pixels of an image in base64, `[size, size, channels]`."""
    from PIL import Image

    if not isinstance(item, str):
        raise DataError(f"{name} is {item!r:.40}; send all images as base64, or all as nested numbers.")
    text = item.partition(",")[2] if item.startswith("data:") else item
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{name} is no base64 ({error}); send the bytes of an image file as base64.") from error
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:  # its head alone
            size = opened.width * opened.height
    except Exception as error:  # of any kind, from damaged files
        raise DataError(f"{name} is no image that can be read; send PNG or JPEG as base64.") from error
    if size > most:
        raise DataError(f"{name} has {size} pixels; at most {most} are read: make it smaller.")
    pixels = load(content, name, inputs.size, inputs.channels, inputs.resize)
    if pixels.dtype != np.uint8:
        raise DataError(f"{name} has {pixels.itemsize * 8} bits a pixel; save it with 8.")
    return pixels


def _columns(rows: Sequence[Any]) -> dict[str, list[Any]]:
    """The columns of a table; a cell that a row lacks is missing."""
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"x[{i}] is {row!r:.40}; send each row as an object of its cells by column.")
        for name, cell in row.items():
            if isinstance(cell, list | Mapping):
                raise DataError(f"x[{i}][{name!r}] is {cell!r:.40}; a cell is a number, text, true, false or null.")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _several(learner: Learner, x: Sequence[Any]) -> Any:
    """Several arrays, from an object or a list of them for each example."""
    structure = jax.tree.structure(learner.model.inputs)
    try:
        items = [structure.flatten_up_to(tuple(item) if isinstance(item, list) else item) for item in x]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"x is of another form than {learner.model.input_shape!r} for each example ({first_line(error)}); send "
            "that."
        ) from error
    return jax.tree.unflatten(structure, [_numbers(parts, "x") for parts in zip(*items, strict=True)])
