"""Where a network, tasks and a loss meet, they are compared, before anything is compiled for them."""

import functools
import os
from pathlib import PurePath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.compilation import compiled
from mtnets.errors import DataError, MtnetsError, OptionError, first_line, warn
from mtnets.inner import Batch, Criterion, Distribution, Loss, Metric, Objective, Task, fixed_key, uses_float16
from mtnets.learner.compiled import predict
from mtnets.networks.adapters.checks import check_form
from mtnets.networks.model import Model
from mtnets.networks.several import is_sizes, shapes_in_words
from mtnets.networks.weighing import weighing
from mtnets.raw_arrays import WHOLE
from mtnets.tasks import FAMILIES, Images, inputs_of
from mtnets.tasks.sampling import ChannelsFirst, surfacing
from mtnets.trees import replace_leaves


def fitted(
    model: Model, criterion: Criterion, tasks: Distribution, what: str, *, any_ways: bool = False
) -> Distribution:
    """The tasks, with inputs as the network takes them.

    One task is drawn; the network is evaluated on it by shapes alone.

    Args:
      model: the network.
      criterion: what its predictions are judged by.
      tasks: where tasks come from. Images with channels last are transposed for a network with channels first; this is
        told of, but for images that the library has read, whose layout is its own.
      what: what to call the tasks in an error.
      any_ways: whether tasks may have more classes than the network has outputs.

    Raises:
      OptionError: for tasks that are no distribution, or a network that cannot take their inputs or whose outputs the
        loss cannot take.
      DataError: for targets that do not fit the network or the loss.
    """
    task = drawn(tasks, what)
    if getattr(task.support.x, "shape", (0, 0))[1:] == model.channels_last_shape:
        if not isinstance(inputs_of(tasks), Images):
            warn(
                f"The tasks have images {list(task.support.x.shape[1:])} and the network takes "
                f"{list(model.input_shape)}, so that they are transposed to channels first; make them so to be sure: "
                "np.moveaxis(x, -1, 1).",
            )
        tasks = ChannelsFirst(tasks)
        task = drawn(tasks, what)
    _check_batch(model, criterion.inner_loss, task.support, f"{what} (support set)", any_ways)
    _check_batch(model, criterion.loss, task.query, f"{what} (query set)", any_ways)
    _check_metrics(model, criterion, task.query)
    return tasks


def check_head(model: Model, criterion: Criterion, x: Any) -> None:
    """Compares the outputs of a network with its last layer, applied to what enters that: a head that starts anew for
    each task, with any number of classes, must be the last thing in the network.

    Args:
      model: the network.
      criterion: what its predictions are judged by.
      x: inputs, `[examples, ...]`.

    Raises:
      OptionError: for a loss that is not of labels, or a network that does not end with a dense layer of any width.
    """
    if not criterion.labels:
        raise OptionError(
            f"The head starts anew for the classes of each task, and the loss {criterion.loss.name} is not one of "
            "labels; use head='fixed', or 'cross-entropy'."
        )
    layer = model.layers[-1]
    inputs = layer.rows - (layer.bias is not None)
    params, state = model.init(jax.random.key(0))
    head = jax.random.normal(jax.random.key(1), (layer.rows, layer.units))
    try:
        features, outputs = (
            np.asarray(predict(model, replace_leaves(params, leaves), state, x), np.float64)
            for leaves in (layer.passing(head.dtype), layer.leaves(head))
        )
    except Exception as error:  # a network may raise anything
        raise OptionError(
            f"The network cannot run with another number of units in its last layer, {layer.name} "
            f"({first_line(error)}); use head='fixed', or a network whose last layer takes its width from its weights."
        ) from error
    expected = np.asarray(layer.matrix(layer.leaves(head)), np.float64)
    made = features @ expected[:inputs] + (expected[inputs] if layer.bias is not None else 0)
    if outputs.shape != made.shape or not np.allclose(outputs, made, rtol=1e-3, atol=1e-3 * np.abs(made).max()):
        raise OptionError(
            f"The outputs of the network are not those of its last layer, {layer.name}, alone; for a head that starts "
            "anew for each task nothing may follow it: use head='fixed', or leave out what follows."
        )


