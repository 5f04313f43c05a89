"""How far results can be trusted numerically: precision, devices, extremes, the guard against what is not finite.

    python -m tests.faults.numerics [precision] [devices] [extremes] [guard] --report results/faults/numerics.json

measures all of it, or the parts named, in about half an hour on two cores. `docs/numerics.md` tells what came out.
"""

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

import mtnets
from mtnets import METHODS, Batch, Distribution, Learned, Learner, Meta, Method, Model, MtnetsError, Task
from mtnets.devices import AXIS
from mtnets.inner import Inner, cause_in_training, criterion
from mtnets.outer.gradient import MetaStep, drawn_and_keys, meta_gradient
from mtnets.outer.program import Program, meta_step_keys
from mtnets.trees import leaves_by_path
from tests.faults.measuring import measure

LOSSES = ("mse", "cross-entropy")
ULP = float(np.finfo(np.float32).eps)


def cast(tree: Any, dtype: Any) -> Any:
    """Floating-point leaves in another precision."""

    def one(leaf: Any) -> Any:
        return np.asarray(leaf, dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(one, jax.device_get(tree))


@contextlib.contextmanager
def precision(double: bool) -> Iterator[None]:
    """Double precision, with the random numbers of single precision (JAX draws others for another type)."""
    if not double:
        yield
        return
    logistic = jax.random.logistic
    jax.random.logistic = lambda key, shape, dtype: logistic(key, shape, jnp.float32).astype(dtype)
    try:
        with jax.enable_x64(True):
            yield
    finally:
        jax.random.logistic = logistic


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Drawn:
    """Tasks that are drawn already, so that no program rounds them in a way of its own.

    Attributes:
      tasks: `[tasks, ...]`.
      words: of the key of each, `[tasks, words]`.
    """

    tasks: Task
    words: Array

    def sample(self, key: Array) -> Task:
        place = jnp.argmax((jax.random.key_data(key) == self.words).all(1))
        return jax.tree.map(lambda leaf: leaf[place], self.tasks)


@jax.jit
def draw(tasks: Distribution, keys: Array) -> Drawn:
    """The tasks that `meta_gradient` draws with these keys."""
    words = jax.vmap(lambda key: jax.random.key_data(jax.random.fold_in(key, 0)))(keys)
    return Drawn(jax.lax.map(lambda key: drawn_and_keys(tasks, key)[0], keys), words)


@dataclasses.dataclass(frozen=True)
class Trial:
    """A training that can be followed step by step.

    Attributes:
      inner: the inner problem.
      tasks: where tasks come from.
      inner_lr: α.
      meta_batch: tasks of a meta-step.
    """

    inner: Inner
    tasks: Distribution
    inner_lr: float
    meta_batch: int

    @functools.cached_property
    def start(self) -> tuple[Meta, Any]:
        """What is learned, and the state of the network, before the first meta-step, in single precision."""
        inner = self.inner

        @jax.jit
        def init(key: Array) -> Any:
            params, state = inner.model.init(jax.random.fold_in(key, 0))
            options = {"inner_lr": self.inner_lr, "inner_steps": inner.steps}
            return inner.method.init(inner.model, params, jax.random.fold_in(key, 1), **options), state

        return jax.device_get(init(jax.random.key(0)))

    @functools.cached_property
    def _gradients(self) -> dict[Any, Callable[..., MetaStep]]:
        return {}

    def gradient(self, double: bool, devices: int) -> Callable[..., MetaStep]:
        """`(meta, state, step, tasks) -> MetaStep`, compiled once for each precision and number of devices."""
        mesh = Mesh(jax.devices()[:devices], (AXIS,)) if devices > 1 else None

        def gradient(meta: Meta, state: Any, step: Array, tasks: Distribution) -> MetaStep:
            keys = meta_step_keys(jax.random.key(0), step, self.meta_batch)
            learned = Learned(meta, state, jnp.asarray(self.inner_lr, jnp.float64 if double else jnp.float32))
            at_once = self.meta_batch // devices if self.inner.model.norm == "none" else 1
            return meta_gradient(self.inner, learned, tasks, keys, at_once=at_once, mesh=mesh)

        return self._gradients.setdefault((double, devices), jax.jit(gradient))

    def drawn(self, step: int, dtype: Any) -> Drawn:
        """The tasks of a meta-step, drawn in single precision."""
        with jax.enable_x64(False):
            drawn = draw(self.tasks, meta_step_keys(jax.random.key(0), step, self.meta_batch))
            return cast(drawn, dtype)

    def follow(
        self,
        optimiser: optax.GradientTransformation,
        looks: list[int],
        *,
        double: bool = False,
        devices: int = 1,
        noise: float = 0.0,
        rounding: float = 0.0,
    ) -> list[tuple[Meta, float]]:
        """What is learned, and the mean query loss since the last look, after each of these numbers of meta-steps.

        Args:
          optimiser: the meta-optimiser.
          looks: increasing.
          double: in double precision.
          devices: that share the tasks.
          noise: relative, on the starting weights.
          rounding: noise on what is not zero of each meta-gradient, in units of the largest number of each leaf.
        """
        dtype = np.float64 if double else np.float32
        random = np.random.default_rng(0)
        meta = jax.tree.map(lambda a: a * (1 + noise * random.uniform(-1, 1, a.shape)), self.start[0])
        with precision(double):
            meta, state = cast(meta, dtype), cast(self.start[1], dtype)
            memory = optimiser.init(meta)  # type: ignore[arg-type]
            gradient = self.gradient(double, devices)

            @jax.jit
            def update(gradient: Meta, memory: Any, meta: Meta) -> Any:
                updates, memory = optimiser.update(gradient, memory, meta)  # type: ignore[arg-type]
                return optax.apply_updates(meta, updates), memory  # type: ignore[arg-type]

            results, losses = [], []
            for step in range(looks[-1]):
                result = jax.device_get(gradient(meta, state, np.int32(step), self.drawn(step, dtype)))
                noisy = jax.tree.map(
                    lambda a: a + rounding * (a != 0) * np.abs(a).max() * random.uniform(-1, 1, a.shape),
                    result.gradient,
                )
                meta, memory = update(noisy if rounding else result.gradient, memory, meta)
                state = result.state
                losses.append(float(result.metrics["post_loss"]))
                if step + 1 in looks:
                    first = ([0, *looks])[looks.index(step + 1)]
                    results.append((jax.device_get(meta), float(np.mean(losses[first:]))))
        return results


def apart(a: Meta, b: Meta) -> dict[str, Any]:
    """How far two results of a training are apart: the norm of the difference of all that is learned, in units of the
    norm; and the same of the leaf for which it is largest, with its path."""
    by_leaf = {path: (row["difference"], row["norm"]) for path, row in parted(a, b).items()}
    total = np.sqrt(sum(d**2 for d, _ in by_leaf.values()) / sum(n**2 for _, n in by_leaf.values()))
    farthest = max(by_leaf, key=lambda path: by_leaf[path][0] / max(by_leaf[path][1], 1e-30))
    difference, norm = by_leaf[farthest]
    return {"weights": float(total), "farthest": farthest, "its weights": difference / max(norm, 1e-30)}


def leaves(tree: Any) -> list[Any]:
    return list(leaves_by_path(tree).values())


# --- (a) precision


def measure_precision() -> dict[str, Any]:
    """1 000 meta-steps of sine in single and in double precision, and in double from a start that differs by an ulp of
    single precision."""
    looks, rows = [1, 10, 100, 300, 1000], {}
    tasks = mtnets.tasks.sinusoid(shots=10).train
    for name in ("maml", "meta_sgd", "t_net", "mt_net"):
        inner = Inner(mtnets.models.mlp(1, 40, 40, 1), METHODS[name](), criterion("mse"), 1)
        trial, adam = Trial(inner, tasks, 0.01, 4), optax.adam(1e-3)
        single = trial.follow(adam, looks)
        exact = trial.follow(adam, looks, double=True)
        moved = trial.follow(adam, looks, double=True, noise=ULP)
        rounded = trial.follow(adam, looks, double=True, rounding=ULP)
        sgd = optax.chain(optax.clip_by_global_norm(10.0), optax.sgd(1e-2))
        by_sgd = [trial.follow(sgd, [looks[-1]], double=double)[0] for double in (False, True)]
        rows[name] = [
            {
                "meta_steps": look,
                "loss": e[1],
                "single": {"loss": abs(s[1] - e[1]) / e[1], **apart(s[0], e[0])},
                "start moved by an ulp": {"loss": abs(m[1] - e[1]) / e[1], **apart(m[0], e[0])},
                "gradients rounded": {"loss": abs(r[1] - e[1]) / e[1], **apart(r[0], e[0])},
            }
            for look, s, e, m, r in zip(looks, single, exact, moved, rounded, strict=True)
        ]
        (s, e) = by_sgd
        rows[name][-1]["single, by SGD"] = {"loss": abs(s[1] - e[1]) / e[1], **apart(s[0], e[0])}
        print(name, rows[name][-1], flush=True)
    return rows


# --- (b) devices


def measure_devices() -> dict[str, Any]:
    """12 meta-steps of glyphs on one and on two devices: which leaves part, and with what."""
    family, steps = mtnets.tasks.glyphs(ways=5, queries=5, network=mtnets.models.Conv4(filters=8)), 12
    inner = Inner(family.model(), METHODS["mt_net"](), criterion("cross-entropy"), 1)
    trial = Trial(inner, family.train, 2.0, 4)
    optimisers = {"adam": optax.adam(1e-3), "sgd": optax.sgd(1e-3)}
    rows: dict[str, Any] = {}
    for name, optimiser in optimisers.items():
        for double in (False, True):
            one, two = (trial.follow(optimiser, [1, steps], double=double, devices=n) for n in (1, 2))
            label = f"{name}, {'double' if double else 'single'} precision"
            rows[label] = {"first": parted(one[0][0], two[0][0]), "last": parted(one[1][0], two[1][0])}
            print(label, {k: v for k, v in rows[label]["last"].items() if v["largest"] > 1e-3}, flush=True)
    for double in (False, True):
        dtype = np.float64 if double else np.float32
        with precision(double):
            tasks = trial.drawn(0, dtype)
            gradients = [
                jax.device_get(trial.gradient(double, n)(*cast(trial.start, dtype), np.int32(0), tasks).gradient)
                for n in (1, 2)
            ]
        rows[f"meta-gradient at the start, {'double' if double else 'single'} precision"] = parted(*gradients)
    return rows


def parted(a: Meta, b: Meta) -> dict[str, dict[str, float]]:
    """By leaf: its norm, the norm of the difference, and the largest relative difference of one of its numbers."""
    result = {}
    pairs = zip(leaves(cast(a, np.float64)), leaves(cast(b, np.float64)), strict=True)
    for path, (x, y) in zip(leaves_by_path(a), pairs, strict=True):
        larger = np.maximum(np.abs(x), np.abs(y))
        largest = float(np.max(np.abs(x - y) / np.where(larger > 0, larger, 1)))
        result[path] = {
            "norm": float(np.linalg.norm(x)),
            "difference": float(np.linalg.norm(x - y)),
            "largest": largest,
        }
    return result


# --- (c) extremes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Given:
    """One task, whatever the key."""

    task: Task

    def sample(self, key: Array) -> Task:
        return self.task


def extremes(loss: str) -> dict[str, tuple[Task, float]]:
    """Tasks of three inputs and two outputs or classes, with the inner rate, by what is extreme about them."""
    random = np.random.default_rng(0)

    def task(x: np.ndarray, y: np.ndarray, inner_lr: float = 0.1) -> tuple[Task, float]:
        x, y = x.astype(np.float32), y.astype(np.float32 if loss == "mse" else np.int32)
        return Task(Batch(x[:6], y[:6]), Batch(x[6:], y[6:])), inner_lr  # type: ignore[arg-type]

    x = random.normal(size=(12, 3))
    y = np.stack([np.sin(x.sum(1)), x[:, 0]], 1) if loss == "mse" else (x.sum(1) > 0).astype(int)
    cases = {
        "as usual": task(x, y),
        "constant inputs": task(np.ones_like(x), y),
        "all inputs zero": task(np.zeros_like(x), y),
        "one example, repeated": task(np.repeat(x[:1], 12, 0), np.repeat(y[:1], 12, 0)),
        "one label or target": task(x, np.repeat(y[:1], 12, 0)),
        "alpha = 0": task(x, y, 0.0),
        "alpha = 1e6": task(x, y, 1e6),
        "alpha = 1e30": task(x, y, 1e30),
    }
    for power in (-20, -10, 5, 10, 20):
        cases[f"inputs of size 1e{power}"] = task(x * 10.0**power, y)
        if loss == "mse":
            cases[f"targets of size 1e{power}"] = task(x, y * 10.0**power)
    return cases


class Outcome:
    """Runs of one method over extremes, by programs that are compiled once."""

    def __init__(self, model: Model, method: Method, loss: str) -> None:
        self.inner = Inner(model, method, criterion(loss), 3)
        self.trial = Trial(self.inner, Given(extremes(loss)["as usual"][0]), 0.1, 1)
        self.step = jax.jit(self._gradient)

    def _gradient(self, learned: Learned, tasks: Distribution, keys: Array) -> MetaStep:
        return meta_gradient(self.inner, learned, tasks, keys)

    def learned(self, inner_lr: float) -> Learned:
        """What a training of no step has learned. Learned rates start at α, so that it must be known here."""
        meta, state = dataclasses.replace(self.trial, inner_lr=inner_lr).start
        return Learned(meta, state, np.float32(inner_lr))

    def in_training(self, task: Task, inner_lr: float) -> str:
        """What comes of a meta-step."""
        learned, keys = self.learned(inner_lr), jax.random.split(jax.random.key(1), 1)
        result = self.step(learned, Given(task), keys)
        if finite((result.gradient, result.metrics, result.state)):
            return "finite"
        _, own = drawn_and_keys(Given(task), keys[0])
        return cause_in_training(self.inner, learned, task, own) or "NaN WITHOUT CAUSE"

    def in_use(self, task: Task, inner_lr: float) -> str:
        """What comes of `learner.adapt` and a prediction."""
        learner = Learner(self.inner.model, self.inner.method, self.learned(inner_lr), 3, self.inner.criterion)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                prediction = np.asarray(learner.adapt(task.support.x, task.support.y)(task.query.x))
        except MtnetsError as error:
            return str(error)
        kept = prediction[np.isfinite(prediction) | (prediction != -np.inf)]  # outputs that are not used are −∞
        return "finite" if np.isfinite(kept).all() else "NaN WITHOUT CAUSE"


def finite(tree: Any) -> bool:
    return all(bool(np.isfinite(np.asarray(leaf)).all()) for leaf in jax.tree.leaves(tree))


def network_for(method: Method) -> Model:
    """A small network; with batch norm where a method learns its offsets."""
    return mtnets.models.mlp(3, 8, 2, norm="transductive" if method.per_step_offsets else "none", init_std=0.5)


def measure_extremes(names: list[str] | None = None) -> dict[str, Any]:
    """Every method on every extreme, in training and in use."""
    rows: dict[str, Any] = {}
    for name in names or METHODS:
        for loss in LOSSES:
            outcome = Outcome(network_for(METHODS[name]()), METHODS[name](), loss)
            for case, (task, inner_lr) in extremes(loss).items():
                row = {"training": outcome.in_training(task, inner_lr), "use": outcome.in_use(task, inner_lr)}
                rows.setdefault(name, {}).setdefault(loss, {})[case] = row
        bad = [(loss, case) for loss in LOSSES for case, row in rows[name][loss].items() if "CAUSE" in str(row)]
        print(name, "without a cause:", bad, flush=True)
    return rows


# --- (d) the guard


def measure_guard(names: list[str] | None = None) -> dict[str, Any]:
    """Every method and loss: a meta-step with a NaN loss changes nothing, and the training goes on as without it."""
    rows: dict[str, Any] = {}
    for name in names or METHODS:
        for loss in LOSSES:
            rows.setdefault(name, {})[loss] = guard_holds(METHODS[name](), loss)
        print(name, rows[name], flush=True)
    return rows


def guard_holds(method: Method, loss: str) -> bool:
    """Whether meta-steps good, NaN, good end where good, good ends, to the last bit."""
    inner = Inner(network_for(method), method, criterion(loss), 2)
    program = Program(inner, optax.adam(1e-3), 2, 1, 1, None, 1)
    good = extremes(loss)["as usual"][0]
    bad = good._replace(query=good.query._replace(x=np.full_like(good.query.x, np.nan)))
    outer = jax.tree.map(lambda leaf: leaf[0], jax.jit(program.init)(jax.random.key(0)[None], jnp.full(1, 0.1)))
    step = jax.jit(lambda *args: program.step(*args)[0])

    def after(tasks: Mapping[int, Task]) -> Any:
        result = outer
        for i, task in tasks.items():
            result = step(result, jax.random.key(0), jnp.int32(i), jnp.float32(0.1), Given(task))
        return result

    with_it, without = after({0: good, 1: bad, 2: good}), after({0: good, 2: good})
    same = jax.tree.map(np.array_equal, with_it._replace(skipped=without.skipped), without)
    return all(jax.tree.leaves(same)) and int(with_it.skipped) == 1 and int(without.skipped) == 0


PARTS = {
    "precision": measure_precision,
    "devices": measure_devices,
    "extremes": measure_extremes,
    "guard": measure_guard,
}


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    measure(__doc__, PARTS)
