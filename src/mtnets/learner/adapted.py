"""What comes out of adaptation: a plain network of the original architecture, alone or thousands at once."""

import dataclasses
import functools
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jax import Array
from jax.typing import ArrayLike

from mtnets.errors import DataError, OptionError, RunError
from mtnets.files import replacing
from mtnets.networks.model import Model
from mtnets.networks.model import model_from_config
from mtnets.networks.state_dict import save_state_dict, state_dict
from mtnets.tasks import inputs_from_json
from mtnets.tasks.inputs.inputs import AS_THEY_ARE, Inputs
from mtnets.trees import leaves_by_path, path_of

if TYPE_CHECKING:
    from mtnets.learner.learner import Learner

FORMAT = 1


@dataclasses.dataclass(frozen=True, eq=False)
class AdaptedModel:
    """A plain network of the original architecture, adapted to one task.

    Attributes:
      model: the architecture.
      params: its ordinary weights, metrics folded in.
      state: its state.
      used: which outputs the task uses, `[outputs]`; None where all are.
      inputs: how raw data, such as images or tables, become inputs of the network.
      learner: what it was adapted by; None for one that was read from a file of its own.
      moved: the weights that moved, before folding, by path; None as above.
      inner_steps: how many it took; None as above.
    """

    model: Model
    params: Any
    state: Any
    used: Array | None = None
    inputs: Inputs = AS_THEY_ARE
    learner: "Learner | None" = None
    moved: Mapping[str, Array] | None = None
    inner_steps: int | None = None

    def __call__(self, x: Any) -> Array:
        """Predictions `[examples, outputs]` for inputs `[examples, ...]` or a table; logits of unused outputs are
        −∞."""
        prediction = _predict(self.model, self.params, self.state, to_inputs(self.model, x, self.inputs, "x"))
        prediction = self.inputs.unscale(prediction)
        return prediction if self.used is None else jnp.where(self.used, prediction, -jnp.inf)

    def probabilities(self, x: Any) -> Array:
        """Class probabilities `[examples, ways]`."""
        return jax.nn.softmax(self(x), axis=-1)

    def update(
        self, x: Any, y: Any = None, *, inner_steps: int | None = None, key: Array | None = None
    ) -> "AdaptedModel":
        """Goes on adapting, from where it is, with these examples; all that are to count, old ones too.

        Args:
          x, y, inner_steps, key: as in `Learner.adapt`; the same key draws the same masks.

        Raises:
          RunError: for a model that was read from a file of its own, without its learner; and as `Learner.adapt`.
        """
        if self.learner is None or self.moved is None:
            raise RunError(
                "This model was read from a file of its own and knows no learner; adapt anew: learner.adapt(x, y), or "
                "keep a task file: learner.with_task(path)."
            )
        return self.learner.adapt(x, y, inner_steps=inner_steps, key=key, start=self.moved)

    # --- files

    def save(self, path: str | Path) -> None:
        """Writes the weights and all that is needed to use them as one safetensors file; `mtnets.load_adapted` reads
        it. Names in it are those of the network's parameters, below `params.`."""
        card = {
            "format": FORMAT,
            "kind": "adapted model",
            "model": None if self.model.config is None else dict(self.model.config),
            "inputs": self.inputs.to_json(),
        }
        parts = {"params": self.params, "state": self.state} | ({} if self.used is None else {"used": self.used})
        write_tensors(path, {f"{part}.{name}": leaf for part in parts for name, leaf in _leaves(parts[part])}, card)

    def save_task(self, path: str | Path) -> None:
        """Writes what moved as a small safetensors file, which `learner.with_task(path)` applies on top of the learner.

        Weights that a mask held are not in it.

        Raises:
          RunError: for a model that was read from a file of its own, without its learner.
        """
        if self.learner is None or self.moved is None:
            raise RunError("This model was read from a file of its own and knows no learner; use save(path).")
        start, arrays = leaves_by_path(self.learner.meta.params), {}
        for name, leaf in self.moved.items():
            moved = np.asarray(leaf) != np.asarray(start[name])
            if moved.any():
                arrays[f"values.{name}"] = np.asarray(leaf)[moved]
                if not moved.all():
                    arrays[f"places.{name}"] = np.packbits(moved)
        changed = {
            f"state.{name}": leaf
            for name, leaf in leaves_by_path(self.state).items()
            if not np.array_equal(leaf, leaves_by_path(self.learner.state)[name])
        }
        used = {} if self.used is None else {"used.": self.used}
        card = {
            "format": FORMAT,
            "kind": "task",
            "learner": self.learner.fingerprint,
            "inner_steps": self.inner_steps,
        }
        write_tensors(path, arrays | changed | used, card)

    def export(self, path: str | Path, *, platforms: tuple[str, ...] = ("cpu", "cuda", "tpu")) -> None:
        """Writes the network as StableHLO (`jax.export`), for any number of examples; `jax.export.deserialize` reads it
        anywhere JAX runs, without this library.

        Args:
          path: of the file.
          platforms: where it shall run.

        Raises:
          OptionError: without the extra `mtnets[export]`.
        """
        try:
            import flatbuffers  # noqa: F401
        except ImportError as error:
            raise OptionError("Writing StableHLO needs one more package: pip install 'mtnets[export]'.") from error
        exported = jax.export.export(jax.jit(self._function), platforms=platforms)(self._input_spec())
        with replacing(path) as file:
            file.write(exported.serialize())

    def export_onnx(self, path: str | Path) -> None:
        """Writes the network as ONNX, for any number of examples, weights within.

        Raises:
          OptionError: without the extra `mtnets[onnx]`, or for an operation that ONNX does not have.
        """
        try:
            import jax2onnx  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise OptionError("ONNX needs more packages: pip install 'mtnets[onnx]'.") from error
        shape = ("B", *self.model.input_shape)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of other libraries, about each other
                made = jax2onnx.to_onnx(self._function, [jax.ShapeDtypeStruct(shape, self.model.input_dtype)])  # type: ignore
        except Exception as error:  # whatever its plugins raise
            raise OptionError(
                f"The network cannot be written as ONNX: {_first_line(error)}. Write StableHLO: adapted.export(path)."
            ) from error
        with replacing(path) as file:
            file.write(made.SerializeToString())

    def state_dict(self, *, flattened: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, np.ndarray]:
        """The weights under the names and in the layouts of an equivalent PyTorch module; see `mtnets.state_dict`."""
        return state_dict(self.model, self.params, self.state, flattened=flattened)

    def save_state_dict(self, path: str | Path, *, flattened: Mapping[str, tuple[int, ...]] | None = None) -> None:
        """Writes them as safetensors, for `safetensors.torch.load_file`."""
        save_state_dict(path, self.model, self.params, self.state, flattened=flattened)

    def _function(self, x: Array) -> Array:
        scaled = self.inputs.scale(x)  # tables: features come in units of their own
        prediction = self.inputs.unscale(self.model.apply(self.params, self.state, scaled, None)[0])
        # a finite stand-in for −∞, which some runtimes turn to NaN
        return prediction if self.used is None else jnp.where(self.used, prediction, -1e9)

    def _input_spec(self) -> Any:
        (examples,) = jax.export.symbolic_shape("examples")
        return jax.ShapeDtypeStruct((examples, *self.model.input_shape), self.model.input_dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class AdaptedModels:
    """Networks of the same architecture, each adapted to a task of its own.

    Attributes:
      like: one of them.
      params: their weights, stacked, `[tasks, ...]`.
      state: their state, stacked.
      moved: the weights that moved, before folding, stacked.
      used: which outputs each uses, `[tasks, outputs]`.
    """

    like: AdaptedModel
    params: Any
    state: Any
    moved: Mapping[str, Array]
    used: Array | None = None

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.params)[0])

    def __getitem__(self, i: int) -> AdaptedModel:
        if not -len(self) <= i < len(self):
            raise IndexError(f"There are {len(self)} models and no number {i}.")
        params, state, moved, used = jax.tree.map(lambda a: a[i], (self.params, self.state, self.moved, self.used))
        used = None if used is None or bool(used.all()) else used
        return dataclasses.replace(self.like, params=params, state=state, moved=moved, used=used)

    def __iter__(self) -> Iterator[AdaptedModel]:
        return (self[i] for i in range(len(self)))

    def __call__(self, x: ArrayLike) -> Array:
        """Predictions `[tasks, examples, outputs]` for inputs `[tasks, examples, ...]`, each by its own network."""
        array = np.asarray(x)
        if len(array) != len(self) or array.ndim < 2:
            raise DataError(f"x has shape {array.shape}; these are {len(self)} tasks: ({len(self)}, examples, ...).")
        flat = to_inputs(self.like.model, array.reshape(-1, *array.shape[2:]), self.like.inputs, "x")
        inputs = flat.reshape(*array.shape[:2], *self.like.model.input_shape)
        predictions = self.like.inputs.unscale(_predict_each(self.like.model, self.params, self.state, inputs))
        return predictions if self.used is None else jnp.where(self.used[:, None], predictions, -jnp.inf)