def check_outputs(model: Model, criterion: Criterion, params: Any, state: Any, x: Any) -> None:
    """Runs the network once, at its starting weights, for finite inputs `[examples, ...]`.

    Warns of outputs that sum to one where the loss takes logits.

    Raises:
      OptionError: for outputs that are not finite.
    """
    if not all(np.isfinite(part).all() for part in jax.tree.leaves(x)):  # which `skip_nonfinite` may allow
        return
    outputs = np.asarray(predict(model, params, state, x), np.float32)
    if not np.isfinite(outputs).all():
        half = ", or compute in bfloat16 if this is float16, whose largest number is 65504" * uses_float16(model)
        raise OptionError(
            "The network returns NaN or infinity for the inputs of a training task at its starting weights; look at "
            f"its weights, its code (logarithms, square roots, divisions) and the size of the inputs{half}."
        )
    if (
        criterion.labels
        and outputs.shape[-1] > 1
        and (outputs >= 0).all()
        and np.allclose(outputs.sum(-1), 1, atol=1e-3)
    ):
        warn(
            "The outputs of the network sum to one, as after a softmax, and cross-entropy takes logits, of which it "
            "takes the softmax itself; remove the softmax at the end of the network.",
        )


def check_labels(labels: np.ndarray, outputs: float, what: str) -> None:
    """Raises DataError for labels `[examples]` that are no numbers of outputs."""
    if labels.dtype.kind not in WHOLE:
        raise DataError(
            f"{what} have targets {list(labels.shape)} of {labels.dtype}; labels for cross-entropy must be integers "
            "[examples]. For numbers to predict, use the loss 'mse'."
        )
    if labels.size and (labels.min() < 0 or labels.max() >= outputs):
        raise DataError(
            f"{what} have labels from {labels.min()} to {labels.max()}, and the network tells {outputs} classes apart, "
            f"labelled 0 to {outputs - 1}; use tasks of fewer classes, or a network with {labels.max() + 1} outputs."
        )


def check_seen(task: Task, what: str) -> None:
    """Raises DataError for a task whose query set has a label that the support set has not: such outputs are no classes
    of the task, so that no prediction could be right."""
    support, query = (np.unique(np.asarray(part.y)[_counts(part)]) for part in task)
    if task.support.outputs is None and not set(query) <= set(support):
        unseen = sorted(set(query.tolist()) - set(support.tolist()))
        raise DataError(
            f"{what} (query set) have the label {unseen[0]}, of which their support set has no example; draw every "
            "class into the support set, or, where labels mean the same classes in all tasks, say so: "
            "from_function(..., same_classes=True), or Batch(x, y, outputs=jnp.ones(classes, bool))."
        )


def _counts(batch: Batch) -> Any:
    """Which examples of a batch count."""
    return slice(None) if batch.weights is None else np.asarray(batch.weights) > 0


def check_tasks(tasks: Any, what: str) -> None:
    """Raises OptionError for what is no distribution of tasks; for a name or a path with what builds tasks of it."""
    if callable(getattr(tasks, "sample", None)):
        return
    if isinstance(tasks, str | os.PathLike):
        raise OptionError(f"{what} are {str(tasks)!r}, which is text; build them: {_builder(str(tasks))}.")
    name = getattr(tasks, "__name__", "") if callable(tasks) else ""
    called = f"call it: {name}(). Expected" if name else "expected"
    raise OptionError(
        f"{what} are {type(tasks).__name__}; {called} a family such as mtnets.tasks.sinusoid(), or a distribution "
        "with a method sample(key)."
    )


