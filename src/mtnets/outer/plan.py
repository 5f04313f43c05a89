"""A training with every choice made: what is trained, on which tasks, by which settings."""

import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from mtnets.arrays import to_numpy
from mtnets.devices import AtOnce, chosen_at_once, largest_divisor, present, task_mesh
from mtnets.errors import OptionError, warn
from mtnets.inner import (
    Criterion,
    Distribution,
    Inner,
    LearnedLoss,
    LossLike,
    Method,
    MetricLike,
    Shared,
    View,
    criterion,
    method_to_json,
    slice_size,
)
from mtnets.learner.meeting import check_head, check_seen, check_tasks, drawn, fitted
from mtnets.learner.tensors import layout_to_json
from mtnets.networks.model import Model
from mtnets.outer.program import Program
from mtnets.outer.settings import Training, settle
from mtnets.precision import precision_in_use
from mtnets.processes import count
from mtnets.tasks import AS_THEY_ARE, SAME_CLASSES, Family, Inputs, inputs_of, options_to_record

PLACES = ("root", "cache")  # of data, which may be elsewhere on each host


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """One call of `meta_train`, settled.

    Attributes:
      model: the network.
      method: how it adapts; its inner rate is None, since each run has its own.
      criterion: what tasks are learned by and judged by.
      train, validation, test: task distributions.
      family: the family that they come from, if any.
      training: settings of the outer loop.
      seeds: of each run side by side.
      inner_lrs: inner rate α of each run.
      optimiser: the meta-optimiser.
      custom_optimiser: whether the user passed it.
      view: what an inner step sees of the support set.
      own_model: whether the user passed the network, not the family.
    """

    model: Model
    method: Method
    criterion: Criterion
    train: Distribution
    validation: Distribution
    test: Distribution
    family: Family | None
    training: Training
    seeds: tuple[int, ...]
    inner_lrs: tuple[float, ...]
    optimiser: optax.GradientTransformation
    custom_optimiser: bool
    view: View
    own_model: bool

    @property
    def runs(self) -> int:
        """Trainings side by side."""
        return len(self.seeds)

    def alone(self, run: int) -> "Plan":
        """The plan of one of the runs."""
        return dataclasses.replace(self, seeds=self.seeds[run : run + 1], inner_lrs=self.inner_lrs[run : run + 1])

    @functools.cached_property
    def keys(self) -> Array:
        """A key for each run, `[runs]`."""
        return jnp.stack([jax.random.key(seed) for seed in self.seeds])

    @functools.cached_property
    def inner_lr(self) -> Array:
        """α of each run, `[runs]`."""
        return jnp.asarray(self.inner_lrs, jnp.float32)

    @functools.cached_property
    def inputs(self) -> Inputs:
        """How raw data become inputs: what the tasks say; classes are the same in all of them where every output is
        said to be a class of the task."""
        said = inputs_of(self.train if self.family is None else self.family)
        if said is not None or not self.criterion.labels:
            return said or AS_THEY_ARE
        outputs = drawn(self.train, "The training tasks").support.outputs
        return AS_THEY_ARE if outputs is None or not np.all(outputs) else SAME_CLASSES

    @functools.cached_property
    def mesh(self) -> Mesh | None:
        """The devices that share the tasks of a meta-step: of each process as many as divide the number of its tasks.
        Runs side by side fill a device better than tasks shared over the devices of a process would.

        Raises:
          OptionError: if processes cannot have equally many tasks.
        """
        tasks, processes = self.training.meta_batch, count()
        if tasks % processes:
            below, above = (tasks // processes * processes, (tasks // processes + 1) * processes)
            raise OptionError(
                f"meta_batch is {tasks}, which {processes} processes cannot share equally; take "
                f"{f'{below} or ' if below else ''}{above}."
            )
        devices = 1 if self.runs > 1 else largest_divisor(tasks // processes, present(self.training.devices))
        return task_mesh(devices, everywhere=True)

    @property
    def devices(self) -> int:
        """How many those are."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def tasks_at_once(self) -> AtOnce:
        """That of the training; the usual number until it is measured."""
        choice = self.training.tasks_at_once
        return "auto" if choice == "measured" else choice

    @functools.cached_property
    def program(self) -> Program:
        """The outer loop, to be compiled."""
        training = self.training
        per_device = training.meta_batch // self.devices
        params, _ = jax.eval_shape(self.model.init, jax.random.key(0))
        at_once = chosen_at_once(self.tasks_at_once, params, per_device)
        return Program(
            Inner(self.model, self.method, self.criterion, training.inner_steps, self.view),
            self.optimiser,
            training.meta_batch,
            training.skip_nonfinite,
            largest_divisor(per_device, at_once),
            self.mesh,
            self.runs,
        )

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """Everything that a learner depends on, as JSON gives it back."""
        method = method_to_json(self.method) | {"inner_lr": self.inner_lrs[0]}
        tasks = options_to_record(None if self.family is None else self.family.options)
        if self.own_model:  # that of the family is not used
            tasks.pop("network", None)
        config = {
            "tasks": tasks,
            "model": self.model.config,
            **layout_to_json(self.model),
            "method": method,
            "training": dataclasses.asdict(self.training),
            "seed": self.seeds[0],
            **self.criterion.to_json(),
            "optimiser": "custom" if self.custom_optimiser else "adam",
        }
        return json.loads(json.dumps(config, default=str))

    def common(self) -> dict[str, Any]:
        """What several processes must have in common to be one training: options, data, versions, kinds of devices."""
        tasks = {name: value for name, value in (self.config["tasks"] or {}).items() if name not in PLACES}
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves((self.train, self.validation, self.test)):
            digest.update(np.ascontiguousarray(to_numpy(leaf)).data)
        machine = {name: value for name, value in self.machine().items() if name not in ("devices", "tasks_at_once")}
        versions = {name: metadata.version(name) for name in ("mtnets", "jaxlib", "optax", "numpy")}
        return {
            **self.config,
            "tasks": tasks,
            "seeds": self.seeds,
            "inner_lrs": self.inner_lrs,
            "data": digest.hexdigest()[:16],
            **machine,
            **versions,
        }

    def machine(self) -> dict[str, Any]:
        """What speed, and the last bits of a result, depend on."""
        return {
            "backend": jax.default_backend(),
            "device": jax.local_devices()[0].device_kind,
            "devices": self.devices,
            "side_by_side": self.runs,
            "tasks_at_once": self.program.at_once,
            "precision": precision_in_use(),
            "jax": jax.__version__,
            "python": sys.version.split()[0],
        }


def with_tasks_at_once(plan: Plan, count: int) -> Plan:
    """The plan with another number of tasks at once."""
    return dataclasses.replace(plan, training=dataclasses.replace(plan.training, tasks_at_once=count))


def make_plan(
    model: Model | None,
    method: Method,
    tasks: Family | Distribution,
    *,
    seed: int | Sequence[int] = 0,
    inner_lr: Sequence[float] | None = None,
    loss: LossLike | None = None,
    inner_loss: LossLike | None = None,
    metrics: Mapping[str, MetricLike] | None = None,
    best: str | None = None,
    optimiser: optax.GradientTransformation | None = None,
    options: Mapping[str, Any],
) -> Plan:
    """Settles a call of `meta_train`, which describes the arguments.

    Raises:
      OptionError: for settings that are not possible.
    """
    family = tasks if isinstance(tasks, Family) else None
    if family is None:
        check_tasks(tasks, "The training tasks")
    if family is None and (loss is None or model is None):
        raise OptionError(
            "A task distribution without a family needs a network and a loss: meta_train(model, method, tasks, "
            "loss='mse')."
        )
    judges = criterion(family.loss if loss is None else loss, inner_loss, metrics, best)  # type: ignore[union-attr]
    training = settle(options, None if family is None else family.recipe)
    if training.meta_steps == 0:
        warn("meta_steps is 0: nothing is meta-trained, and the learner is the network as it starts.")
    if training.multi_step_loss and not method.estimator.weighs_steps:
        raise OptionError(
            f"multi_step_loss is {training.multi_step_loss}, but the {method.estimator.name} estimator takes no "
            "weights of inner steps; leave it out, or use Exact() or FirstOrder()."
        )
    if isinstance(judges.inner_loss, LearnedLoss) and (
        "loss" in method.estimator.blind or getattr(method.estimator, "last_steps", 1) == 0
    ):
        raise OptionError(
            f"inner_loss is {judges.inner_loss}, which is learned, and the {method.estimator.name} estimator gives it "
            "no gradient; use Exact(), or a loss that is fixed."
        )
    method, seeds, inner_lrs = _runs(method, family, seed, inner_lr)
    _check_rates(training, method, optimiser)
    train, validation, test = (
        (tasks.train, tasks.validation, tasks.test) if isinstance(tasks, Family) else (tasks, tasks, tasks)
    )
    network = model if model is not None else family.network(judges.loss)  # type: ignore[union-attr]
    splits = {"training": train, "validation": validation, "test": test}
    own_heads = method.head_start is not None
    train, validation, test = (
        fitted(network, judges, tasks, f"The {name} tasks", any_ways=own_heads and name != "training")
        for name, tasks in splits.items()
    )
    if own_heads:
        check_head(network, judges, drawn(train, "The training tasks").support.x)
    _warn_of_unmoved(network, method)
    view = _view(training, network, method, train)
    plan = Plan(
        network,
        method,
        judges,
        train,
        validation,
        test,
        family,
        training,
        seeds,
        inner_lrs,
        optimiser or training.optimiser(),
        optimiser is not None,
        view,
        model is not None,
    )
    if training.validate_every and judges.labels and not plan.inputs.shared_classes:
        check_seen(drawn(validation, "The validation tasks"), "The validation tasks")
    return plan


def _check_rates(training: Training, method: Method, optimiser: optax.GradientTransformation | None) -> None:
    """Raises OptionError for a meta-rate of its own of what is not learned, or beside an optimiser of the user's."""
    for name, part in (("fold_lr", method.fold), ("rule_lr", method.rule)):
        rate = getattr(training, name)
        if rate != "same" and not part.learns:
            raise OptionError(f"{name} is {rate}, but {method.name} learns no arrays of its {name[:4]}; leave it out.")
        if rate != "same" and optimiser is not None:
            raise OptionError(
                f"{name} is {rate}, which the optimiser that is passed does not use; leave one of them out."
            )
    if training.weight_decay and optimiser is not None:
        raise OptionError(
            f"weight_decay is {training.weight_decay}, which the optimiser that is passed does not use; leave it out, "
            "or pass optax.adamw(...)."
        )


def _view(training: Training, model: Model, method: Method, tasks: Distribution) -> View:
    """What an inner step sees of the support set.

    Raises:
      OptionError: for a stream that the method or the network cannot take.
      DataError: for a stream that cannot be divided.
    """
    if not training.stream:
        return View() if training.inner_batch_size == "all" else View(training.inner_batch_size)
    if not method.estimator.weighs_steps:
        raise OptionError(
            f"stream is True, but the {method.estimator.name} estimator takes no loss along the way; use Exact(), "
            "FirstOrder() or Truncated()."
        )
    if model.predicts_from_support:
        raise OptionError(
            "stream is True, but the network's batch norm has statistics of the support set (norm='support'), which "
            "is never there as a whole; use norm='running', or a network without batch norm."
        )
    if method.task_start is not None or not isinstance(method.head_start, Shared | None):
        raise OptionError(
            "stream is True, and tasks start by what their whole support set says, which is never there as a whole; "
            "use a method and a head that start alike for all tasks, such as maml() and 'fixed' or 'shared'."
        )
    support = drawn(tasks, "The training tasks").support
    return View(slice_size(support.size, training.inner_steps, "The support sets"), stream=True)


def _warn_of_unmoved(model: Model, method: Method) -> None:
    """Names the leaves in no layer that MAML would move and this method does not."""
    if unmoved := method.unmoved(model):
        some = ", ".join(unmoved[:10]) + " …" * (len(unmoved) > 10)
        warn(
            f"No task moves {some}: they lie in no layer, and {method.name} is defined by layers. They are "
            "meta-learned. To let tasks move them, use a method such as maml; to say that this is meant, "
            "adapts='layers'.",
        )


def _runs(
    method: Method, family: Family | None, seed: int | Sequence[int], inner_lr: Sequence[float] | None
) -> tuple[Method, tuple[int, ...], tuple[float, ...]]:
    """The method without an inner rate, and the seed and the inner rate of each run."""
    several = isinstance(seed, Sequence)
    seeds = [int(s) for s in seed] if isinstance(seed, Sequence) else [int(seed)]
    if not seeds:
        raise OptionError(f"seed is {seed}; name one seed, or several.")
    if not all(0 <= each < 2**32 for each in seeds):  # JAX would take another seed in its place
        raise OptionError(f"seed is {seed}; it must be from 0 to {2**32 - 1}.")
    if inner_lr is not None and (not several or not inner_lr):
        raise OptionError(f"inner_lr is {inner_lr}; name several rates together with a list of seeds, seed=[0].")
    usual = None if family is None else family.recipe.inner_lr
    rates = (
        [usual if method.inner_lr is None else method.inner_lr] if inner_lr is None else [float(r) for r in inner_lr]
    )
    for rate in rates:
        if rate is None:
            raise OptionError("A task distribution without a family needs an inner rate, for example mt_net(0.01).")
        dataclasses.replace(method, inner_lr=rate)  # raises for a rate that is not possible
    clip = method.inner_clip
    if clip is None:
        clip = "off" if family is None or family.recipe.inner_clip is None else family.recipe.inner_clip
    method = dataclasses.replace(method, inner_lr=None, inner_clip=clip)
    return method, tuple(seeds * len(rates)), tuple(rate for rate in rates for _ in seeds)  # type: ignore[misc]
