"""Small inner problems in float64, and the same mathematics written naively: metrics as layers of their own, loops in
Python, one task after another."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from mtnets import METHODS, Learned, Meta, Method, Model, from_nnx
from mtnets.inner import criterion
from mtnets.inner.loop import Inner, adapt
from mtnets.inner.task import Batch, Task
from mtnets.networks import models
from mtnets.networks.models.conv import conv
from mtnets.networks.models.norm import batch_norm_factory
from mtnets.outer.gradient import MetaStep, meta_gradient

INNER_LR = 0.3
STEPS = 2


# NumPy where nothing is differentiated: JAX compiles even a single addition, once for every shape.


def to_float64(tree: Any) -> Any:
    return jax.tree.map(lambda a: np.asarray(a, np.float64 if jnp.issubdtype(a.dtype, jnp.floating) else a.dtype), tree)


def like(tree: Any, seed: int) -> Any:
    """Normal noise of the tree's shapes."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda a: random.normal(size=a.shape), tree)


def add(tree: Any, other: Any, scale: float = 1.0) -> Any:
    return jax.tree.map(lambda a, b: np.asarray(a) + scale * np.asarray(b), tree, other)


def dot(tree: Any, other: Any) -> float:
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return float(sum(np.vdot(np.asarray(a), np.asarray(b)) for a, b in pairs))


def slope(f: Callable[[Any], Any], at: Any, direction: Any, step: float = 1e-6) -> float:
    """Derivative of `f` along a direction by central differences."""
    return float(f(add(at, direction, step)) - f(add(at, direction, -step))) / (2 * step)


def assert_trees_close(found: Any, expected: Any, rtol: float = 1e-12, atol: float = 1e-14) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (keys, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol, atol, err_msg=jax.tree_util.keystr(keys))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["mix"], meta_fields=["model", "shots", "queries"])
@dataclasses.dataclass(frozen=True)
class Tasks:
    """Regression or classification in the shape of a model's inputs, different from key to key."""

    mix: Array
    model: Model
    shots: int = 5
    queries: int = 6

    def sample(self, key: Array) -> Task:
        """Without random numbers, whose compilation would take most of the time of these tests."""
        a, b = 1 + jax.random.key_data(key).astype(self.mix.dtype) / 2.0**32  # of [1, 2)
        shape = (self.shots + self.queries, *self.model.input_shape)
        x = 2 * jnp.sin(a * jnp.arange(1, np.prod(shape) + 1) ** 2).reshape(shape)
        y = jnp.sin(x.reshape(len(x), -1) @ jnp.sin(self.mix * b))
        if is_classifier(self.model):
            y = jnp.argmax(y, axis=1)
        return Task(Batch(x[: self.shots], y[: self.shots]), Batch(x[self.shots :], y[self.shots :]))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class One:
    """Always the same task."""

    task: Task

    def sample(self, key):
        return self.task


def is_classifier(model: Model) -> bool:
    return len(model.input_shape) > 1


def tasks_for(model: Model, outputs: int = 2, dtype: Any = jnp.float64) -> Tasks:
    inputs = int(np.prod(model.input_shape))
    return Tasks(jnp.arange(1.0, inputs * outputs + 1, dtype=dtype).reshape(inputs, outputs), model)


@functools.cache
def small_mlp(norm: Any = "none") -> Model:
    return models.mlp(3, 4, 2, norm=norm, init_std=0.5)


class _OffsetMlp(nnx.Module):
    def __init__(self, norm: Any, rngs: nnx.Rngs) -> None:
        make = functools.partial(nnx.Linear, kernel_init=nnx.initializers.normal(0.5), rngs=rngs)
        self.layers = nnx.List([make(3, 4), make(4, 2)])
        self.norms = nnx.List([batch_norm_factory(norm)(4, rngs=rngs)])

    def __call__(self, x: Array) -> Array:
        return self.layers[1](self.norms[0](jax.nn.relu(self.layers[0](x))))


@functools.cache
def offset_mlp(norm: Any = "transductive") -> Model:
    """An MLP with batch norm after its ReLU: every leaf, each bias and the offset of the norm, makes a difference."""
    return from_nnx(lambda rngs: _OffsetMlp(norm, rngs), (3,), norm=norm)


