"""Task files: what a task moved, on top of the learner that it belongs to.

For each weight that moved a file has the elements that differ from the learner's, and where not all do, their places as
bits. In full precision they are the elements themselves; in half precision, how far they moved, in 16 bits, in a unit
that makes the largest movement of that weight a half to 1: a power of two, by which nothing is rounded.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.arguments import check
from mtnets.arrays import to_numpy
from mtnets.errors import RunError
from mtnets.inner import Implicit, Truncated, method_to_json
from mtnets.learner.tensors import fill, read_tensors, reading, used_outputs, write_tensors
from mtnets.networks.model import with_classes
from mtnets.tasks import Inputs, inputs_from_json
from mtnets.trees import leaves_by_path

Precision = Literal["half", "full"]
HALF = 2  # bytes of a number of half precision
MOST_WAYS = 1_000_000  # more would be a damaged file

if TYPE_CHECKING:
    from mtnets.learner.adapted import AdaptedModel
    from mtnets.learner.learner import Learner


class MovedTask(NamedTuple):
    """What a task file holds.

    Attributes:
      moved: weights that moved, by path, whole.
      state: of the network.
      used: outputs that the task uses; None for all.
      inner_steps: that were taken.
      inputs: how raw data become inputs of this task's network.
      ways: units of the head, where that does not fix the number of classes.
    """

    moved: dict[str, Array]
    state: Any
    used: Array | None
    inner_steps: int
    inputs: Inputs
    ways: int | None = None


def write_task(
    path: str | Path, adapted: "AdaptedModel", learner: "Learner", moved: Mapping[str, Array], precision: Precision
) -> None:
    """Writes the weights that differ from the learner's; those that a mask held are not among them.

    Args:
      path: of the file.
      adapted: the model of the task.
      learner: which adapted it.
      moved: its weights that moved, by path.
      precision: `"full"`, or `"half"` for half the bytes, with movements rounded to 11 bits.
    """
    head, arrays, exponents = learner.model.layers[-1], {}, {}
    ways = moved[head.weight].shape[head.out_axes[0]] if learner.any_ways else None
    start = _start(learner, ways)
    for name, leaf in moved.items():
        after, before = np.asarray(leaf), np.asarray(start[name])
        changed = (after != before) | (np.signbit(after) != np.signbit(before))  # −0 == 0
        if not changed.any():
            continue
        if not changed.all():
            arrays[f"places.{name}"] = np.packbits(changed)
        if precision == "full" or after.itemsize <= HALF:
            arrays[f"values.{name}"] = after[changed]
        else:
            steps = after[changed].astype(np.float64) - before[changed]
            exponents[name] = int(np.frexp(np.abs(steps).max())[1])
            arrays[f"steps.{name}"] = np.ldexp(steps, -exponents[name]).astype(np.float16)
    states = leaves_by_path(learner.state)
    for name, leaf in leaves_by_path(adapted.state).items():
        if to_numpy(leaf).tobytes() != to_numpy(states[name]).tobytes():
            arrays[f"state.{name}"] = to_numpy(leaf)
    if adapted.used is not None:
        arrays["used."] = np.asarray(adapted.used)
    card: dict[str, Any] = {"kind": "task", "learner": learner.fingerprint, "inner_steps": adapted.inner_steps}
    if exponents:
        card["exponents"] = exponents  # of the units of steps
    if ways is not None:
        card["ways"] = ways
    if adapted.inputs != learner.inputs:  # with the scale of the support set
        card["inputs"] = adapted.inputs.to_json()
    write_tensors(path, arrays, card)


def read_task(path: str | Path, learner: "Learner") -> MovedTask:
    """What `write_task` has written.

    Raises:
      RunError: if there is no such file, it is damaged, or belongs to another learner.
    """
    arrays, card = read_tensors(path, "task")
    expected = _fingerprint_0_1(learner) if card["format"] == 1 else learner.fingerprint
    if card.get("learner") != expected:
        raise RunError(
            f"{path} belongs to another learner ({str(card.get('learner'))[:12]}, this is {expected[:12]}); load that "
            "one, or adapt this one anew."
        )
    with reading(path, "task"):
        return _read(path, arrays, card, learner)


def _read(path: str | Path, arrays: dict[str, np.ndarray], card: Mapping[str, Any], learner: "Learner") -> MovedTask:
    """The task of a file's arrays and card."""
    ways = card.get("ways")
    check("ways", ways, int if learner.any_ways else None)
    if ways is not None and not 1 <= ways <= MOST_WAYS:
        raise RunError(f"{path} is damaged: it has {ways} classes; adapt anew.")
    start, exponents = _start(learner, ways), card.get("exponents", {})
    check("exponents", exponents, Mapping)
    for name, exponent in exponents.items():
        check(f"exponents[{name!r}]", exponent, int)
    moved: dict[str, Array] = {}
    for name in learner.inner.moving:
        kind = "steps" if name in exponents else "values"
        numbers, places = (arrays.pop(f"{part}.{name}", None) for part in (kind, "places"))
        moved[name] = jnp.asarray(_merged(start[name], numbers, places, exponents.get(name), path, name))
    used = used_outputs(arrays, learner.outputs if ways is None else ways)
    same = leaves_by_path(learner.state)
    changed = {f"state.{n}": arrays.pop(f"state.{n}") for n in same if f"state.{n}" in arrays}
    if unknown := sorted(arrays.keys() | (exponents.keys() - moved.keys())):
        raise RunError(f"{path} has {', '.join(unknown)}, which this learner does not know; adapt it anew.")
    unchanged = {f"state.{name}": to_numpy(leaf) for name, leaf in same.items()}
    state = fill({"state": learner.state}, unchanged | changed, Path(path))["state"]
    inputs = inputs_from_json(card["inputs"]) if "inputs" in card else learner.inputs
    inputs.check_network(learner.model.input_shape, learner.outputs)
    check("inner_steps", card["inner_steps"], int)
    if card["inner_steps"] < 0:
        raise RunError(f"{path} is damaged: it has {card['inner_steps']} inner steps; adapt anew.")
    return MovedTask(moved, state, used, card["inner_steps"], inputs, ways)