def _builder(text: str) -> str:
    """The call that most likely builds the tasks which a text stands for: a family's name, a table, or a folder."""
    if text in FAMILIES:
        return f"mtnets.tasks.{text.replace('-', '_')}(...)"
    if PurePath(text).suffix.lower() in (".csv", ".parquet"):
        return f"mtnets.tasks.table({text!r}, task_column=..., target=...)"
    return f"mtnets.tasks.folder({text!r}) of a folder with a folder of images for each class"


def drawn(tasks: Distribution, what: str) -> Task:
    """One task, always the same.

    Raises:
      OptionError: for what is no distribution of tasks.
    """
    check_tasks(tasks, what)
    try:
        with surfacing():
            task = jax.block_until_ready(_draw(tasks, jax.random.key(0)))
    except MtnetsError:
        raise
    except Exception as error:  # the user's code may raise anything
        if "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError):
            raise DataError(
                f"One of {what[0].lower()}{what[1:]} does not fit in memory; use fewer ways, shots or queries, or "
                "smaller inputs."
            ) from error
        raise OptionError(
            f"{what} cannot be drawn ({type(error).__name__}: {first_line(error)}); a distribution must be a pytree, "
            "for example a registered dataclass, whose sample(key) returns a Task, and JAX must be able to trace it."
        ) from error
    if not isinstance(task, Task):
        raise OptionError(f"{what}: sample(key) returns {type(task).__name__}; it must return a mtnets.Task.")
    return jax.device_get(task)


@compiled()
def _draw(tasks: Distribution, key: Array) -> Task:
    return tasks.sample(key)


def _check_batch(model: Model, loss: Loss, batch: Batch, what: str, any_ways: bool) -> None:
    found = jax.tree.map(lambda part: tuple(np.shape(part)[1:]), batch.x)
    if found != model.input_shape:
        raise DataError(
            f"{what} have inputs {_in_words(found)} and the network takes {_in_words(model.input_shape)}; use tasks of "
            "the network's kind, or a network for these."
        )
    counts = [len(part) for part in jax.tree.leaves((batch.x, batch.y))]
    if len(set(counts)) > 1:
        inputs, targets = (len(jax.tree.leaves(part)[0]) for part in (batch.x, batch.y))
        raise DataError(f"{what} have {inputs} inputs and {targets} targets; they must have as many.")
    leaves, structure = jax.tree.flatten(batch.x)
    shape, dtype = _outputs(model, tuple(jax.ShapeDtypeStruct(np.shape(x), x.dtype) for x in leaves), structure)
    y = batch.y
    if loss.targets != "any":
        if not hasattr(y, "dtype"):
            raise DataError(
                f"{what} have targets that are a {type(y).__name__}, and the loss {loss.name} reads one array; use a "
                "loss of your own: loss(prediction, batch) -> [examples]."
            )
        y = np.asarray(y)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise OptionError(f"The network returns {dtype}; it must return real numbers of floating point.")
    expected = loss.shape_of_targets(shape[1:])
    if loss.labels:
        check_labels(y, np.inf if any_ways else shape[-1], what)
    elif loss.targets == "numbers" and y.dtype.kind in WHOLE and y.ndim == 1:
        raise DataError(
            f"{what} have targets {list(y.shape)} of {y.dtype}, which look like labels of classes; for these use the "
            "loss 'cross-entropy', or convert numbers to floating point [examples, outputs]."
        )
    if expected is not None and y.shape[1:] != expected:
        raise DataError(
            f"{what} have targets {list(y.shape)} and the network returns {list(shape)} for them; with these outputs "
            f"the loss {loss.name} needs targets {[len(y), *expected]}: give the network as many outputs, or reshape "
            "the targets."
        )
    if loss.targets == "numbers":
        loss.check_limits(y if batch.weights is None else y[np.asarray(batch.weights) > 0], f"{what} have")
    _check_value(model, loss, batch)
    if batch.weights is not None:
        _check_weights(batch, what)
        check_weighs(model, batch, what)