class _Conv1(nnx.Module):
    def __init__(self, norm: Any, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(2, 3, (3, 3), strides=2, conv_general_dilated=conv, rngs=rngs)
        self.norm = batch_norm_factory(norm)(3, rngs=rngs)
        self.head = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.head(jax.nn.relu(self.norm(self.conv(x))).mean((1, 2)))


@functools.cache
def small_conv(norm: Any = "transductive") -> Model:
    """One block of a conv-4."""
    return from_nnx(lambda rngs: _Conv1(norm, rngs), (5, 5, 2), norm=norm)


@functools.cache
def small_conv4(norm: Any = "transductive") -> Model:
    return models.conv4(2, image_size=16, filters=3, norm=norm)


def inner_for(model: Model, method: Method, steps: int = STEPS) -> Inner:
    return Inner(model, method, criterion("cross-entropy") if is_classifier(model) else criterion("mse"), steps)


@functools.cache
def start(model: Model, method: str, *, spread: float = 0.0, steps: int = STEPS, **options: Any) -> tuple[Meta, Any]:
    """Everything meta-learned and the state in float64; away from the special starting values by `spread`."""
    params, state = start_of(model)
    meta = to_float64(init_of(model, method, steps, **options)(params))
    return add(meta, like(meta, 0), spread) if spread else meta, state


@functools.cache
def init_of(model: Model, method: str, steps: int = STEPS, **options: Any) -> Callable[[Any], Meta]:
    """The compiled start of a method, `params -> Meta`."""
    made = METHODS[method](**options)
    # CAVIA refuses batch norm, which takes away what it adds to a bias; that of `offset_mlp` comes after a ReLU
    plain = dataclasses.replace(model, norm="none") if method == "cavia" else model
    return jax.jit(lambda params: made.init(plain, params, jax.random.key(1), inner_lr=INNER_LR, inner_steps=steps))


@functools.cache
def start_of(model: Model) -> tuple[Any, Any]:
    return to_float64(jax.jit(model.init)(jax.random.key(0)))


@functools.cache
def adaptation(model: Model, method: str, steps: int = STEPS, **options: Any) -> Callable[..., Any]:
    """The compiled inner loop `(meta, state, inner_lr, support, key) -> Adapted`; the adapted parameters of every step
    are probed, and masks are used as at test where the options say how."""
    inner, training = inner_for(model, METHODS[method](**options), steps), "mask" not in options

    @jax.jit
    def loop(*args: Any) -> Any:
        return adapt_at(inner, *args, training=training, probe=lambda params, state, seen: params)

    return loop


@functools.cache
def gradient_of(model: Model, method: str, steps: int = STEPS, **options: Any) -> Callable[..., MetaStep]:
    """The compiled meta-gradient `(meta, state, inner_lr, tasks, keys, step_weights=None) -> MetaStep`."""
    return jax.jit(functools.partial(gradient_at, inner_for(model, METHODS[method](**options), steps)))


def gradient_at(inner: Inner, meta: Meta, state: Any, inner_lr: Any, *args: Any, **options: Any) -> MetaStep:
    """The meta-gradient where this was learned; further arguments are those of `meta_gradient`."""
    return meta_gradient(inner, Learned(meta, state, inner_lr), *args, **options)


def adapt_at(
    inner: Inner,
    meta: Meta,
    state: Any,
    inner_lr: Any,
    support: Batch,
    key: Array,
    *,
    training: bool = True,
    **options: Any,
) -> Any:
    """The inner loop of training where this was learned."""
    return adapt(inner, Learned(meta, state, inner_lr), support, key, training=training, **options)


# The same, naively.

Network = Callable[[Meta, list[tuple[Array, Array]], Array], Array]


def batch_norm(x: Array, offset: Array) -> Array:
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / jnp.sqrt(x.var(axes) + 1e-3) + offset


def naive_mlp(meta: Meta, weights: list[tuple[Array, Array]], x: Array) -> Array:
    """`small_mlp`: `(x W + b) T`, batch norm if it has one, ReLU, `(x W + b) T`."""
    for i, (w, b) in enumerate(weights):
        x = x @ w + b
        x = x @ meta.fold[f"layers.{i}"] if meta.fold else x
        if i == 0:
            x = jnp.maximum(batch_norm(x, meta.params["norms"][0]["bias"]) if "norms" in meta.params else x, 0)
    return x


def naive_offset_mlp(weights: list[tuple[Array, Array]], offset: Array, x: Array) -> Array:
    """`offset_mlp`."""
    (w0, b0), (w1, b1) = weights
    return batch_norm(jnp.maximum(x @ w0 + b0, 0), offset) @ w1 + b1


def naive_conv(meta: Meta, weights: list[tuple[Array, Array]], x: Array) -> Array:
    """`small_conv`: convolution, bias, 1×1 convolution T, batch norm, ReLU, mean, linear, T."""
    convolve = functools.partial(
        jax.lax.conv_general_dilated, padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    (w, b), (w_head, b_head) = weights
    x = convolve(x, w, (2, 2)) + b
    x = convolve(x, meta.fold["conv"][None, None], (1, 1)) if meta.fold else x
    x = jnp.maximum(batch_norm(x, meta.params["norm"]["bias"]), 0)
    x = x.mean((1, 2)) @ w_head + b_head
    return x @ meta.fold["head"] if meta.fold else x


def layer_names(model: Model) -> list[str]:
    return ["conv", "head"] if is_classifier(model) else ["layers.0", "layers.1"]


def pair(tree: Any, name: str) -> tuple[Array, Array]:
    """Weight and bias of a layer."""
    for part in name.split("."):
        tree = tree[int(part) if part.isdigit() else part]
    return tree["kernel"], tree["bias"]


# Factors on the gradients of one layer's weight and bias at an inner step.
Factors = Callable[[Meta, int, str], tuple[Any, Any]]


def naive_loss(model: Model, meta: Meta, task: Task, factors: Factors, steps: int, first_order: bool = False) -> Array:
    """Query loss after adaptation; `factors` says how gradients become updates, `Δ = −factor ⊙ G`."""
    network = naive_conv if is_classifier(model) else naive_mlp
    names = layer_names(model)

    def loss(weights: list[tuple[Array, Array]], batch: Batch) -> Array:
        y = network(meta, weights, batch.x)
        if is_classifier(model):
            return -jnp.mean(jax.nn.log_softmax(y)[jnp.arange(len(y)), batch.y])
        return jnp.mean((y - batch.y) ** 2)

    weights = [pair(meta.params, name) for name in names]
    for step in range(steps):
        gradients = jax.grad(loss)(weights, task.support)
        if first_order:
            gradients = jax.lax.stop_gradient(gradients)
        moved = []
        for name, (w, b), (gw, gb) in zip(names, weights, gradients, strict=True):
            fw, fb = factors(meta, step, name)
            moved.append((w - fw * gw, b - fb * gb))
        weights = moved
    return loss(weights, task.query)


def inner_key(key: Array) -> Array:
    """The key of the inner loop of the task that `meta_gradient` draws with `key`."""
    return jax.random.fold_in(jax.random.fold_in(key, 1), 0)


def task_of(tasks: Tasks, key: Array) -> Task:
    return tasks.sample(jax.random.fold_in(key, 0))


def mask_noise(logits: dict[str, Array], key: Array, step: int | None = None) -> dict[str, Array]:
    """L, of the shapes of ζ, that a mask rule draws within the inner loop of `key`; of one step if drawn anew."""
    key = jax.random.fold_in(jax.random.fold_in(key, 0), 0)  # of the rule, of the first in its chain
    key = key if step is None else jax.random.fold_in(key, step)
    noise = jax.random.logistic(key, (sum(a.size for a in logits.values()),), jnp.float64)
    result = {}
    for name in sorted(logits):
        result[name], noise = noise[: logits[name].size].reshape(logits[name].shape), noise[logits[name].size :]
    return result


def surrogate_mask(logits: Array, fixed: Array, noise: Array) -> Array:
    """`m₀ + s(ζ) − s(ζ₀)`, whose exact derivative is the straight-through one."""
    return (fixed + noise > 0) + jax.nn.sigmoid(logits + noise) - jax.nn.sigmoid(fixed + noise)


def factors_for(method: str, meta0: Meta, key: Array) -> Factors:
    """How a method turns gradients into updates within the inner loop of `key`; masks are surrogates around `meta0`."""

    def constant(meta: Meta, step: int, name: str) -> tuple[Any, Any]:
        return INNER_LR, INNER_LR

    def rates(meta: Meta, step: int, name: str) -> tuple[Any, Any]:
        return meta.rule[f"{name}.kernel"], meta.rule[f"{name}.bias"]

    def rows(meta: Meta, step: int, name: str) -> tuple[Any, Any]:
        noise = mask_noise(meta0.rule["mask"], key)[name]
        mask = INNER_LR * surrogate_mask(meta.rule["mask"][name], meta0.rule["mask"][name], noise)
        return mask, mask

    def elements(meta: Meta, step: int, name: str) -> tuple[Any, Any]:
        noise = mask_noise(meta0.rule["mask"], key, step)
        paths = f"{name}.kernel", f"{name}.bias"
        now, then = meta.rule["mask"], meta0.rule["mask"]
        return tuple(INNER_LR * surrogate_mask(now[p], then[p], noise[p]) for p in paths)  # type: ignore[return-value]

    known = {"maml": constant, "fomaml": constant, "t_net": constant, "meta_sgd": rates}
    return (known | {"m_net": rows, "mt_net": rows, "mt_net_full": elements})[method]