def load_adapted(path: str | Path, *, model: Model | None = None) -> AdaptedModel:
    """Reads what `AdaptedModel.save` wrote.

    Args:
      path: of the file.
      model: the network, if it is not a built-in one.

    Raises:
      RunError: if there is none, it is damaged, or its arrays do not fit its network.
    """
    arrays, card = read_tensors(path, "adapted model")
    if model is None:
        if card["model"] is None:
            raise RunError(f"The network in {path} is not a built-in one; pass it: load_adapted(path, model=...).")
        model = model_from_config(card["model"])
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    inputs = inputs_from_json(card["inputs"])
    used = arrays.pop("used.", None)
    filled = fill({"params": params, "state": state}, arrays, Path(path))
    used = None if used is None else jnp.asarray(used)
    return AdaptedModel(model, filled["params"], filled["state"], used, inputs)


def apply_task(learner: "Learner", path: str | Path) -> tuple[dict[str, Array], Any, Array | None, int]:
    """Weights that moved, state, used outputs and number of inner steps, from a task file and the learner that it
    belongs to.

    Raises:
      RunError: if there is none, it is damaged, or belongs to another learner.
    """
    arrays, card = read_tensors(path, "task")
    if card.get("learner") != learner.fingerprint:
        raise RunError(
            f"{path} belongs to another learner ({str(card.get('learner'))[:12]}, this is {learner.fingerprint[:12]}); "
            "load that one, or adapt this one anew."
        )
    start = leaves_by_path(learner.meta.params)
    moved: dict[str, Array] = {}
    for layer in learner.inner.layers:
        for name in layer.paths:
            leaf = np.array(start[name])
            values, places = arrays.pop(f"values.{name}", None), arrays.pop(f"places.{name}", None)
            if values is not None:
                mask = (
                    np.ones(leaf.shape, bool)
                    if places is None
                    else np.unpackbits(places, count=leaf.size).astype(bool).reshape(leaf.shape)
                )
                if mask.sum() != values.size:
                    raise RunError(f"{path} has {values.size} values for {name} and places for {mask.sum()}.")
                leaf[mask] = values.ravel()
            moved[name] = jnp.asarray(leaf)
    used = arrays.pop("used.", None)
    state = leaves_by_path(learner.state)
    changed = {name: arrays.pop(f"state.{name}") for name in state if f"state.{name}" in arrays}
    if arrays:
        raise RunError(f"{path} has {', '.join(sorted(arrays))}, which this learner does not know; adapt it anew.")
    merged = jax.tree.map_with_path(lambda keys, leaf: jnp.asarray(changed.get(path_of(keys), leaf)), learner.state)
    return moved, merged, None if used is None else jnp.asarray(used), card["inner_steps"]


