"""A learner: a model, a method and everything meta-learned. It adapts to a task, and is saved and loaded."""

import dataclasses
import functools
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mtnets.devices import default_at_once
from mtnets.errors import DataError, MtnetsError, OptionError, RunError
from mtnets.files import write_json
from mtnets.inner.loop import Inner, inner_loop, starting_point
from mtnets.inner.losses import LOSSES
from mtnets.inner.methods import METHODS, Meta, Method
from mtnets.inner.task import Batch
from mtnets.interop import hub
from mtnets.learner.adapted import (
    AdaptedModel,
    AdaptedModels,
    apply_task,
    check_finite,
    fill,
    open_tensors,
    to_inputs,
    write_tensors,
)
from mtnets.networks.model import Model
from mtnets.networks.model import model_from_config
from mtnets.shipped import learners
from mtnets.tasks import inputs_from_json
from mtnets.tasks import rebuild as rebuild_tasks
from mtnets.tasks.inputs.inputs import AS_THEY_ARE, Inputs
from mtnets.trees import leaves_by_path, replace_leaves

if TYPE_CHECKING:
    from mtnets.analysis.doctor import Diagnosis

FORMAT = 1
WEIGHTS, CARD = "learner.safetensors", "learner.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """What a user holds after meta-training.

    Attributes:
      model: the network.
      method: how it adapts.
      meta: everything meta-learned.
      state: state of the network.
      inner_lr: α.
      inner_steps: gradient steps of training.
      loss: `"mse"` or `"cross-entropy"`.
      inputs: how raw data, such as images or tables, become inputs of the network.
      record: where the learner comes from: tasks with their classes, training, score on validation tasks.
    """

    model: Model
    method: Method
    meta: Meta
    state: Any
    inner_lr: float
    inner_steps: int
    loss: str
    inputs: Inputs = AS_THEY_ARE
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Learner":
        return self  # nothing in it changes, and programs are compiled anew for a copy

    @functools.cached_property
    def inner(self) -> Inner:
        """The inner problem."""
        return Inner(self.model, self.method, LOSSES[self.loss], self.inner_steps)

    @functools.cached_property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        x = jax.ShapeDtypeStruct((1, *self.model.input_shape), self.model.input_dtype)
        y, _ = jax.eval_shape(self.model.apply, self.meta.params, self.state, x, None)
        return y.shape[-1]

    def moving(self) -> dict[str, float]:
        """Share of the units of each layer that a task moves, where the method has masks."""
        layers = self.method.choose(self.model.layers)
        return {name: float(share) for name, share in self.method.rule.moving(layers, self.meta.rule).items()}

    def diagnose(self, tasks: Any = None, num_tasks: int = 200, **options: Any) -> "Diagnosis":
        """Examines this learner on test tasks: `print(learner.diagnose())`.

        Args:
          tasks: a family or a bare distribution; those of its training unless given.
          num_tasks: how many.
          **options: of `mtnets.diagnose`.

        Raises:
          RunError: without tasks, for a learner that was trained on tasks of the user's own.
        """
        from mtnets.analysis.doctor import diagnose  # which stands above: the doctor evaluates

        family = rebuild_tasks(self.record.get("tasks", {})) if tasks is None else tasks
        return diagnose(self, family, num_tasks, **options)

    def adapt(
        self,
        x: Any,
        y: Any = None,
        *,
        inner_steps: int | None = None,
        key: Array | None = None,
        start: Mapping[str, Array] | None = None,
    ) -> AdaptedModel:
        """Learns a task from its examples.

        Args:
          x: inputs, `[examples, ...]`; uint8 images are converted as in training, and so are tables (data frames,
            mappings of columns) by a learner of tables.
          y: targets `[examples, outputs]` in regression (or `[examples]` for a single output); integer labels
            `[examples]` from 0 to ways − 1 in classification. Outputs whose label does not occur are masked. For a
            table, the target column, which is that of x unless given: numbers, or the classes of training.
          inner_steps: gradient steps; those of training unless given.
          key: for masks and whatever else is random; a fixed one unless given.
          start: weights to begin from (`AdaptedModel.moved`); what was meta-learned unless given.

        Returns:
          A plain network with adapted weights.

        Raises:
          DataError: if shapes do not fit, a number is not finite, or a label is out of range.
          RunError: if adaptation diverges.
        """
        inner = self._inner(inner_steps)
        inputs = to_inputs(self.model, x, self.inputs, "x")
        targets, used = self._targets(self.inputs.target_of(x) if y is None else y, len(inputs))
        meta = self.meta if start is None else self.meta._replace(params=replace_leaves(self.meta.params, start))
        key = jax.random.key(0) if key is None else key
        moved, state, finite = _adapt(inner, meta, self.state, self.inner_lr, Batch(inputs, targets), used, key)
        if not finite:
            raise RunError(_diverged(inner.steps))
        used = None if used is None or used.all() else used
        params = _folded(inner, self.meta, moved)  # by the program of with_task, to the last bit
        return AdaptedModel(self.model, params, state, used, self.inputs, self, moved, inner.steps)

    def adapt_many(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        inner_steps: int | None = None,
        key: Array | None = None,
        tasks_at_once: int | None = None,
    ) -> AdaptedModels:
        """Learns many tasks in one compiled call.

        Memory: the weights of every task, `len(tasks) × parameters`, and the work of `tasks_at_once` of them. For more
        than that, call it with some thousand tasks at a time.

        Args:
          x: inputs, `[tasks, examples, ...]`.
          y: targets `[tasks, examples, outputs]`, or labels `[tasks, examples]`.
          inner_steps, key: as in `adapt`; each task draws its own masks.
          tasks_at_once: tasks that are learned at the same time; see `mtnets.meta.default_at_once`.

        Raises:
          DataError: if shapes do not fit, a number is not finite, or a label is out of range; naming the task.
          RunError: if adaptation diverges, naming the tasks.
        """
        inner, x, y = self._inner(inner_steps), np.asarray(x), np.asarray(y)
        if x.ndim < 2 or y.ndim < 2 or x.shape[:2] != y.shape[:2] or not len(x):
            raise DataError(f"x has shape {x.shape} and y {y.shape}; they must be [tasks, examples, ...] alike.")
        inputs = to_inputs(self.model, x.reshape(-1, *x.shape[2:]), self.inputs, "x")
        targets, used = [], []
        for i, each in enumerate(y):
            try:
                found = self._targets(each, x.shape[1])
            except DataError as error:
                raise DataError(f"Task {i}: {error}") from error
            targets.append(found[0])
            used.append(found[1])
        batches = Batch(inputs.reshape(*x.shape[:2], *self.model.input_shape), jnp.stack(targets))
        outputs = None if used[0] is None else jnp.stack(used)
        keys = jax.random.split(jax.random.key(0) if key is None else key, len(x))
        at_once = tasks_at_once or default_at_once(self.meta.params, len(x), most=1000)
        moved, state, finite = _adapt_many(inner, at_once, self.meta, self.state, self.inner_lr, batches, outputs, keys)
        if not finite.all():
            which = np.flatnonzero(~np.asarray(finite))
            some = ", ".join(map(str, which[:10])) + " …" * (len(which) > 10)
            raise RunError(f"Task {some}: {_diverged(inner.steps)}")
        params = _folded_many(inner, self.meta, moved)
        like = AdaptedModel(self.model, None, None, None, self.inputs, self, None, inner.steps)
        return AdaptedModels(like, params, state, moved, outputs)

    def with_task(self, path: str | Path) -> AdaptedModel:
        """The model that `AdaptedModel.save_task` wrote a file of, which must have been adapted by this learner.

        Raises:
          RunError: if there is no such file, it is damaged, or belongs to another learner.
        """
        moved, state, used, steps = apply_task(self, path)
        params = _folded(dataclasses.replace(self.inner, steps=steps), self.meta, moved)
        return AdaptedModel(self.model, params, state, used, self.inputs, self, moved, steps)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes when anything does that was meta-learned."""
        digest = hashlib.sha256(json.dumps([self.method.to_json(), self.inner_lr], sort_keys=True).encode())
        for part, leaves in sorted(self._parts().items()):
            for name, leaf in sorted(leaves.items()):
                array = np.asarray(leaf)
                digest.update(f"{part}.{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        return digest.hexdigest()

    def _inner(self, inner_steps: int | None) -> Inner:
        """The inner problem with another number of steps, for use."""
        steps = self.inner_steps if inner_steps is None else inner_steps
        if steps < 0:
            raise OptionError(f"inner_steps is {steps}; it must be at least 0.")
        if self.model.norm == "transductive":
            warnings.warn(
                "This learner was trained with transductive batch norm: each prediction depends on the other inputs of "
                "its batch. For use, train with norm='support'.",
                stacklevel=3,
            )
        return dataclasses.replace(self.inner, steps=steps)

    def _targets(self, y: Any, examples: int) -> tuple[Array, Array | None]:
        targets = self.inputs.prepare_targets(y)
        if len(targets.shape) == 0 or len(targets) != examples:
            raise DataError(f"x has {examples} examples and y has shape {targets.shape}; they must have as many.")
        if self.loss == "mse":
            if targets.ndim == 1 and self.outputs == 1:
                targets = targets[:, None]
            if targets.shape != (examples, self.outputs):
                raise DataError(f"y has shape {targets.shape}; this learner needs ({examples}, {self.outputs}).")
            return jnp.asarray(check_finite(targets, "y"), jnp.float32), None
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise DataError(f"y has shape {targets.shape} and type {targets.dtype}; labels must be integers, one each.")
        if targets.min() < 0 or targets.max() >= self.outputs:
            raise DataError(
                f"y has labels from {targets.min()} to {targets.max()}; this learner tells {self.outputs} classes "
                f"apart, labelled 0 to {self.outputs - 1}."
            )
        occurs = jnp.isin(jnp.arange(self.outputs), jnp.asarray(targets))
        return jnp.asarray(targets, jnp.int32), None if self.inputs.shared_classes else occurs

    def save(self, path: str | Path) -> None:
        """Writes `learner.safetensors`, which holds everything, and `learner.json`, the same card for people, into a
        folder. An older learner there is replaced whole."""
        arrays = {f"{part}.{name}": np.asarray(a) for part, tree in self._parts().items() for name, a in tree.items()}
        card = self._card()
        write_tensors(Path(path) / WEIGHTS, arrays, card)
        write_json(Path(path) / CARD, card)

    # --- the Hugging Face Hub

    def save_pretrained(self, folder: str | Path, *, licence: str | None = None) -> None:
        """Writes this learner into a folder, with a model card; see `mtnets.hub.save_pretrained`."""
        hub.save_pretrained(self, folder, licence=licence)

    @staticmethod
    def from_pretrained(name_or_folder: str | Path, **options: Any) -> "Learner":
        """Reads a learner from a folder or from the Hub; see `mtnets.hub.from_pretrained`."""
        return hub.from_pretrained(name_or_folder, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Writes this learner into a repository of the Hub, and returns its address; see `mtnets.hub.push_to_hub`."""
        return hub.push_to_hub(self, repo_id, **options)

    def _parts(self) -> dict[str, dict[str, Any]]:
        trees = {"params": self.meta.params, "fold": self.meta.fold, "rule": self.meta.rule, "state": self.state}
        return {name: leaves_by_path(tree) for name, tree in trees.items()}

    def _card(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": None if self.model.config is None else dict(self.model.config),
            "method": self.method.to_json() | {"inner_lr": float(self.inner_lr)},
            "inner_lr": float(self.inner_lr),
            "inner_steps": self.inner_steps,
            "loss": self.loss,
            "inputs": self.inputs.to_json(),
            "record": dict(self.record),
        }


def load(path: str | Path, *, model: Model | None = None, method: Method | None = None) -> Learner:
    """Reads a saved learner, the best one of a run folder, or one that ships with the package.

    Args:
      path: the folder, or a name such as `"omniglot-5way-1shot"` (`mtnets learners` lists them); a folder of such a
        name goes first.
      model: the network, if it is not a built-in one.
      method: the method, if it is not one of `mtnets.METHODS`.

    Raises:
      RunError: if there is none, it is damaged, or its arrays do not fit its network.
    """
    file = Path(path) / WEIGHTS
    if not file.is_file() and str(path) in learners.names():
        file = learners.path(str(path)) / WEIGHTS
    if not file.is_file():
        raise RunError(
            f"There is no learner in {path} (no {WEIGHTS}); name a folder written by a training or by save(), or a "
            f"learner that ships: {', '.join(learners.names())}."
        )
    arrays, card = open_tensors(file, "learner")
    try:
        return _read(file, arrays, card, model, method)
    except MtnetsError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # a record may hold anything
        passed = ", or the model passed is not the one that was saved" if model is not None else ""
        raise RunError(
            f"{file} is not a learner that this version of mtnets reads ({type(error).__name__}: {error}): its record "
            f"is damaged or of another version{passed}. Load it with the version that wrote it, or train anew."
        ) from error


def _read(
    file: Path, arrays: dict[str, Any], card: dict[str, Any], model: Model | None, method: Method | None
) -> Learner:
    """The learner of a file's arrays and card."""
    if card["format"] != FORMAT:
        raise RunError(f"{file} has format {card['format']}; this version of mtnets reads format {FORMAT}.")
    if model is None:
        if card["model"] is None:
            raise RunError(f"The network in {file} is not a built-in one; pass it: load(path, model=...).")
        model = model_from_config(card["model"])
    if method is None:
        options = dict(card["method"])
        name = options.pop("name")
        if name not in METHODS:
            raise RunError(
                f"The method in {file} is {name!r}, which is not registered; pass it: load(path, method=...)."
            )
        method = METHODS[name](**options)

    params, state = jax.eval_shape(model.init, jax.random.key(0))
    init = functools.partial(
        method.init,
        layers=model.layers,
        inner_lr=card["inner_lr"],
        steps=card["inner_steps"],
        fixed=model.fixed,
        norm=model.norm,
    )
    meta = jax.eval_shape(lambda params: init(jax.random.key(0), params=params), params)
    expected = {"params": meta.params, "fold": meta.fold, "rule": meta.rule, "state": state}
    filled = fill(expected, arrays, file)
    inputs = inputs_from_json(card["inputs"])
    learned = Meta(filled["params"], filled["fold"], filled["rule"])
    return Learner(
        model,
        method,
        learned,
        filled["state"],
        card["inner_lr"],
        card["inner_steps"],
        card["loss"],
        inputs,
        card["record"],
    )


def _diverged(steps: int) -> str:
    return (
        f"Adaptation diverged within {steps} inner steps: the adapted weights are not finite. "
        "Use fewer inner steps, or look for inputs or targets far outside those of training."
    )


@functools.partial(jax.jit, static_argnums=0)
def _adapt(
    inner: Inner, meta: Meta, state: Any, inner_lr: Any, support: Batch, used: Array | None, key: Array
) -> tuple[dict[str, Array], Any, Array]:
    """Weights that moved, before folding; state; and whether all is finite."""
    if used is not None:
        # a finite stand-in for −∞, whose gradient would be NaN
        inner = dataclasses.replace(
            inner, loss=lambda logits, y: LOSSES["cross-entropy"](jnp.where(used, logits, -1e9), y)
        )
    rule = inner.method.test_rule or inner.method.rule
    adapted = inner_loop(inner, starting_point(inner, meta), state, inner_lr, support, key, rule=rule)
    finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(adapted.params)]))
    return adapted.weights, adapted.state, finite


@functools.partial(jax.jit, static_argnums=(0, 1))
def _adapt_many(
    inner: Inner, at_once: int, meta: Meta, state: Any, inner_lr: Any, batches: Batch, used: Any, keys: Array
) -> Any:
    """The same for a stack of tasks, `at_once` at a time."""
    one = lambda each: _adapt(inner, meta, state, inner_lr, *each)  # noqa: E731
    return jax.lax.map(one, (batches, used, keys), batch_size=min(at_once, len(keys)))


@functools.partial(jax.jit, static_argnums=0)
def _folded(inner: Inner, meta: Meta, moved: dict[str, Array]) -> Any:
    """The parameters of the network with these weights, after the inner steps."""
    return replace_leaves(meta.params, inner.fold(meta, moved, inner.steps))


@functools.partial(jax.jit, static_argnums=0)
def _folded_many(inner: Inner, meta: Meta, moved: dict[str, Array]) -> Any:
    """The same for a stack of tasks."""
    return jax.lax.map(lambda each: _folded(inner, meta, each), moved)