def _start(learner: "Learner", ways: int | None) -> dict[str, Any]:
    """What a file tells the difference to: the learner's weights, and zeros for the head of a task's own classes."""
    start = leaves_by_path(learner.meta.params)
    if ways is None:
        return start
    like = leaves_by_path(with_classes(learner.model, learner.meta.params, ways))
    return start | {path: np.zeros(like[path].shape, like[path].dtype) for path in learner.model.layers[-1].paths}


def _merged(start: Any, numbers: Any, places: Any, exponent: int | None, path: str | Path, name: str) -> np.ndarray:
    """A leaf with the elements that moved in their places.

    Args:
      start: the leaf of the learner.
      numbers: the elements, or their steps in a unit of 2 to the exponent; None where none moved.
      places: which elements, as bits; None for all.
      exponent: of the unit of steps; None for the elements themselves.
      path: of the file, for errors.
      name: of the leaf, for errors.
    """
    leaf = np.array(start)
    if numbers is None and exponent is None:
        return leaf
    mask = np.ones(leaf.shape, bool)
    if places is not None:
        mask = np.unpackbits(places, count=leaf.size).astype(bool).reshape(leaf.shape)
    wanted = leaf.dtype if exponent is None else np.dtype(np.float16)
    if numbers is None or numbers.dtype != wanted:
        kind = "nothing" if numbers is None else numbers.dtype
        raise RunError(f"{path} has {kind} for {name} and the network needs {wanted}; adapt anew.")
    if mask.sum() != numbers.size:
        raise RunError(f"{path} has {numbers.size} values for {name} and places for {mask.sum()}.")
    if exponent is None:
        leaf[mask] = numbers.ravel()
        return leaf
    with np.errstate(all="ignore"):
        leaf[mask] = leaf[mask].astype(np.float64) + np.ldexp(numbers.ravel().astype(np.float64), exponent)
    if not np.isfinite(leaf).all():
        raise RunError(f"{path} is damaged: it moves {name} beyond all numbers, in units of 2^{exponent}; adapt anew.")
    return leaf


def fingerprint(learner: "Learner", method: Mapping[str, Any]) -> str:
    """A digest of a record of the method, the inner rate and every array of a learner."""
    digest = hashlib.sha256(json.dumps([method, float(learner.inner_lr)], sort_keys=True).encode())
    for part, leaves in sorted(learner.arrays().items()):
        for name, leaf in sorted(leaves.items()):
            array = to_numpy(leaf)
            digest.update(f"{part}.{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _fingerprint_0_1(learner: "Learner") -> str:
    """The digest as version 0.1 computed it, whose record of a method names the estimator and its options apart."""
    method = learner.method
    record = method_to_json(dataclasses.replace(method, inner_lr=float(learner.inner_lr)))
    estimator = method.estimator
    record.pop("estimator")
    record |= {"meta_gradient": estimator.name, "last_steps": None}
    if isinstance(estimator, Truncated):
        record["last_steps"] = estimator.last_steps
    if isinstance(estimator, Implicit):
        record["proximal"] = estimator.proximal
        if method.name == "imaml":
            record |= {"cg_steps": estimator.cg_steps, "damping": estimator.damping}
    if record["adapts"] == "layers":  # which version 0.1 called all
        record["adapts"] = "all"
    if record["inner_clip"] == "off":
        record["inner_clip"] = None
    return fingerprint(learner, record)