# --- tensors in files


def write_tensors(path: str | Path, arrays: Mapping[str, ArrayLike], card: Mapping[str, Any]) -> None:
    """Writes arrays with a card as one safetensors file, whole or not at all."""
    data = safetensors.numpy.save({n: np.ascontiguousarray(a) for n, a in arrays.items()}, {"mtnets": json.dumps(card)})
    with replacing(path) as file:
        file.write(data)


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the card of a safetensors file of a kind.

    Raises:
      RunError: if it is not there, damaged, or of another kind.
    """
    if not Path(path).is_file():
        raise RunError(f"There is no file {path}; name one that was saved ({kind}).")
    arrays, card = open_tensors(path, kind)
    if card.get("kind") != kind:
        raise RunError(f"{path} holds: {card.get('kind', 'learner')}; expected: {kind}. Name the right file.")
    if card.get("format") != FORMAT:
        raise RunError(f"{path} has format {card.get('format')}; this version of mtnets reads format {FORMAT}.")
    return arrays, card


def open_tensors(path: str | Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the card of a safetensors file. Raises RunError if it is damaged or has no card."""
    try:
        with safetensors.safe_open(path, "numpy") as opened:  # type: ignore[no-untyped-call]
            card = json.loads((opened.metadata() or {})["mtnets"])
            return {name: opened.get_tensor(name) for name in opened.keys()}, card  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(f"{path} is damaged or no {kind} ({error}); train or save it again.") from error