def _check_weights(batch: Batch, what: str) -> None:
    """Raises DataError for weights that say nothing."""
    weights = np.asarray(batch.weights)
    if weights.shape != (batch.size,) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise DataError(
            f"{what} have weights {list(weights.shape)} from {weights.min():g} to {weights.max():g}; there must be one "
            "for each example, at least 0, and one of them above 0."
        )


def check_weighs(model: Model, batch: Batch, what: str) -> None:
    """Raises OptionError for a network to which all examples of a batch with weights would count alike."""
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    if model.norm != "transductive" and not jax.tree.leaves(state):  # no batch norm, whatever norm says
        return
    with weighing(batch.weights) as present:
        jax.eval_shape(lambda params, state: model.apply(params, state, batch.x, jax.random.key(0)), params, state)
    if present is not None and not present.used:
        raise OptionError(
            f"{what} have weights, as those that fill up a task have, and the network's batch norm counts all alike; "
            "build it with mtnets.models.BatchNorm, leave the weights out (take tasks of one size), or take a network "
            "without batch norm."
        )


def _check_value(model: Model, loss: Loss, batch: Batch) -> None:
    """Raises OptionError for a loss of the user's that does not return numbers of the right shape."""
    if loss.name != "custom":
        return
    general = isinstance(loss, Objective)

    def value(params: Any, state: Any) -> Any:
        if general:
            return loss.value(lambda x: model.apply(params, state, x, None)[0], batch, fixed_key())
        return loss(model.apply(params, state, batch.x, None)[0], batch)  # type: ignore[operator]

    shape = () if general else (batch.size,)
    _check_returned(model, value, {shape}, "The loss", f"{'one number' if general else 'one number per example'}")


def _check_metrics(model: Model, criterion: Criterion, batch: Batch) -> None:
    """Raises OptionError for a metric that does not return numbers of the right shape."""
    for name, metric in criterion.metrics:

        def value(params: Any, state: Any, metric: Metric = metric) -> Any:
            def predict(x: Any) -> Any:
                outputs = model.apply(params, state, x, None)[0]
                return criterion.loss.point(outputs) if metric.of_points else outputs

            if metric.of_network:
                return metric.function(predict, batch, fixed_key())
            return metric.function(predict(batch.x), batch)

        one = "one number"
        shapes, expected = ({()}, one) if metric.of_network else ({(), (batch.size,)}, f"{one} per example, or {one}")
        _check_returned(model, value, shapes, f"The metric {name!r}", expected)


def _check_returned(model: Model, value: Any, shapes: set[tuple[int, ...]], what: str, expected: str) -> None:
    try:
        returned = jax.eval_shape(value, *jax.eval_shape(model.init, jax.random.key(0)))
    except MtnetsError:
        raise
    except Exception as error:  # the user's function may raise anything
        raise OptionError(f"{what} cannot be computed ({type(error).__name__}: {first_line(error)}).") from error
    if getattr(returned, "shape", None) not in shapes:
        found = list(returned.shape) if hasattr(returned, "shape") else type(returned).__name__
        raise OptionError(f"{what} returns {found}; it must return {expected}.")


def _in_words(shape: Any) -> str:
    """Shapes of one input."""
    return str(list(shape)) if is_sizes(shape) else shapes_in_words(shape, before="…")


@functools.lru_cache(maxsize=64)
def _outputs(model: Model, leaves: tuple[Any, ...], structure: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and type of what a network returns for inputs of these shapes and types."""
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    x = jax.tree.unflatten(structure, leaves)
    try:
        y, _ = jax.eval_shape(lambda params, state, x: model.apply(params, state, x, None), params, state, x)
    except MtnetsError:
        raise
    except Exception as error:  # a network may raise anything
        raise OptionError(
            f"The network cannot take inputs {', '.join(f'{list(x.shape)} of {x.dtype}' for x in leaves)}: "
            f"{first_line(error)}. Look at its first layer, input_shape and input_dtype."
        ) from error
    check_form(y, leaves[0].shape[0])
    return y.shape, y.dtype
