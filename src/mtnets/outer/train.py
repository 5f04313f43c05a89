"""Meta-training: the outer loop with validation, checkpoints and a record of everything."""

import contextlib
import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from mtnets.devices import default_at_once, largest_divisor, task_mesh
from mtnets.errors import OptionError, RunError
from mtnets.files import finite, replacing, write_json
from mtnets.inner.loop import Inner
from mtnets.inner.losses import LOSSES, METRICS
from mtnets.inner.methods import METHODS, Meta, Method
from mtnets.inner.task import Distribution
from mtnets.learner.evaluate import evaluate
from mtnets.learner.learner import Learner
from mtnets.networks.model import Model
from mtnets.networks.model import model_from_config
from mtnets.outer.checkpoints import Checkpoints
from mtnets.outer.program import Outer, Program
from mtnets.outer.progress import Display
from mtnets.serialisation import from_json
from mtnets.tasks import FAMILIES
from mtnets.tasks.family import Family
from mtnets.tasks.inputs.inputs import AS_THEY_ARE
from mtnets.tasks.sampling.host_callback import surfacing

Callback = Callable[[int, list[Learner]], None]
VALIDATION_SEED = 20180606
DISPLAY_SECONDS = 1.0  # a chunk of meta-steps takes about this long


@dataclasses.dataclass(frozen=True)
class Training:
    """Settings of the outer loop: arguments of `meta_train`, options of the command line, and their record.

    Attributes:
      meta_steps: length of the training; the task family's unless given.
      meta_batch: tasks per meta-step; the task family's unless given.
      inner_steps: gradient steps within a task; the task family's unless given.
      meta_lr: rate of the meta-optimiser.
      schedule: of that rate: constant, or cosine to zero over the training.
      multi_step_loss: meta-steps over which the meta-loss passes from the mean of the query losses after each inner
        step to the last alone (MAML++); 0 for the last alone from the start.
      first_order_steps: meta-steps to begin with that take the first-order meta-gradient (MAML++).
      clip_value: clips each element of the meta-gradient.
      clip_norm: clips the norm of the meta-gradient; as the task family does unless given.
      skip_nonfinite: meta-steps that may be left out because a loss or gradient was not finite.
      validate_every: meta-steps between two validations; the best learner is kept; 0 keeps the last one.
      validation_tasks: tasks of a validation.
      test_tasks: tasks of the test at the end of a run with a folder.
      log_every: meta-steps that one line of metrics.jsonl is a mean of.
      checkpoint_seconds: time between two checkpoints.
      devices: how many to share the tasks of a meta-step; all that divide their number unless given.
      tasks_at_once: tasks that a device runs at the same time; measured defaults, see `mtnets.meta.default_at_once`.
    """

    meta_steps: int | None = None
    meta_batch: int | None = None
    inner_steps: int | None = None
    meta_lr: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    multi_step_loss: int = 0
    first_order_steps: int = 0
    clip_value: float | None = None
    clip_norm: float | None = None
    skip_nonfinite: int = 0
    validate_every: int = 500
    validation_tasks: int = 200
    test_tasks: int = 600
    log_every: int = 100
    checkpoint_seconds: float = 60.0
    devices: int | None = None
    tasks_at_once: int | None = None

    def __post_init__(self) -> None:
        least = {
            "meta_steps": 0,
            "meta_batch": 1,
            "inner_steps": 0,
            "multi_step_loss": 0,
            "first_order_steps": 0,
            "skip_nonfinite": 0,
            "validate_every": 0,
            "validation_tasks": 1,
            "test_tasks": 1,
            "log_every": 1,
            "checkpoint_seconds": 0,
            "devices": 1,
            "tasks_at_once": 1,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and not value >= bound:
                raise OptionError(f"{name} is {value}; it must be at least {bound}.")
        if self.schedule not in ("constant", "cosine"):
            raise OptionError(f"schedule is {self.schedule!r}; it must be 'constant' or 'cosine'.")
        for name in ("meta_lr", "clip_value", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise OptionError(f"{name} is {value}; it must be a number above 0.")

    def optimiser(self) -> optax.GradientTransformation:
        """Adam with the schedule and clipping asked for."""
        assert self.meta_steps is not None
        rate = (
            self.meta_lr
            if self.schedule == "constant"
            else optax.cosine_decay_schedule(self.meta_lr, max(1, self.meta_steps))
        )
        clip = [optax.clip(self.clip_value)] if self.clip_value else []
        clip += [optax.clip_by_global_norm(self.clip_norm)] if self.clip_norm else []
        # as one vector: one operation instead of one per leaf, most of the cost for small networks
        return optax.flatten(optax.chain(*clip, optax.adam(rate)))


class Best(NamedTuple):
    """The best learner of each run on validation tasks so far: score, meta-step, and what was learned by then."""

    score: Array
    step: Array
    meta: Meta
    state: Any


@overload
def meta_train(
    model: Model | None,
    method: Method,
    tasks: Family | Distribution,
    *,
    seed: int = 0,
    loss: str | None = None,
    optimiser: optax.GradientTransformation | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    callback: Callback | None = None,
    **settings: Any,
) -> Learner: ...
@overload
def meta_train(
    model: Model | None,
    method: Method,
    tasks: Family | Distribution,
    *,
    seed: Sequence[int],
    inner_lr: Sequence[float] | None = None,
    loss: str | None = None,
    optimiser: optax.GradientTransformation | None = None,
    out: None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    callback: Callback | None = None,
    **settings: Any,
) -> list[Learner]: ...
def meta_train(
    model: Model | None,
    method: Method,
    tasks: Family | Distribution,
    *,
    seed: int | Sequence[int] = 0,
    inner_lr: Sequence[float] | None = None,
    loss: str | None = None,
    optimiser: optax.GradientTransformation | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    callback: Callback | None = None,
    **settings: Any,
) -> Learner | list[Learner]:
    """Meta-trains a network so that a few examples and a few gradient steps teach it a new task.

    Args:
      model: the network; the task family's usual one for None.
      method: how it adapts, for example `mtnets.mt_net()`.
      tasks: a family, or a bare distribution that serves for training, validation and test.
      seed: of the starting weights and of all tasks; several seeds are trained side by side in one program, and one
        learner each is returned.
      inner_lr: several inner rates in the place of the method's: each seed is trained with each of them, all side by
        side, and learners are returned rate by rate.
      loss: `"mse"` or `"cross-entropy"`; the family's unless given.
      optimiser: the meta-optimiser, any Optax transformation; Adam as set by `meta_lr`, `schedule` and `clip_…` unless
        given.
      out: folder for config, metrics, checkpoints, the best learner and its result on test tasks.
      resume: goes on from the last checkpoint in that folder. On the same backend, number of devices and batching of
        tasks the result is bit for bit that of an uninterrupted run.
      overwrite: empties the folder first.
      progress: whether to show progress on standard error.
      callback: `callback(meta_step, learners)`, called after each validation with the learners as they are then.
      **settings: fields of `Training`, for example `meta_steps=60_000`.

    Returns:
      The learner that did best on validation tasks; a list of them for several seeds.

    Raises:
      OptionError: for settings that are not possible.
      RunError: if the folder cannot be used, or a loss or gradient is not finite more often than `skip_nonfinite`
        allows.
    """
    family = tasks if isinstance(tasks, Family) else None
    if family is None and (loss is None or model is None):
        raise OptionError(
            "A bare task distribution needs a network and a loss: meta_train(model, method, tasks, loss='mse')."
        )
    several = isinstance(seed, Sequence)
    seeds = [int(s) for s in seed] if isinstance(seed, Sequence) else [int(seed)]
    if not seeds or (out is not None and several):
        raise OptionError(f"seed is {seed}; it must be one seed, or several without a folder (out=None).")
    if inner_lr is not None and (not several or not inner_lr):
        raise OptionError(f"inner_lr is {inner_lr}; name several rates together with a list of seeds, seed=[0].")
    unknown = settings.keys() - {field.name for field in dataclasses.fields(Training)}
    if unknown:
        raise OptionError(f"meta_train has no setting {', '.join(sorted(unknown))}; see mtnets.train.Training.")
    training = Training(**settings)
    if family is not None:
        recipe = family.recipe
        training = dataclasses.replace(
            training,
            meta_steps=recipe.meta_steps if training.meta_steps is None else training.meta_steps,
            meta_batch=training.meta_batch or recipe.meta_batch,
            inner_steps=recipe.inner_steps if training.inner_steps is None else training.inner_steps,
            clip_norm=training.clip_norm or recipe.clip_norm,
        )
        method = dataclasses.replace(
            method,
            inner_lr=recipe.inner_lr if method.inner_lr is None else method.inner_lr,
            inner_clip=method.inner_clip or recipe.inner_clip,
        )
    rates = [method.inner_lr] if inner_lr is None else [float(rate) for rate in inner_lr]
    if inner_lr is not None:
        for rate in rates:
            dataclasses.replace(method, inner_lr=rate)  # raises for a bad one
        method = dataclasses.replace(method, inner_lr=None)  # each learner has its own
    if training.multi_step_loss and not method.estimator.weighs_steps:
        raise OptionError(
            f"multi_step_loss is {training.multi_step_loss}, but the {method.estimator.name} estimator takes no "
            "weights of inner steps; leave it out, or use the exact or first-order estimator."
        )
    if resume and overwrite:
        raise OptionError("resume and overwrite exclude each other: go on with the run, or replace it.")
    if None in (training.meta_steps, training.meta_batch, training.inner_steps, *rates):
        raise OptionError(
            "A bare task distribution needs meta_steps, meta_batch, inner_steps and the method's inner_lr."
        )
    model = model if model is not None else family.model()  # type: ignore[union-attr]
    loss = loss or family.loss  # type: ignore[union-attr]
    if loss not in LOSSES:
        raise OptionError(f"There is no loss {loss!r}; choose one of {', '.join(LOSSES)}.")
    run = _Run(model, method, tasks, training, seeds, rates, loss, optimiser, progress, callback)  # type: ignore[arg-type]
    if out is None:
        learners = run.train(None)
        return learners if several else learners[0]
    return run.in_folder(Path(out), resume, overwrite)


class _Run:
    """One call of `meta_train`, with everything settled."""

    def __init__(
        self,
        model: Model,
        method: Method,
        tasks: Family | Distribution,
        training: Training,
        seeds: list[int],
        rates: list[float],
        loss: str,
        optimiser: optax.GradientTransformation | None,
        progress: bool,
        callback: Callback | None,
    ) -> None:
        assert training.meta_batch is not None
        assert training.inner_steps is not None
        self.training, self.loss, self.progress, self.callback = training, loss, progress, callback
        # of each run
        self.seeds, self.rates = seeds * len(rates), [float(rate) for rate in rates for _ in seeds]
        self.family = tasks if isinstance(tasks, Family) else None
        self.tasks: Distribution = tasks.train if isinstance(tasks, Family) else tasks
        self.validation: Distribution = tasks.validation if isinstance(tasks, Family) else tasks
        self.custom_optimiser = optimiser is not None
        inner = Inner(model, method, LOSSES[loss], training.inner_steps)
        # side by side, runs fill the device better than tasks shared over devices would
        mesh = None if len(self.seeds) > 1 else task_mesh(training.devices, training.meta_batch)
        shapes = jax.eval_shape(model.init, jax.random.key(0))[0]
        per_device = training.meta_batch // (1 if mesh is None else mesh.size)
        at_once = training.tasks_at_once or default_at_once(shapes, per_device)
        self.program = Program(
            inner,
            optimiser or training.optimiser(),
            training.meta_batch,
            training.skip_nonfinite,
            largest_divisor(per_device, at_once),
            mesh,
            len(self.seeds),
        )
        self.keys = jnp.stack([jax.random.key(seed) for seed in self.seeds])
        self.inner_lr = jnp.asarray(self.rates, jnp.float32)
        self.compiled: dict[int, Any] = {}  # by the last meta-step of a phase
        self.compile_seconds = 0.0
        self.train_seconds = 0.0
        self.steps_taken = 0

    # --- what is recorded

    def config(self) -> dict[str, Any]:
        """Everything that the learner depends on."""
        options = self.family.options if self.family else None
        name = next((name for name, kind in FAMILIES.items() if type(options) is kind), None)
        method = self.program.inner.method
        config = {
            "tasks": {"family": name, **(dataclasses.asdict(options) if name else {})},  # type: ignore[arg-type]
            "model": self.program.inner.model.config,
            "method": method.to_json(),
            "training": dataclasses.asdict(self.training),
            "seed": self.seeds[0],
            "loss": self.loss,
            "optimiser": "custom" if self.custom_optimiser else "adam",
        }
        return json.loads(json.dumps(config, default=str))  # as it will be read again: lists for tuples

    def machine(self) -> dict[str, Any]:
        """What numbers of speed, and the last bits of a result, depend on."""
        return {
            "backend": jax.default_backend(),
            "device": jax.devices()[0].device_kind,
            "devices": 1 if self.program.mesh is None else self.program.mesh.size,
            "tasks_at_once": self.program.at_once,
            "jax": jax.__version__,
            "python": sys.version.split()[0],
        }

    def learners(self, best: Best, failed: Array | None = None) -> list[Learner]:
        """The best learner of each run; `failed` tells at which meta-step a run ended early."""
        family, inner = self.family, self.program.inner
        found = []
        for i, (seed, inner_lr) in enumerate(zip(self.seeds, self.rates, strict=True)):
            meta, state = jax.tree.map(lambda leaf, i=i: leaf[i], (best.meta, best.state))
            record = {
                **self.config(),
                "seed": seed,
                "meta_step": int(best.step[i]),
                "failed": None if failed is None or failed[i] < 0 else int(failed[i]),
                "validation": float(best.score[i]) if np.isfinite(best.score[i]) else None,
                "classes": {name: list(names) for name, names in (family.classes if family else {}).items()},
            }
            inputs = family.inputs if family else AS_THEY_ARE
            record["method"]["inner_lr"] = inner_lr
            args = (inner.model, inner.method, meta, state, inner_lr, inner.steps, self.loss, inputs, record)
            found.append(Learner(*args))
        return found

    # --- a run in a folder

    def in_folder(self, folder: Path, resume: bool, overwrite: bool) -> Learner:
        if folder.is_file():
            raise RunError(f"{folder} is a file; name a folder for the run.")
        config, old = self.config(), _read_config(folder)
        exists = old is not None
        if resume and exists:
            _compare(old, config, folder)
            latest, total = Checkpoints(folder / "checkpoints").latest or 0, config["training"]["meta_steps"]
            if latest > total:
                raise RunError(
                    f"The run in {folder} has a checkpoint of meta-step {latest} and meta_steps is {total}; "
                    "ask for at least as many, or name another folder."
                )
        elif exists and not overwrite:
            raise RunError(
                f"{folder} holds a run already; go on with --resume, replace it with --overwrite, or name another."
            )
        elif folder.exists() and not exists and any(folder.iterdir()):
            raise RunError(f"{folder} is not empty and holds no run; name a new or empty folder.")
        elif exists:
            shutil.rmtree(folder)
        write_json(folder / "config.json", config)

        learner = self.train(folder)[0]
        learner.save(folder)
        result: dict[str, Any] = {
            "meta_steps": self.training.meta_steps,
            "best_meta_step": learner.record["meta_step"],
            "validation": learner.record["validation"],
            "norm": learner.model.norm,
            "seconds_per_meta_step": self.train_seconds / self.steps_taken if self.steps_taken else None,
            "compile_seconds": self.compile_seconds,
            "moving": learner.moving(),
            "machine": self.machine(),
            "config": config,
        }
        estimate = evaluate(
            learner,
            self.family or self.tasks,
            self.training.test_tasks,
            devices=self.training.devices,
            tasks_at_once=self.training.tasks_at_once,
        )
        estimate.save(folder / "scores.npz")
        result["test"] = estimate.to_json()
        result["peak_memory_bytes"] = peak_memory()
        if not self.steps_taken and (folder / "result.json").exists():  # a finished run, resumed: nothing new to time
            before = json.loads((folder / "result.json").read_text())
            result |= {n: before[n] for n in ("seconds_per_meta_step", "compile_seconds", "peak_memory_bytes")}
        write_json(folder / "result.json", result)
        return learner

    # --- the loop

    def train(self, folder: Path | None) -> list[Learner]:
        training, program, runs, phases = self.training, self.program, len(self.seeds), self.phases()
        total, sign = training.meta_steps, 1.0 if METRICS[self.loss][2] else -1.0
        assert total is not None
        outer = jax.jit(program.init)(self.keys, self.inner_lr)
        nothing = jnp.full(runs, -jnp.inf)
        best = Best(nothing, jnp.zeros(runs, jnp.int32), outer.meta, outer.state)
        start = 0
        checkpoints = Checkpoints(folder / "checkpoints") if folder else None
        if checkpoints and (latest := checkpoints.latest) is not None:
            outer, best = checkpoints.restore(latest, (outer, best))
            start = latest
        log = None if folder is None else _Log(folder / "metrics.jsonl", start)

        with Display(start, total, self.progress) as display:
            if program.inner.model.own_weights and runs > 1:
                display.note("The network keeps its own starting weights: seeds differ in their tasks alone.")
            if start < total:
                self._chunk(phases, start, outer)
            display.started(start)
            done, length, saved = start, 1, time.perf_counter()
            sums: dict[str, np.ndarray] = {}
            while done < total:
                chunk, end = self._chunk(phases, done, outer)
                stop = min(done + length, _next(done, training.log_every), _next(done, training.validate_every), end)
                begun = time.perf_counter()
                with surfacing():
                    outer, metrics = chunk(
                        outer, self.keys, jnp.int32(done), jnp.int32(stop), self.inner_lr, self.tasks
                    )
                    metrics = {name: np.asarray(value) for name, value in metrics.items()}
                seconds = time.perf_counter() - begun
                self.train_seconds += seconds
                self.steps_taken += stop - done
                length = max(1, min(4 * length, int((stop - done) * DISPLAY_SECONDS / max(seconds, 1e-9))))
                done = stop
                sums = {name: sums.get(name, 0) + value for name, value in metrics.items()}
                self._check(outer, checkpoints)

                moving = self._moving(outer)
                counts = sums["count"]
                means = {
                    name: float(np.mean(value[counts > 0] / counts[counts > 0])) if counts.any() else float("nan")
                    for name, value in sums.items()
                    if name != "count"
                }
                display.update(done, means, moving)
                logged = done % training.log_every == 0 or done == total
                if logged:
                    if log:
                        log.write({"step": done, **means, "moving": moving, "skipped": int(outer.skipped.sum())})
                    sums = {}
                validated = bool(training.validate_every) and (done % training.validate_every == 0 or done == total)
                if validated:
                    best = self._validate(outer, best, done, sign)
                    if self.callback:
                        self.callback(done, self.learners(Best(best.score, best.step, outer.meta, outer.state)))
                    if log:
                        log.write({"step": done, "validation": [float(s) for s in self._last_scores]})
                due = time.perf_counter() - saved >= training.checkpoint_seconds
                if checkpoints and logged and (due or done == total):
                    checkpoints.save(done, (outer, best))
                    saved = time.perf_counter()
            if not training.validate_every or total == 0:
                best = Best(nothing, jnp.full(runs, done, jnp.int32), outer.meta, outer.state)
            if int(outer.skipped.sum()):
                display.note(f"{int(outer.skipped.sum())} meta-steps were skipped: a loss or gradient was not finite.")
            for seed, step in zip(self.seeds, np.asarray(outer.failed), strict=True):
                if step >= 0:
                    display.note(f"Seed {seed} ended at meta-step {step}, one such too many; its best learner is kept.")
        if checkpoints:
            checkpoints.close()
        return self.learners(best._replace(score=sign * best.score), outer.failed)

    def phases(self) -> list[tuple[int, Program]]:
        """The programs of a training with the meta-step at which each ends: a first-order phase and one with a
        multi-step loss, which may overlap, and what is left."""
        training, inner = self.training, self.program.inner
        total = training.meta_steps or 0
        first_order = dataclasses.replace(
            inner.method, meta_gradient="first-order", last_steps=None, estimator_options={}
        )
        ends = sorted({e for e in (training.first_order_steps, training.multi_step_loss, total) if 0 < e <= total})
        return [
            (
                end,
                dataclasses.replace(
                    self.program,
                    inner=dataclasses.replace(inner, method=first_order)
                    if end <= training.first_order_steps
                    else inner,
                    multi_step=training.multi_step_loss if end <= training.multi_step_loss else 0,
                ),
            )
            for end in ends
        ]

    def _chunk(self, phases: list[tuple[int, Program]], done: int, outer: Outer) -> tuple[Any, int]:
        """The compiled chunk for a meta-step, and where its phase ends."""
        end, program = next(phase for phase in phases if done < phase[0])
        if end not in self.compiled:
            begun = time.perf_counter()
            args = (outer, self.keys, jnp.int32(0), jnp.int32(end), self.inner_lr, self.tasks)
            self.compiled[end] = program.chunk.lower(*args).compile()  # type: ignore[attr-defined]
            self.compile_seconds += time.perf_counter() - begun
        return self.compiled[end], end

    def _moving(self, outer: Outer) -> dict[str, float]:
        """Share of units that move per layer, averaged over runs."""
        inner = self.program.inner
        layers = inner.method.choose(inner.model.layers)
        return {name: float(share) for name, share in inner.method.rule.moving(layers, outer.meta.rule).items()}

    def _validate(self, outer: Outer, best: Best, step: int, sign: float) -> Best:
        scores = []
        for learner in self.learners(Best(best.score, best.step, outer.meta, outer.state)):
            count = self.training.validation_tasks
            estimate = evaluate(
                learner,
                self.validation,
                count,
                seed=VALIDATION_SEED,
                devices=self.training.devices,
                tasks_at_once=self.training.tasks_at_once,
            )
            scores.append(float(estimate.mean[-1]))
        self._last_scores = scores
        score = sign * jnp.asarray(scores)
        # where no score was finite yet, the latest learner is as good as any before it
        better = (~jnp.isfinite(best.score) | (jnp.isfinite(score) & (score > best.score))) & (outer.failed < 0)

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        return jax.tree.map(choose, Best(score, jnp.full(len(scores), step, jnp.int32), outer.meta, outer.state), best)

    def _check(self, outer: Outer, checkpoints: Checkpoints | None) -> None:
        failed = np.asarray(outer.failed)
        if (failed < 0).any():
            return
        kept = checkpoints.latest if checkpoints else None
        where = ""
        if checkpoints and kept:
            where = f" The last good checkpoint is that of meta-step {kept} in {checkpoints.folder}."
        raise RunError(
            f"The loss or meta-gradient of meta-step {int(failed.max())} is not finite.{where} Try a smaller inner "
            "rate, fewer inner steps or --clip-norm 10 in a new run, or go on with --resume --skip-nonfinite 100."
        )


class _Log:
    """`metrics.jsonl`, one line at a time; lines beyond the checkpoint that a run goes on from are dropped."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        with replacing(path) as file:
            file.write("".join(line + "\n" for line in lines if _step_of(line) <= start).encode())

    def write(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(finite(line), allow_nan=False) + "\n")


def _step_of(line: str) -> float:
    """The meta-step of a line of the log; infinite for a line cut short."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")


def _read_config(folder: Path) -> dict[str, Any] | None:
    """The configuration of the run in a folder; None if it holds none."""
    path = folder / "config.json"
    if not path.exists():
        return None
    try:
        config = json.loads(path.read_text())
        if config.keys() >= {"tasks", "method", "training"}:
            return config
    except (ValueError, AttributeError):
        pass
    raise RunError(f"{path} is damaged or not that of a run; name another folder.")


def _next(done: int, every: int) -> int:
    """The first multiple of `every` after `done`."""
    return (done // every + 1) * every if every else sys.maxsize


def _compare(old: Any, new: Any, folder: Path) -> None:
    """Raises RunError where two configs differ in what a run depends on."""
    free = {
        "tasks.root",
        "tasks.cache",
        "training.skip_nonfinite",
        "training.meta_steps",
        "training.devices",
        "training.tasks_at_once",
        "training.checkpoint_seconds",
        "training.test_tasks",
    }
    if new["training"]["schedule"] != "constant":
        free.remove("training.meta_steps")
    flat_old, flat_new = _flat(_completed(old)), _flat(new)
    for name in sorted(flat_old.keys() | flat_new.keys(), key=lambda name: (not name.endswith("name"), name)):
        a, b = flat_old.get(name), flat_new.get(name)
        if a != b and name not in free:
            raise RunError(
                f"The run in {folder} has {name} = {a} and this one {b}; resume with the same configuration, or name "
                "another folder."
            )


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    """A config of an earlier version, with the defaults of options that it did not know."""
    config = {**config, "training": {**dataclasses.asdict(Training()), **config["training"]}}
    name, options = config["method"].get("name"), {k: v for k, v in config["method"].items() if k != "name"}
    kind = FAMILIES.get(config["tasks"].get("family") or "")
    with contextlib.suppress(OptionError):  # what cannot be made again is compared as it is
        if name in METHODS:
            config["method"] = METHODS[name](**options).to_json()
        if config["model"] is not None:
            config["model"] = model_from_config(config["model"]).config
        if kind is not None:
            rest = {k: v for k, v in config["tasks"].items() if k != "family"}
            made: Any = from_json(kind, rest)
            config["tasks"] = {"family": config["tasks"]["family"], **dataclasses.asdict(made)}
    return json.loads(json.dumps(config, default=str))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()}


def peak_memory() -> int | None:
    """Most memory used so far, in bytes: of the device if it reports that, otherwise of this process; None on Windows,
    which reports neither."""
    on_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    if on_device:
        return int(on_device)
    try:
        import resource  # Unix only
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