def fill(expected: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Trees of arrays, from trees of their shapes and arrays by `part.path`, which may be of half precision.

    Raises:
      RunError: for an array that is absent, superfluous, or of another shape.
    """
    shapes = {f"{part}.{n}": leaf.shape for part, tree in expected.items() for n, leaf in leaves_by_path(tree).items()}
    for name in sorted(shapes.keys() | arrays.keys()):
        found = arrays[name].shape if name in arrays else "nothing"
        if found != shapes.get(name, "nothing"):
            raise RunError(f"{path} has {found} for {name} and the network needs {shapes.get(name, 'nothing')}.")
    return {
        part: jax.tree.map_with_path(
            lambda keys, leaf, part=part: jnp.asarray(arrays[f"{part}.{path_of(keys)}"], leaf.dtype), tree
        )
        for part, tree in expected.items()
    }


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    yield from leaves_by_path(tree).items()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


# --- inputs


def to_inputs(model: Model, x: Any, inputs: Inputs, name: str) -> Array:
    """Inputs of a network, checked.

    Raises:
      DataError: if shapes do not fit or a number is not finite.
    """
    array = inputs.prepare(x)
    if array.ndim == len(model.input_shape) and model.input_shape == (1,):
        array = array[:, None]
    if array.shape[1:] != model.input_shape or len(array.shape) == 0 or len(array) == 0:
        raise DataError(
            f"{name} has shape {array.shape}; this learner needs (examples, {', '.join(map(str, model.input_shape))}) "
            "with at least one example."
        )
    return jnp.asarray(inputs.scale(check_finite(array, name)), model.input_dtype)


def check_finite(array: np.ndarray, name: str) -> np.ndarray:
    """The array, if it holds finite numbers. Raises DataError otherwise."""
    if not np.issubdtype(array.dtype, np.number):
        raise DataError(f"{name} has type {array.dtype}; it must be numbers.")
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{name} is {array[first]} at {first}; remove or replace what is NaN or infinite.")
    return array


@functools.partial(jax.jit, static_argnums=0)
def _predict(model: Model, params: Any, state: Any, x: Array) -> Array:
    return model.apply(params, state, x, None)[0]


@functools.partial(jax.jit, static_argnums=0)
def _predict_each(model: Model, params: Any, state: Any, x: Array) -> Array:
    return jax.lax.map(lambda each: model.apply(each[0], each[1], each[2], None)[0], (params, state, x))
