"""Settings of the outer loop. They are settled once, before a training; afterwards no choice is open."""

import dataclasses
import numbers
from collections.abc import Hashable, Mapping
from typing import Any, Literal, TypedDict

import jax
import optax

from mtnets.arguments import check_fields
from mtnets.devices import AtOnce, Devices
from mtnets.errors import OptionError
from mtnets.inner import Meta, Off
from mtnets.tasks import Recipe

Schedule = Literal["constant", "cosine"]
Same = Literal["same"]
Measured = Literal["measured"]
LOG_EVERY = 100
LEAST_LINES = 20  # of the log of a training, by default: a curve with fewer points says little
LEAST = {
    "meta_steps": 0,
    "meta_batch": 1,
    "inner_steps": 0,
    "inner_batch_size": 1,
    "weight_decay": 0,
    "multi_step_loss": 0,
    "first_order_steps": 0,
    "skip_nonfinite": 0,
    "validate_every": 0,
    "patience": 0,
    "validation_tasks": 1,
    "test_tasks": 1,
    "log_every": 1,
    "checkpoint_seconds": 0,
    "checkpoint_every": 0,
    "devices": 1,
    "tasks_at_once": 1,
}
MOST = 2**31 - 1  # what a whole number of 32 bits holds
POSITIVE = ("meta_lr", "fold_lr", "rule_lr", "clip_value", "clip_norm")
WORDS = {  # instead of a number; the first is what version 0.1 called None
    "inner_batch_size": ("all",),
    "fold_lr": ("same",),
    "rule_lr": ("same",),
    "clip_value": ("off",),
    "clip_norm": ("off",),
    "devices": ("all",),
    "tasks_at_once": ("auto", "measured"),
}


class TrainingOptions(TypedDict, total=False):
    """The settings that `meta_train` takes as keyword arguments, for type checkers; `Training` says what they are.

    (Python cannot derive this type from the dataclass; a test compares the two.)
    """

    meta_steps: int
    meta_batch: int
    inner_steps: int
    inner_batch_size: int | Literal["all"]
    stream: bool
    meta_lr: float
    fold_lr: float | Same
    rule_lr: float | Same
    weight_decay: float
    schedule: Schedule
    multi_step_loss: int
    first_order_steps: int
    clip_value: float | Off
    clip_norm: float | Off
    skip_nonfinite: int
    validate_every: int
    patience: int
    min_delta: float
    validation_tasks: int
    test_tasks: int
    log_every: int
    checkpoint_seconds: float
    checkpoint_every: int
    devices: Devices
    tasks_at_once: AtOnce | Measured


