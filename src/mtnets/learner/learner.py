"""A learner: a model, a method and everything meta-learned. It adapts to a task, and is saved and loaded."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from mtnets.arguments import Key, Steps, Such, check, check_fields, checked_arguments
from mtnets.devices import AtOnce, chosen_at_once
from mtnets.errors import DataError, OptionError, RunError, listed, perhaps, warn
from mtnets.files import write_json
from mtnets.inner import (
    METHODS,
    WHOLE,
    Batch,
    Criterion,
    Inner,
    Learned,
    Loss,
    LossLike,
    Meta,
    Method,
    MetricLike,
    View,
    cause_in_use,
    criterion,
    criterion_from_json,
    method_from_json,
    method_to_json,
)
from mtnets.inner.records import CUSTOM
from mtnets.learner import compiled
from mtnets.learner.adapted import AdaptedModel, AdaptedModels
from mtnets.learner.adapted_ensemble import AdaptedEnsemble
from mtnets.learner.data import (
    counted,
    of_task,
    padded,
    padded_size,
    to_counts,
    to_inputs,
    to_labels,
    to_targets,
    to_weights,
)
from mtnets.learner.meeting import check_weighs
from mtnets.learner.start import start_of
from mtnets.learner.task_files import fingerprint, read_task
from mtnets.learner.tensors import (
    FORMAT,
    check_layout,
    fill,
    layout_to_json,
    read_tensors,
    reading,
    write_tensors,
)
from mtnets.networks.model import NETWORKS, Model, outputs_of, shape_of_output, with_classes
from mtnets.networks.models import model_from_config
from mtnets.raw_arrays import check_no_path, read_array, read_arrays, reading_array
from mtnets.shipped import learners
from mtnets.tasks import AS_THEY_ARE, Inputs, inputs_from_json
from mtnets.trees import leaves_by_path, replace_leaves

WEIGHTS, CARD = "learner.safetensors", "learner.json"
CONFIG = "config.json"  # which the folder of a run has from its start
REACHED = "reached"  # on record of a learner whose training has not ended: the meta-step that it is at
RECORD = {
    "tasks": Mapping | None,
    "training": Mapping | None,
    "licence": str | None,
    "validation": float | None,
    "target_shape": list | None,
    REACHED: int | None,
}
MOST_AT_ONCE = 1000  # tasks of one call that a device runs at the same time
# one would be no ensemble; more than a thousand say no more, and are held in memory
Masks = Annotated[int, Such(lambda masks: 2 <= masks <= 1000, "a whole number from 2 to 1000")]


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """What a user holds after meta-training.

    Attributes:
      model: the network.
      method: how it adapts.
      learned: meta-parameters, network state and inner rate.
      inner_steps: gradient steps of training.
      criterion: what it learns by and is judged by; a loss, or its name, stands for itself with its usual metric.
      inputs: how raw data, such as images or tables, become inputs of the network.
      record: where the learner comes from: tasks with their classes, training, score on validation tasks.
      view: what an inner step sees of the support set.

    Raises:
      OptionError: for a value of another type, fewer than 0 inner steps, or another loss.
    """

    described: ClassVar[str] = "a learner, as meta_train(...) returns it and mtnets.load(path) reads it"  # in errors

    model: Model
    method: Method
    learned: Learned
    inner_steps: int
    criterion: Criterion
    inputs: Inputs = AS_THEY_ARE
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    view: View = WHOLE

    def __post_init__(self) -> None:
        if not isinstance(self.criterion, Criterion):
            object.__setattr__(self, "criterion", criterion(self.criterion))  # of a frozen dataclass
        check_fields(self)
        if self.inner_steps < 0:
            raise OptionError(f"inner_steps is {self.inner_steps}; it must be at least 0.")

    def __repr__(self) -> str:
        """`<Learner mt_net() of <Model …> on sinusoid: loss 0.31 on validation tasks, meta-step 3,000>`."""
        family, score = (self.record.get("tasks") or {}).get("family"), self.record.get("validation")
        text = f"<Learner {self.method!r} of {self.model!r}{f' on {family}' if family else ''}"
        if score is not None:
            text += f": {self.criterion.best} {score:.4g} on validation tasks, meta-step {self.record['meta_step']:,}"
        return f"{text}>"

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # without what is cached

    @property
    def meta(self) -> Meta:
        """Everything that the meta-optimiser has moved."""
        return self.learned.meta

    @property
    def loss(self) -> Loss:
        """What is small for a good prediction."""
        return self.criterion.loss

    @property
    def state(self) -> Any:
        """State of the network."""
        return self.learned.state

    @property
    def inner_lr(self) -> float:
        """α."""
        return self.learned.inner_lr

    @functools.cached_property
    def inner(self) -> Inner:
        """The inner problem, without the inner rate, so that learners with other rates share their programs."""
        method = dataclasses.replace(self.method, inner_lr=None)
        return Inner(self.model, method, self.criterion, self.inner_steps, self.view)

    def inner_of(self, count: int, inner_steps: int | None = None, ways: int | None = None) -> Inner:
        """The inner problem of one task, in use.

        Args:
          count: examples in its support set.
          inner_steps: gradient steps. Defaults to those of training; of a stream, to one for each slice.
          ways: classes, for a head that does not fix their number.

        Raises:
          OptionError: for another number of steps than a stream has slices.
        """
        steps = self.inner_steps if inner_steps is None else inner_steps
        if self.view.stream:
            steps = self.view.slices(count)
            if inner_steps not in (None, steps):
                raise OptionError(
                    f"inner_steps is {inner_steps}, and a stream of {count} examples is learned in {steps} slices of "
                    f"{self.view.size}; leave it out."
                )
        return dataclasses.replace(self.inner, steps=steps, ways=ways)

    def padded(self, support: Batch) -> Batch:
        """A support set filled up with examples of weight 0, so that few programs are compiled; as it is where these
        would count (batch norm), or make up a slice of a stream by themselves."""
        return support if self.view.stream or self.model.norm != "none" else padded(support)

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return self.output_shape[-1]

    @property
    def any_ways(self) -> bool:
        """Whether tasks may have any number of classes."""
        return self.method.head_start is not None and not self.inputs.shared_classes

    def ways_of(self, labels: ArrayLike) -> int:
        """Units of a head for any number of classes, for tasks with these labels: a few more than there are, so that
        few programs are compiled."""
        return padded_size(max(2, int(np.max(labels)) + 1))

    @functools.cached_property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the outputs for one example."""
        return shape_of_output(self.model, self.meta.params, self.state)

    def moving(self) -> dict[str, float]:
        """Share of the units of each layer that a task moves, where the method has masks."""
        shares = self.method.rule.moving(self.inner.layers, self.meta.rule)
        return {name: float(share) for name, share in shares.items()}

    # --- use

    @overload
    def adapt(
        self,
        x: Any,
        y: Any = None,
        *,
        weights: Any = None,
        inner_steps: Steps | None = None,
        key: Key | None = None,
        start: AdaptedModel | Mapping[str, Array] | None = None,
        masks: None = None,
    ) -> AdaptedModel: ...
    @overload
    def adapt(
        self,
        x: Any,
        y: Any = None,
        *,
        weights: Any = None,
        inner_steps: Steps | None = None,
        key: Key | None = None,
        masks: int,
    ) -> AdaptedEnsemble: ...
    @checked_arguments
    def adapt(
        self,
        x: Any,
        y: Any = None,
        *,
        weights: Any = None,
        inner_steps: Steps | None = None,
        key: Key | None = None,
        start: AdaptedModel | Mapping[str, Array] | None = None,
        masks: Masks | None = None,
    ) -> AdaptedModel | AdaptedEnsemble:
        """Learns a task from its examples.

        Args:
          x: inputs, `[examples, ...]`, or a dictionary or tuple of such for a network of several inputs; pixels (of any
            type and size) and paths of image files are converted as in training, and so are tables (data frames,
            mappings of columns) by a learner of tables.
          y: targets `[examples, outputs]` in regression (or `[examples]` for a single output); integer labels
            `[examples]` from 0 to ways − 1 in classification. Outputs whose label does not occur are masked. For a
            table, the target column: numbers, or the classes of training. Defaults to the target column of x.
          weights: for how many examples each counts, `[examples]`, at least 0; 0 leaves an example out. Only their
            proportions enter losses; the scale of rows that a task standardises is that of so many rows. Defaults to 1.
          inner_steps: gradient steps. Defaults to those of training.
          key: for masks and everything else that is random. Defaults to a fixed one.
          start: a model to go on from, whose scale of features is kept; or weights alone (`AdaptedModel.moved`).
            Defaults to what was meta-learned.
          masks: how many times it is learned, with masks of their own, in one compiled program: for methods that draw
            masks (`mt_net`, `mt_net_full`, `m_net`). What the networks disagree on is not sure.

        Returns:
          A plain network with adapted weights; with `masks`, an ensemble of so many.

        Raises:
          DataError: if shapes do not fit, a number is not finite or beyond single precision, a label is out of range,
            or a weight is below 0 or all are 0.
          OptionError: for weights where the network's batch norm counts all examples alike; for `masks` below 2, with a
            start, without an inner step, or with a method that draws none.
          RunError: if adaptation diverges, or for a start that is of another network or says no weights.
        """
        if masks is not None:
            self.check_masks(masks, inner_steps, start)
        self._warn_of_batches()
        check_no_path(x, "x")  # before its targets are looked for
        x = self.inputs.collected(x)
        y = self.inputs.target_of(x) if y is None else y
        ways = self._ways_of_start(start)
        moved = start_of(start, leaves_by_path(self._params_for(ways)), self.inner.moving)
        counts = None if weights is None else to_counts(weights, y)
        if isinstance(start, AdaptedModel):
            inputs = start.inputs
        else:
            with reading_array(x, "x"):
                inputs = self.inputs.for_task(x, y, counts)
        support = self.batch(x, y, inputs, counts, ways)
        if masks is not None:
            return self._adapt_masks(support, masks, inputs, inner_steps, key)
        return self.adapt_batch(support, inputs, inner_steps=inner_steps, key=key, start=moved)

    def adapt_batch(
        self,
        support: Batch,
        inputs: Inputs | None = None,
        *,
        inner_steps: int | None = None,
        key: Array | None = None,
        start: Mapping[str, Array] | None = None,
    ) -> AdaptedModel:
        """The same for a batch of inputs and targets of the network, whose examples may have weights.

        Args:
          support: `[examples, ...]`.
          inputs: how the adapted model converts raw data. Defaults to those of the learner.
          inner_steps, key: as in `adapt`.
          start: weights to begin from, by path. Defaults to what was meta-learned.

        Raises:
          RunError: if adaptation diverges.
        """
        ways = None if support.outputs is None or not self.any_ways else len(support.outputs)
        inner = self.inner_of(support.size, inner_steps, ways)
        key = jax.random.key(0) if key is None else key
        examples = counted(support)
        support = self.padded(support)
        moved, state, finite = compiled.adapt_one(inner, self.learned, start, support, key)
        if not finite:
            raise RunError(f"Adaptation failed. {self._cause(inner, start, support, key)}")
        used = None if support.outputs is None or np.all(support.outputs) else jnp.asarray(support.outputs)
        params = compiled.fold(inner, self.meta, moved)  # the program of with_task, so that both give the same bits
        return AdaptedModel(
            self.model, params, state, used, inputs or self.inputs, self, moved, inner.steps, self.loss, examples
        )

    @checked_arguments
    def adapt_many(
        self,
        x: Any,
        y: Any,
        *,
        weights: ArrayLike | None = None,
        inner_steps: Steps | None = None,
        key: Key | None = None,
        tasks_at_once: AtOnce = "auto",
    ) -> AdaptedModels:
        """Learns many tasks in one compiled call.

        Memory: the weights of every task, `len(tasks) × parameters`, and the work of `tasks_at_once` of them. For more
        than that, call it with some thousand tasks at a time.

        Args:
          x: inputs, `[tasks, examples, ...]`.
          y: targets `[tasks, examples, outputs]`, or labels `[tasks, examples]`.
          weights: as in `adapt`, `[tasks, examples]`; 0 for what fills up a task of fewer examples than others.
          inner_steps, key: as in `adapt`; each task draws its own masks.
          tasks_at_once: tasks that are learned at the same time; see `mtnets.devices.default_at_once`.

        Raises:
          DataError: if shapes do not fit, a number is not finite, a label is out of range, or weights are not
            possible; naming the task.
          OptionError: for weights where the network's batch norm counts all examples alike.
          RunError: if adaptation diverges, naming the tasks.
        """
        self._warn_of_batches()
        x, y = _tasks_of(x, y)
        count, examples = jax.tree.leaves(y)[0].shape[:2]
        given = None if weights is None else read_array(weights, "weights")
        if given is not None and given.shape != (count, examples):
            raise DataError(f"weights has shape {given.shape}; it must be {(count, examples)}: [tasks, examples].")
        inputs, batches, ways = [], [], self.ways_of(y) if self.any_ways else None
        for i in range(count):
            x_task, y_task = (jax.tree.map(lambda leaf, i=i: leaf[i], part) for part in (x, y))
            with of_task(i):
                counts = None if given is None else to_counts(given[i], y_task)
                inputs.append(self.inputs.for_task(x_task, y_task, counts))
                batches.append(self.batch(x_task, y_task, inputs[-1], counts, ways))
        support = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)  # JAX would compile for this many tasks
        keys = jax.random.split(jax.random.key(0) if key is None else key, count)
        return self.adapt_batches(support, keys, tuple(inputs), inner_steps=inner_steps, tasks_at_once=tasks_at_once)

    def adapt_batches(
        self,
        supports: Batch,
        keys: Array,
        inputs: tuple[Inputs, ...],
        *,
        inner_steps: int | None = None,
        tasks_at_once: AtOnce = "auto",
    ) -> AdaptedModels:
        """The same for a stack of batches of inputs and targets of the network.

        Args:
          supports: `[tasks, examples, ...]`.
          keys: of the tasks, `[tasks]`.
          inputs: how each adapted model converts raw data.
          inner_steps, tasks_at_once: as in `adapt_many`.

        Raises:
          RunError: if adaptation diverges, naming the tasks.
        """
        ways = None if supports.outputs is None or not self.any_ways else supports.outputs.shape[-1]
        inner = self.inner_of(jax.tree.leaves(supports.y)[0].shape[1], inner_steps, ways)
        at_once = chosen_at_once(tasks_at_once, self.meta.params, len(keys), most=MOST_AT_ONCE)
        moved, state, finite = compiled.adapt_each(inner, at_once, self.learned, supports, keys)
        if not np.all(finite):
            which = np.flatnonzero(~np.asarray(finite))
            some = ", ".join(map(str, which[:10])) + " …" * (len(which) > 10)
            first, first_key = jax.tree.map(lambda leaf: leaf[which[0]], (supports, keys))
            raise RunError(f"Adaptation failed for task {some}. {self._cause(inner, None, first, first_key)}")
        params = compiled.fold_each(inner, self.meta, moved)
        like = AdaptedModel(self.model, None, None, None, self.inputs, self, None, inner.steps, self.loss)
        return AdaptedModels(like, params, state, moved, inputs, supports.outputs)

    @checked_arguments
    def warm_up(
        self, examples: Sequence[int], queries: Sequence[int] = (1,), *, inner_steps: Steps | None = None
    ) -> None:
        """Compiles what adapting and predicting will need, so that nobody waits for it later: a service calls this when
        it starts.

        Sizes are padded to a few, 1 … 8, 10, 12, 14, 16, 20 …, and each number stands for those that are padded to the
        same; support sets are padded for networks without batch norm, and not for streams. With JAX's persistent cache
        (`jax.config.update("jax_compilation_cache_dir", folder)`) another process compiles nothing of it again.

        Args:
          examples: sizes of support sets.
          queries: numbers of inputs that are predicted at a time.
          inner_steps: gradient steps. Defaults to those of training.

        Raises:
          OptionError: for a size below 1, or where the shape of targets is not known.
        """
        for name, sizes in (("examples", examples), ("queries", queries)):
            if not sizes or min(sizes) < 1:
                raise OptionError(f"{name} is {tuple(sizes)}; it must be sizes of at least 1, such as (5, 25).")
        for count in examples:
            model = self.adapt_batch(self._made_up(count), AS_THEY_ARE, inner_steps=inner_steps)
            for size in queries:
                jax.block_until_ready(model(self._made_up_inputs(size)))

    def _made_up(self, count: int) -> Batch:
        """So many examples that mean nothing, of every class that there is."""
        shape = self.criterion.inner_loss.shape_of_targets(self.output_shape)
        shape = self.record.get("target_shape") if shape is None else shape
        if shape is None:
            raise OptionError("The shape of targets is not recorded for this loss; call adapt with an example instead.")
        y = np.zeros((count, *shape), np.float32)
        if self.loss.labels:
            ways = (self.record.get("tasks") or {}).get("ways", count) if self.any_ways else self.outputs
            y = np.broadcast_to((np.arange(count) % ways).reshape(-1, *(1 for _ in shape)), y.shape)
        return self.batch(self._made_up_inputs(count), y, AS_THEY_ARE)

    def _made_up_inputs(self, count: int) -> Any:
        """Of the network, of which no two are alike."""
        random = np.random.default_rng(0)
        return jax.tree.map(
            lambda like: random.uniform(size=(count, *like.shape)).astype(like.dtype), self.model.inputs
        )

    @checked_arguments
    def with_task(self, path: str | Path) -> AdaptedModel:
        """The model that `AdaptedModel.save_task` wrote a file of, which must have been adapted by this learner.

        Raises:
          RunError: if there is no such file, it is damaged, or belongs to another learner.
        """
        task = read_task(path, self)
        inner = dataclasses.replace(self.inner, steps=task.inner_steps, ways=task.ways)
        params = compiled.fold(inner, self.meta, task.moved)
        return AdaptedModel(
            self.model, params, task.state, task.used, task.inputs, self, task.moved, task.inner_steps, self.loss
        )

    def _adapt_masks(
        self, support: Batch, masks: int, inputs: Inputs, inner_steps: int | None, key: Array | None
    ) -> AdaptedEnsemble:
        """Adapts to the same task several times, each with a mask of its own."""
        examples = counted(support)
        support = self.padded(support)
        supports = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (masks, *np.shape(leaf))), support)
        many = self.adapt_batches(supports, keys_of_masks(key, masks), (inputs,) * masks, inner_steps=inner_steps)
        params, state, moved = jax.device_get((many.params, many.state, many.moved))  # parts of which cost nothing
        many = dataclasses.replace(
            many, like=dataclasses.replace(many.like, examples=examples), params=params, state=state, moved=moved
        )
        return AdaptedEnsemble(tuple(many))

    def check_masks(self, masks: int, inner_steps: int | None, start: Any = None) -> None:
        """Raises OptionError where several masks would give the same network several times, or go on from one."""
        use = getattr(self.method, "mask", None)
        if use is None:
            raise OptionError(
                f"{self.method.name} draws no masks, and masks is {masks}; leave it out, or take the learners of "
                "several seeds: mtnets.Ensemble(learners)."
            )
        if use != "sample":
            raise OptionError(
                f"mask is {use!r}, which is the same each time, and masks is {masks}; use the method with "
                "mask='sample'."
            )
        if (self.inner_steps if inner_steps is None else inner_steps) == 0:
            raise OptionError(f"inner_steps is 0, where no mask counts, and masks is {masks}; take a step or more.")
        if start is not None:
            raise OptionError(f"start is one model, and masks is {masks}, for several; leave out one of the two.")

    def _warn_of_batches(self) -> None:
        if self.model.norm == "transductive":
            warn(
                "This learner was trained with transductive batch norm: each prediction depends on the other inputs of "
                "its batch. For use, train with norm='support'.",
            )

    def _cause(self, inner: Inner, start: Mapping[str, Array] | None, support: Batch, key: Array) -> str:
        """Why adaptation gave weights that are not finite."""
        own = self.model.layers[-1].paths if self.any_ways else ()  # the head, which begins anew
        begin = {path: leaf for path, leaf in (start or {}).items() if path not in own}
        params = replace_leaves(self.meta.params, begin)
        learned = self.learned._replace(meta=self.meta._replace(params=params))
        return cause_in_use(inner, learned, support, key)

    def _ways_of_start(self, start: AdaptedModel | Mapping[str, Any] | None) -> int | None:
        """Classes of a task to go on from; None without one, or for a head that fixes them."""
        moved = start.moved if isinstance(start, AdaptedModel) else start
        head = self.model.layers[-1]
        if not self.any_ways or moved is None or head.weight not in moved:
            return None
        shape = np.shape(moved[head.weight])
        return shape[head.out_axes[0]] if len(shape) == len(head.shape) else None

    def _params_for(self, ways: int | None) -> Any:
        """The network's parameters, or their shapes, with a head of so many classes."""
        return self.meta.params if ways is None else with_classes(self.model, self.meta.params, ways)

    def batch(
        self, x: Any, y: Any, inputs: Inputs, counts: NDArray[np.float64] | None = None, ways: int | None = None
    ) -> Batch:
        """Raw examples and targets as a batch of the network, with the outputs that the task uses.

        Args:
          x, y: as in `adapt`.
          inputs: of the task.
          counts: for how many examples each counts, as `to_counts` returns them. Defaults to one.
          ways: units of a head that does not fix the number of classes. Defaults to what the labels need.

        Raises:
          DataError, OptionError: as in `adapt`.
        """
        examples = to_inputs(self.model, x, inputs, "x")
        count = len(jax.tree.leaves(examples)[0])
        loss = self.criterion.inner_loss
        shape = loss.shape_of_targets(self.output_shape)
        if shape is None and self.record.get("target_shape") is not None:
            shape = tuple(self.record["target_shape"])
        weights, used = None if counts is None else to_weights(counts), None
        if loss.labels:
            outputs = (ways or self.ways_of) if self.any_ways else self.outputs
            targets, used = to_labels(y, inputs, count, shape, outputs, weights)
        else:
            targets = to_targets(y, inputs, count, shape, other=loss.targets == "any")
            if loss.targets == "numbers":
                loss.check_limits(np.asarray(targets), "y has")
        batch = Batch(examples, targets, weights, used)  # type: ignore[arg-type]
        if weights is not None:
            check_weighs(self.model, batch, "The examples")
        return batch

    # --- files

    @checked_arguments
    def save(self, path: str | Path) -> Path:
        """Writes `learner.safetensors`, which holds everything, and `learner.json`, the same card for people, into a
        folder. An older learner there is replaced whole. Returns the folder."""
        arrays = {f"{part}.{name}": a for part, tree in self.arrays().items() for name, a in tree.items()}
        card = self._card()
        write_tensors(Path(path) / WEIGHTS, arrays, card)
        write_json(Path(path) / CARD, card)
        return Path(path)

    def arrays(self) -> dict[str, dict[str, Any]]:
        """Every array that was learned, by part (`params`, `fold`, `rule`, `head`, `loss`, `state`) and path."""
        trees = {**self.meta._asdict(), "state": self.state}
        return {name: leaves_by_path(tree) for name, tree in trees.items()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes when anything does that was meta-learned."""
        return fingerprint(self, method_to_json(self.method) | {"inner_lr": float(self.inner_lr)})

    def _card(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": None if self.model.config is None else dict(self.model.config),
            **layout_to_json(self.model),
            "method": method_to_json(self.method) | {"inner_lr": float(self.inner_lr)},
            "inner_lr": float(self.inner_lr),
            "inner_steps": self.inner_steps,
            **self.criterion.to_json(),
            **self.view.to_json(),
            "inputs": self.inputs.to_json(),
            "record": dict(self.record),
        }


def _tasks_of(x: Any, y: Any) -> tuple[Any, Any]:
    """Several tasks as arrays.

    Raises:
      DataError: unless all are `[tasks, examples, ...]` alike.
    """
    x, y = read_arrays(x, "x"), read_arrays(y, "y")
    arrays = jax.tree.leaves((x, y))
    if any(array.ndim < 2 for array in arrays) or len({array.shape[:2] for array in arrays}) > 1 or not len(arrays[0]):
        shapes = ", ".join(str(array.shape) for array in jax.tree.leaves(x))
        targets = ", ".join(str(array.shape) for array in jax.tree.leaves(y))
        raise DataError(f"x has shape {shapes} and y {targets}; they must be [tasks, examples, ...] alike.")
    return x, y


def keys_of_masks(key: Array | None, masks: int) -> Array:
    """The keys of several masks for one task, `[masks]`; of the fixed key by default."""
    return jax.random.split(jax.random.key(0) if key is None else key, masks)


@checked_arguments
def load(
    path: str | Path,
    *,
    model: Model | None = None,
    method: Method | None = None,
    loss: LossLike | None = None,
    inner_loss: LossLike | None = None,
    metrics: Mapping[str, MetricLike] | None = None,
) -> Learner:
    """Reads a saved learner, the best one of a run folder, or one that ships with the package. Of a training that has
    not ended it is the best one so far, and a warning says so.

    Args:
      path: the folder, or a name such as `"omniglot-any-way-1shot"` (`mtnets learners` lists them); a folder of such a
        name goes first.
      model: the network, if it is not a built-in one.
      method: the method, if it is not one of `mtnets.METHODS`.
      loss, inner_loss: the losses, if they are functions of your own.
      metrics: those that are functions of your own, by name; without them the learner goes without.

    Raises:
      RunError: if there is none, it is damaged, or its arrays do not fit its network.
    """
    file, ships = Path(path) / WEIGHTS, {}
    if not file.is_file() and str(path) in learners.names():
        file = learners.path(str(path)) / WEIGHTS
        ships = {"licence": learners.card(str(path))["licence"]}  # which goes where its weights go
    if not file.is_file() and (Path(path) / CONFIG).is_file():
        raise RunError(
            f"There is no learner in {path} yet (no {WEIGHTS}): its training has not kept any; wait for its first "
            "checkpoint, or go on with resume=True (--resume)."
        )
    if not file.is_file():
        below = sorted(each.parent.name for each in Path(path).glob(f"*/{WEIGHTS}"))
        remedy = f"folder written by a training or by save(), or a learner that ships: {', '.join(learners.names())}"
        remedy = f"one of the folders in it: {listed(below)}" if below else f"a {remedy}"
        meant = "" if Path(path).exists() else perhaps(str(path), learners.names())
        raise RunError(f"There is no learner in {path} (no {WEIGHTS}); {meant}name {remedy}.")
    arrays, card = read_tensors(file)
    with reading(file, None, passed=model is not None):
        given = {"loss": loss, "inner_loss": inner_loss, "metrics": metrics}
        learner = _read(file, arrays, card, model, method, given, ships)
        unended = _unended(path, learner.record)
    if unended:  # out here: a warning may be an error to the user
        warn(unended)
    return learner


def _unended(path: str | Path, record: Mapping[str, Any]) -> str:
    """Where the training of a learner is; nothing if it has ended."""
    if record.get(REACHED) is None:
        return ""
    return (
        f"The training of {path} has not ended: it is at meta-step {record[REACHED]:,} of "
        f"{record['training']['meta_steps']:,}, and this is its best learner so far, of meta-step "
        f"{record['meta_step']:,}; to go on, repeat what began it with resume=True (--resume)."
    )


def _read(
    file: Path,
    arrays: dict[str, Any],
    card: dict[str, Any],
    model: Model | None,
    method: Method | None,
    given: Mapping[str, Any],
    ships: Mapping[str, Any],
) -> Learner:
    """The learner of a file's arrays and card, with what else is on record of one that ships."""
    if model is None:
        if card["model"] is None:
            raise RunError(
                f"The network in {file} is not a built-in one; pass it, in Python: mtnets.load(path, model=...)."
            )
        if card["model"]["network"] not in NETWORKS:
            raise RunError(
                f"The network in {file} is {card['model']['network']!r}, which is not registered; import the module "
                "that registers it, or pass it: load(path, model=...)."
            )
        model = model_from_config(card["model"])
    check_layout(card, model, file)
    if method is None:
        name, custom = card["method"]["name"], [n for n, value in card["method"].items() if value == CUSTOM]
        if name not in METHODS:
            raise RunError(
                f"The method in {file} is {name!r}, which is not registered; pass it: load(path, method=...)."
            )
        if custom:
            raise RunError(
                f"The method in {file} has {custom[0]} of your own, which is not recorded; pass the method: "
                "load(path, method=...)."
            )
        method = method_from_json(card["method"])
    if card["format"] == 1 and method.loose(model):  # version 0.1 moved nothing but layers
        method = dataclasses.replace(method, adapts="layers")
    network, inner_lr = model, card["inner_lr"]
    check("inner_lr", inner_lr, float)
    if not math.isfinite(inner_lr):
        raise OptionError(f"inner_lr is {inner_lr}; it must be finite.")

    def start(key: Array) -> tuple[Meta, Any]:
        params, state = network.init(key)
        return Inner(network, method, judges, card["inner_steps"]).init(params, key, inner_lr), state

    judges = criterion_from_json(card, given)
    meta, state = jax.eval_shape(start, jax.random.key(0))
    trees = fill({**meta._asdict(), "state": state}, arrays, file)
    learned = Learned(Meta(*(trees[part] for part in Meta._fields)), trees["state"], inner_lr)
    for name, hint in RECORD.items():
        check(f"record[{name!r}]", card["record"].get(name), hint)
    inputs = inputs_from_json(card["inputs"], card["record"].get("tasks"))
    inputs.check_network(model.input_shape, outputs_of(model, meta.params, state))
    view = View(**card.get("view", {}))
    return Learner(model, method, learned, card["inner_steps"], judges, inputs, {**card["record"], **ships}, view)
