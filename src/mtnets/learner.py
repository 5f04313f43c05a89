"""A learner: a model, a method and everything meta-learned. It adapts to a task, and is saved and loaded."""

import dataclasses
import functools
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jax import Array
from jax.typing import ArrayLike

from mtnets import learners
from mtnets.adapt import Inner, inner_loop, starting_point
from mtnets.errors import DataError, OptionError, RunError
from mtnets.files import replacing, write_json
from mtnets.layers import leaves_by_path, path_of
from mtnets.losses import LOSSES
from mtnets.methods import METHODS, Meta, Method
from mtnets.model import Model
from mtnets.models import rebuild
from mtnets.task import Batch
from mtnets.tasks import rebuild as rebuild_tasks
from mtnets.tasks.images import Images

if TYPE_CHECKING:
    from mtnets.diagnose import Diagnosis

FORMAT = 1
WEIGHTS, CARD = "learner.safetensors", "learner.json"


@dataclasses.dataclass(frozen=True, eq=False)
class AdaptedModel:
    """A plain network of the original architecture, adapted to one task.

    Attributes:
      model: the architecture.
      params: its ordinary weights, metrics folded in.
      state: its state.
      used: which outputs the task uses, `[outputs]`; None where all are.
      images: how image files become inputs; None where inputs are not images.
    """

    model: Model
    params: Any
    state: Any
    used: Array | None = None
    images: Images | None = None

    def __call__(self, x: ArrayLike) -> Array:
        """Predictions `[examples, outputs]` for inputs `[examples, ...]`; logits of unused outputs are −∞."""
        prediction = _predict(self.model, self.params, self.state, _inputs(self.model, x, self.images, "x"))
        return prediction if self.used is None else jnp.where(self.used, prediction, -jnp.inf)

    def probabilities(self, x: ArrayLike) -> Array:
        """Class probabilities `[examples, ways]`."""
        return jax.nn.softmax(self(x), axis=-1)


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
      images: how image files become inputs; None where inputs are not images.
      record: where the learner comes from: tasks with their classes, training, score on validation tasks.
    """

    model: Model
    method: Method
    meta: Meta
    state: Any
    inner_lr: float
    inner_steps: int
    loss: str
    images: Images | None = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)

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
        from mtnets.diagnose import diagnose  # which stands above: the doctor evaluates

        family = rebuild_tasks(self.record.get("tasks", {})) if tasks is None else tasks
        return diagnose(self, family, num_tasks, **options)

    def adapt(
        self, x: ArrayLike, y: ArrayLike, *, inner_steps: int | None = None, key: Array | None = None
    ) -> AdaptedModel:
        """Learns a task from its examples.

        Args:
          x: inputs, `[examples, ...]`; uint8 images are converted as in training.
          y: targets `[examples, outputs]` in regression (or `[examples]` for a single output); integer labels
            `[examples]` from 0 to ways − 1 in classification. Outputs whose label does not occur are masked.
          inner_steps: gradient steps; those of training unless given.
          key: for masks and whatever else is random; a fixed one unless given.

        Returns:
          A plain network with adapted weights.

        Raises:
          DataError: if shapes do not fit, a number is not finite, or a label is out of range.
          RunError: if adaptation diverges.
        """
        steps = self.inner_steps if inner_steps is None else inner_steps
        if steps < 0:
            raise OptionError(f"inner_steps is {steps}; it must be at least 0.")
        if self.model.norm == "transductive":
            warnings.warn(
                "This learner was trained with transductive batch norm: each prediction depends on the other inputs of "
                "its batch. For use, train with norm='support'.",
                stacklevel=2,
            )
        inputs = _inputs(self.model, x, self.images, "x")
        targets, used = self._targets(y, len(inputs))
        inner = dataclasses.replace(self.inner, steps=steps)
        params, state, finite = _adapt(
            inner,
            self.meta,
            self.state,
            self.inner_lr,
            Batch(inputs, targets),
            used,
            jax.random.key(0) if key is None else key,
        )
        if not finite:
            raise RunError(
                f"Adaptation diverged within {steps} inner steps: the adapted weights are not finite. "
                "Use fewer inner steps, or look for inputs or targets far outside those of training."
            )
        return AdaptedModel(self.model, params, state, None if used is None or used.all() else used, self.images)

    def _targets(self, y: ArrayLike, examples: int) -> tuple[Array, Array | None]:
        targets = np.asarray(y)
        if len(targets.shape) == 0 or len(targets) != examples:
            raise DataError(f"x has {examples} examples and y has shape {targets.shape}; they must have as many.")
        if self.loss == "mse":
            if targets.ndim == 1 and self.outputs == 1:
                targets = targets[:, None]
            if targets.shape != (examples, self.outputs):
                raise DataError(f"y has shape {targets.shape}; this learner needs ({examples}, {self.outputs}).")
            return jnp.asarray(_finite(targets, "y"), jnp.float32), None
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise DataError(f"y has shape {targets.shape} and type {targets.dtype}; labels must be integers, one each.")
        if targets.min() < 0 or targets.max() >= self.outputs:
            raise DataError(
                f"y has labels from {targets.min()} to {targets.max()}; this learner tells {self.outputs} classes "
                f"apart, labelled 0 to {self.outputs - 1}."
            )
        return jnp.asarray(targets, jnp.int32), jnp.isin(jnp.arange(self.outputs), jnp.asarray(targets))

    def save(self, path: str | Path) -> None:
        """Writes `learner.safetensors`, which holds everything, and `learner.json`, the same card for people, into a
        folder. An older learner there is replaced whole."""
        arrays = {f"{part}.{name}": np.asarray(a) for part, tree in self._parts().items() for name, a in tree.items()}
        card = self._card()
        data = safetensors.numpy.save(arrays, {"mtnets": json.dumps(card)})
        with replacing(Path(path) / WEIGHTS) as file:
            file.write(data)
        write_json(Path(path) / CARD, card)

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
            "images": None if self.images is None else dataclasses.asdict(self.images),
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
    try:
        with safetensors.safe_open(file, "numpy") as opened:  # type: ignore[no-untyped-call]
            card = json.loads((opened.metadata() or {})["mtnets"])
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(f"{file} is damaged or not a learner ({error}); train or save it again.") from error
    if card["format"] != FORMAT:
        raise RunError(f"{file} has format {card['format']}; this version of mtnets reads format {FORMAT}.")
    if model is None:
        if card["model"] is None:
            raise RunError(f"The network in {path} is not a built-in one; pass it: load(path, model=...).")
        model = rebuild(card["model"])
    if method is None:
        options = dict(card["method"])
        name = options.pop("name")
        if name not in METHODS:
            raise RunError(
                f"The method in {path} is {name!r}, which is not registered; pass it: load(path, method=...)."
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
    shapes = {f"{part}.{n}": leaf.shape for part, tree in expected.items() for n, leaf in leaves_by_path(tree).items()}
    for name in sorted(shapes.keys() | arrays.keys()):
        found = arrays[name].shape if name in arrays else "nothing"
        if found != shapes.get(name, "nothing"):
            raise RunError(f"{file} has {found} for {name} and the network needs {shapes.get(name, 'nothing')}.")

    def fill(part: str) -> Any:
        return jax.tree.map_with_path(lambda keys, _: jnp.asarray(arrays[f"{part}.{path_of(keys)}"]), expected[part])

    images = None if card["images"] is None else Images(**card["images"])
    learned = Meta(fill("params"), fill("fold"), fill("rule"))
    return Learner(
        model,
        method,
        learned,
        fill("state"),
        card["inner_lr"],
        card["inner_steps"],
        card["loss"],
        images,
        card["record"],
    )


@functools.partial(jax.jit, static_argnums=0)
def _adapt(
    inner: Inner, meta: Meta, state: Any, inner_lr: Any, support: Batch, used: Array | None, key: Array
) -> tuple[Any, Any, Array]:
    if used is not None:
        # a finite stand-in for −∞, whose gradient would be NaN
        inner = dataclasses.replace(
            inner, loss=lambda logits, y: LOSSES["cross-entropy"](jnp.where(used, logits, -1e9), y)
        )
    rule = inner.method.test_rule or inner.method.rule
    adapted = inner_loop(inner, starting_point(inner, meta), state, inner_lr, support, key, rule=rule)
    finite = jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(adapted.params)]))
    return adapted.params, adapted.state, finite


@functools.partial(jax.jit, static_argnums=0)
def _predict(model: Model, params: Any, state: Any, x: Array) -> Array:
    return model.apply(params, state, x, None)[0]


def _inputs(model: Model, x: ArrayLike, images: Images | None, name: str) -> Array:
    array = np.asarray(x)
    if array.ndim == len(model.input_shape) and model.input_shape == (1,):
        array = array[:, None]
    if array.shape[1:] != model.input_shape or len(array.shape) == 0 or len(array) == 0:
        raise DataError(
            f"{name} has shape {array.shape}; this learner needs (examples, {', '.join(map(str, model.input_shape))}) "
            "with at least one example."
        )
    if images is not None and array.dtype == np.uint8:
        return jnp.asarray(images.to_inputs(array))
    return jnp.asarray(_finite(array, name), model.input_dtype)


def _finite(array: np.ndarray, name: str) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.number):
        raise DataError(f"{name} has type {array.dtype}; it must be numbers.")
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{name} is {array[first]} at {first}; remove or replace what is NaN or infinite.")
    return array