@dataclasses.dataclass(frozen=True)
class Training:
    """Settings of the outer loop: arguments of `meta_train`, options of the command line, and their record.

    Attributes:
      meta_steps: length of the training. Defaults to that of the task family.
      meta_batch: tasks per meta-step. Defaults to that of the task family.
      inner_steps: gradient steps within a task. Defaults to those of the task family.
      inner_batch_size: examples of the support set that an inner step sees, drawn anew at each; all sees all of them.
      stream: whether the support set is a stream, whose inner_steps slices are learned one after the other. What is
        made small is the loss along the way: of each slice before it is learned, and of the query set after the last.
      meta_lr: rate of the meta-optimiser.
      fold_lr: rate for the arrays of the fold, such as metrics; same takes meta_lr.
      rule_lr: rate for the arrays of the rule, such as masks and learned inner rates; same takes meta_lr.
      weight_decay: share of the starting weights that a meta-step takes away, times their rate (AdamW). Biases and
        scales, which have one axis, are left alone, and so is what a fold, a rule, a head or a loss learns: a metric
        would decay to 0, not to the identity.
      schedule: of these rates: constant, or cosine, which falls to zero over the training.
      multi_step_loss: meta-steps over which the meta-loss passes from the mean of the query losses after each inner
        step to the last alone (MAML++); 0 for the last alone from the start.
      first_order_steps: meta-steps to begin with that take the first-order meta-gradient (MAML++).
      clip_value: clips each element of the meta-gradient; off does not.
      clip_norm: clips the norm of the meta-gradient; off does not. Defaults to that of the task family.
      skip_nonfinite: meta-steps that may be left out because a loss or gradient was not finite.
      validate_every: meta-steps between two validations; the best learner is kept. 0 keeps the last one.
      patience: validations without a better score after which the training stops; 0 trains to the end.
      min_delta: by how much a score must be better to count for patience; the best learner is kept in any case.
      validation_tasks: tasks of a validation.
      test_tasks: tasks of the test at the end of a run with a folder.
      log_every: meta-steps between two lines of metrics.jsonl; each line is a mean over them. Defaults to a twentieth
        of the training, at most 100.
      checkpoint_seconds: time between two checkpoints.
      checkpoint_every: meta-steps between two checkpoints, besides those by time; 0 for those by time alone.
      devices: how many of a process share its tasks of a meta-step; all takes as many as divide their number.
      tasks_at_once: tasks that a device runs at the same time; auto goes by the size of the network, see
        `mtnets.devices.default_at_once`; measured tries one, some and all of them, which takes some compilations more,
        and keeps the fastest that fits in memory.
    """

    meta_steps: int
    meta_batch: int
    inner_steps: int
    inner_batch_size: int | Literal["all"] = "all"
    stream: bool = False
    meta_lr: float = 1e-3
    fold_lr: float | Same = "same"
    rule_lr: float | Same = "same"
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    multi_step_loss: int = 0
    first_order_steps: int = 0
    clip_value: float | Off = "off"
    clip_norm: float | Off = "off"
    skip_nonfinite: int = 0
    validate_every: int = 500
    patience: int = 0
    min_delta: float = 0.0
    validation_tasks: int = 200
    test_tasks: int = 600
    log_every: int = LOG_EVERY
    checkpoint_seconds: float = 60.0
    checkpoint_every: int = 0
    devices: Devices = "all"
    tasks_at_once: AtOnce | Measured = "auto"

    def __post_init__(self) -> None:
        check_fields(self)
        for name in (*LEAST, *POSITIVE):
            value, words = getattr(self, name), WORDS.get(name, ())
            possible = "".join(f", or '{word}'" for word in words)
            if value in words:
                continue
            if isinstance(value, str) or value is None:
                raise OptionError(f"{name} is {value!r}; it must be a number{possible}.")
            if name in LEAST and not LEAST[name] <= value <= MOST:
                bound = f"at least {LEAST[name]}" if not value >= LEAST[name] else f"at most {MOST}"
                raise OptionError(f"{name} is {value}; it must be {bound}{possible}.")
            if name in POSITIVE and not 0 < value < float("inf"):
                raise OptionError(f"{name} is {value}; it must be a number above 0{possible}.")
        for name in POSITIVE:
            if getattr(self, name) not in WORDS.get(name, ()):
                object.__setattr__(self, name, float(getattr(self, name)))  # a whole number may have more than 64 bits
        self._check_patience()
        if self.stream and self.inner_batch_size != "all":
            raise OptionError(
                f"inner_batch_size is {self.inner_batch_size}, and a stream is learned in inner_steps slices; leave it "
                "out, or stream=False."
            )
        if self.stream and self.multi_step_loss:
            raise OptionError(
                f"multi_step_loss is {self.multi_step_loss}, and the loss of a stream is that along the way; leave it "
                "out, or stream=False."
            )
        if self.schedule not in ("constant", "cosine"):
            raise OptionError(f"schedule is {self.schedule!r}; it must be 'constant' or 'cosine'.")

    def _check_patience(self) -> None:
        if not 0 <= self.min_delta < float("inf"):
            raise OptionError(f"min_delta is {self.min_delta}; it must be a number of at least 0.")
        if self.patience and not self.validate_every:
            raise OptionError(
                f"patience is {self.patience}, and with validate_every=0 there are no validations to count; ask for "
                "some, or leave it out."
            )
        if self.min_delta and not self.patience:
            raise OptionError(
                f"min_delta is {self.min_delta}, which patience alone uses; set patience, or leave it out."
            )

    def optimiser(self) -> optax.GradientTransformation:
        """Adam with this schedule and clipping; AdamW where weights decay. Clipping sees all gradients, whatever their
        rates.

        References:
          Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019, arXiv 1711.05101. There the decay is
          not multiplied by the rate but by its schedule; here by both, as in Optax and PyTorch.
        """
        clip = [] if self.clip_value == "off" else [optax.clip(self.clip_value)]
        clip += [] if self.clip_norm == "off" else [optax.clip_by_global_norm(self.clip_norm)]
        own = {part: rate for part, rate in (("fold", self.fold_lr), ("rule", self.rule_lr)) if rate != "same"}
        rates = {part: self._scheduled(rate) for part, rate in {"meta": self.meta_lr, **own}.items()}
        parts: dict[Hashable, optax.GradientTransformation]
        # as one vector: one operation instead of one per leaf, most of the cost for small networks
        if self.weight_decay:
            decay = optax.add_decayed_weights(self.weight_decay, mask=_decaying)
            before = [*clip, optax.flatten(optax.scale_by_adam()), decay]
            parts = {part: optax.scale_by_learning_rate(rate) for part, rate in rates.items()}
        elif own:
            before = clip
            parts = {part: optax.flatten(optax.adam(rate)) for part, rate in rates.items()}
        else:
            return optax.flatten(optax.chain(*clip, optax.adam(rates["meta"])))
        labels = Meta(*(field if field in own else "meta" for field in Meta._fields))
        return optax.chain(*before, optax.multi_transform(parts, labels))

    def _scheduled(self, rate: float) -> float | optax.Schedule:
        decay = optax.cosine_decay_schedule(rate, max(1, self.meta_steps))
        return decay if self.schedule == "cosine" else rate


