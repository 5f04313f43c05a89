"""An adapted model as a program: what goes in, what comes out, and the card that says how to call it."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.errors import OptionError
from mtnets.inner.losses import MASKED
from mtnets.learner.compiled import predict
from mtnets.networks.exports import Field, Program
from mtnets.networks.exports.program import Arguments, names_of
from mtnets.tasks import TableInputs

if TYPE_CHECKING:
    from mtnets.learner.adapted import AdaptedModel

SMALLEST = 1e-30  # probabilities below it are compared as if they were it: single precision ends at 1e-38
LABEL, PROBABILITIES, PREDICTION = "label", "probabilities", "prediction"


def program_of(model: "AdaptedModel", raw: bool, classes: Sequence[str] | None) -> Program:
    """The program of an adapted model.

    Args:
      model: the model.
      raw: whether it takes raw data and returns labels with probabilities, or numbers in units of the targets; else it
        is the network as it is, from inputs to outputs.
      classes: names of the classes, in the order of the labels.

    Raises:
      OptionError: for names that are not one each of the classes, and raw data that no program can take.
    """
    model.inputs.check_single_precision()
    if not raw and classes is not None:
        raise OptionError("classes names what labels mean, and the bare network returns logits; leave one of the two.")
    return _raw(model, classes) if raw else _bare(model)


def _raw(model: "AdaptedModel", classes: Sequence[str] | None) -> Program:
    """From raw data to what a user wants."""
    form, inputs, network = model.inputs.raw_form(model.model.inputs), model.inputs, model.model
    labels, used = model.loss is not None and model.loss.labels, _used(model)
    names = _names(model, classes, labels)

    def function(**arrays: Array) -> dict[str, Array]:
        x = form.prepared(arrays)
        if not network.takes_several and x.shape[1:] == network.channels_last_shape != network.input_shape:
            x = jnp.moveaxis(x, -1, 1)
        x = jax.tree.map(lambda part, like: inputs.scale(part).astype(like.dtype), x, network.inputs)
        prediction = _predicted(model, network.apply(model.params, model.state, x, None)[0]).astype(jnp.float32)
        if not labels:
            return {PREDICTION: prediction}
        return {
            LABEL: jnp.argmax(prediction, -1).astype(jnp.int32),
            PROBABILITIES: jax.nn.softmax(prediction, axis=-1),
        }

    def reference(**arrays: np.ndarray) -> dict[str, np.ndarray]:
        x = form.raw(arrays)
        if not labels:
            prediction = np.asarray(model(x))
            return {PREDICTION: np.where(np.isneginf(prediction), MASKED, prediction)}
        probabilities = np.asarray(model.probabilities(x))
        return {LABEL: probabilities.argmax(-1), PROBABILITIES: probabilities}

    def comparable(outputs: Mapping[str, Any]) -> list[np.ndarray]:
        """Logits, but for a number, since probabilities near 1 tell little; and that the label is the largest."""
        if not labels:
            return [np.asarray(outputs[PREDICTION])]
        probabilities, label = np.asarray(outputs[PROBABILITIES], np.float64), np.asarray(outputs[LABEL])
        chosen = np.take_along_axis(probabilities, label[..., None], -1)[..., 0]
        return [np.log(np.maximum(probabilities[..., used], SMALLEST)), chosen / probabilities.max(-1)]

    def examples(count: int) -> Arguments:
        return (), form.made_up(count, np.random.default_rng(count))

    like = {name: field.like for name, field in form.fields.items()}
    program = Program(
        function, ((), like), reference, examples, comparable, network.norm != "transductive", _card(model)
    )
    abouts = {
        LABEL: "place of the most probable class, counted from 0",
        PROBABILITIES: "of the classes, in their order" + "; 0 for one that the support set lacks" * (not used.all()),
        PREDICTION: _numbers(model),
    }
    outputs = {name: Field(leaf.shape[1:], leaf.dtype, abouts[name]) for name, leaf in program.outputs.items()}
    if same := outputs.keys() & form.fields.keys():
        raise OptionError(
            f"{min(same)!r} is an input and would be an output too; rename that column, or write the bare network: "
            "raw=False."
        )
    return _with_fields(program, form.fields, outputs, {"classes": list(names)} if names else {})


def _bare(model: "AdaptedModel") -> Program:
    """The network as it is, from its inputs to its outputs: logits, or numbers in units of the targets."""
    inputs, network = model.inputs, model.model

    def function(x: Any) -> Array:
        scaled = jax.tree.map(inputs.scale, x)  # features of tables come in units of their own
        return _predicted(model, network.apply(model.params, model.state, scaled, None)[0])

    def reference(x: Any) -> Array:
        scaled = jax.tree.map(lambda part, like: jnp.asarray(inputs.scale(part), like.dtype), x, network.inputs)
        return _predicted(model, predict(network, model.params, model.state, scaled))

    alone = network.norm != "transductive"
    program = Program(function, ((network.inputs,), {}), reference, alone=alone, card=_card(model))
    leaves, shape = jax.tree.leaves(network.inputs), program.outputs.shape[1:]
    about = "logits" if model.loss is not None and model.loss.labels else _numbers(model)
    fields = {
        name: Field(leaf.shape, leaf.dtype, "as the network takes it")
        for name, leaf in zip(names_of(network.inputs, "x"), leaves, strict=True)
    }
    return _with_fields(program, fields, {PREDICTION: Field(shape, program.outputs.dtype, about)}, {})


def _predicted(model: "AdaptedModel", outputs: Array) -> Array:
    """Outputs in units of the targets, with a very low logit for classes that the task does not use: a finite one,
    since some runtimes turn −∞ to NaN."""
    prediction = model.unscaled(outputs, model.inputs)
    return prediction if model.used is None else jnp.where(model.used, prediction, MASKED)


def _used(model: "AdaptedModel") -> np.ndarray:
    """Which outputs the task uses, `[outputs]`."""
    return np.ones(model.outputs, bool) if model.used is None else np.asarray(model.used)


def _names(model: "AdaptedModel", classes: Sequence[str] | None, labels: bool) -> tuple[str, ...]:
    """Names of the classes; none where they are not known."""
    known = model.inputs.classes if isinstance(model.inputs, TableInputs) else ()
    if classes is None:
        return known
    count = int(np.flatnonzero(_used(model)).max(initial=-1)) + 1
    if not labels or known:
        why = f"are those of the table: {', '.join(known)}" if known else "are none, since it predicts numbers"
        raise OptionError(f"classes is {list(classes)}, and the classes of this model {why}; leave it out.")
    if len(classes) != count or len(set(classes)) < count:
        raise OptionError(
            f"classes is {list(classes)}; it must be {count} different names, of the labels 0 to {count - 1}."
        )
    return tuple(classes)


def _numbers(model: "AdaptedModel") -> str:
    """What outputs that are no probabilities are."""
    if model.loss is None:
        return "outputs of the network"
    target = f"{model.inputs.target.name}: " if isinstance(model.inputs, TableInputs) else ""
    return f"{target}what the loss {model.loss.name} compares with targets, in their units"


def _card(model: "AdaptedModel") -> dict[str, Any]:
    """What is known of the model."""
    alone = "each prediction depends on the others" if model.model.norm == "transductive" else "each alone"
    card: dict[str, Any] = {"mtnets": metadata.version("mtnets"), "examples": f"any number, {alone}"}
    if model.learner is not None:
        card["learner"] = model.learner.fingerprint
        if licence := model.learner.record.get("licence"):
            card["licence"] = licence
    return card


def _with_fields(
    program: Program, inputs: Mapping[str, Field], outputs: Mapping[str, Field], more: Mapping[str, Any]
) -> Program:
    """A program whose card lists its inputs and outputs."""
    listed = {
        kind: [field.to_json(name) for name, field in fields.items()]
        for kind, fields in (("inputs", inputs), ("outputs", outputs))
    }
    return dataclasses.replace(program, card={**program.card, **listed, **more})