def _decaying(meta: Any) -> Any:
    """Which leaves weight decay makes small: starting weights of two axes or more."""
    nothing = jax.tree.map(lambda _: False, meta)
    return nothing._replace(params=jax.tree.map(lambda leaf: leaf.ndim > 1, meta.params))


def settle(options: Mapping[str, Any], recipe: Recipe | None) -> Training:
    """Settings with every choice made: what the user set, then what the task family recommends, then the defaults.

    Raises:
      OptionError: for a setting that does not exist or is not possible, or that is missing without a task family.
    """
    fields = {field.name: field for field in dataclasses.fields(Training)}
    unknown = options.keys() - fields.keys()
    if unknown:
        raise OptionError(f"meta_train has no setting {', '.join(sorted(unknown))}; it has {', '.join(fields)}.")
    recommended: dict[str, Any] = {}
    if recipe is not None:
        recommended = {name: getattr(recipe, name) for name in ("meta_steps", "meta_batch", "inner_steps")}
        recommended["clip_norm"] = "off" if recipe.clip_norm is None else recipe.clip_norm
    chosen = recommended | {name: value for name, value in options.items() if value is not None}
    missing = [name for name in ("meta_steps", "meta_batch", "inner_steps") if name not in chosen]
    if missing:
        raise OptionError(
            f"A task distribution without a family needs {', '.join(missing)}: meta_train(..., {missing[0]}=...)."
        )
    if "log_every" not in chosen and isinstance(chosen["meta_steps"], numbers.Integral):
        chosen["log_every"] = max(1, min(LOG_EVERY, int(chosen["meta_steps"]) // LEAST_LINES))
    return Training(**chosen)


def training_from_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as options, from a record. Where there is a word such as "off" now, version 0.1 wrote None."""
    return {name: WORDS[name][0] if value is None and name in WORDS else value for name, value in values.items()}
