"""Meta-gradients of every form of loss: against loops in Python with formulas written out, and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets import METHODS
from mtnets.inner import LOSSES, Batch, Task, criterion
from mtnets.inner.loop import Inner
from problems import INNER_LR, One, assert_trees_close, dot, gradient_at, init_of, like, slope, to_float64

pytestmark = pytest.mark.usefixtures("float64")
STEPS, X, Q = 2, (5, 3), (6, 3)
RANDOM = np.random.default_rng(0)
KEYS = jax.random.split(jax.random.key(3), 1)


@functools.cache
def network(outputs: int) -> mtnets.Model:
    """A function of its own, so that its formula is known: `tanh(x A + a) B + b`."""
    params = {
        "first": {"kernel": RANDOM.normal(size=(3, 4)) / 2, "bias": RANDOM.normal(size=4) / 2},
        "second": {"kernel": RANDOM.normal(size=(4, outputs)) / 2, "bias": RANDOM.normal(size=outputs) / 2},
    }
    return mtnets.wrap((forward, params), (3,), input_dtype=np.float64)


def forward(params, x):
    hidden = jnp.tanh(x @ params["first"]["kernel"] + params["first"]["bias"])
    return hidden @ params["second"]["kernel"] + params["second"]["bias"]


def task(name: str, weights: bool = False) -> Task:
    """A task with the targets that a loss takes; with weights, the last example of either set is padding."""

    def batch(shape) -> Batch:
        n, x = shape[0], RANDOM.normal(size=shape)
        y = RANDOM.normal(size=(n, 2))
        kind = LOSSES.get(name)
        if kind is not None and kind.targets == "labels":
            y = RANDOM.integers(0, 3, n)
        elif name == "poisson":
            y = RANDOM.poisson(2, (n, 2)).astype(float)
        elif name in ("binary", "dice"):
            y = (y > 0).astype(float)
        return Batch(x, y, np.r_[np.ones(n - 1), 0.0] if weights else None)

    return Task(batch(X), batch(Q))


# The same as the losses that ship, by the formulas of their docstrings: `(outputs, targets) -> [examples]`.
FORMULAS = {
    "mse": lambda f, y: ((f - y) ** 2).mean(1),
    "mae": lambda f, y: jnp.abs(f - y).mean(1),
    "huber": lambda f, y: jnp.where(jnp.abs(f - y) <= 1, (f - y) ** 2 / 2, jnp.abs(f - y) - 0.5).mean(1),
    "gaussian": lambda f, y: (jnp.log(2 * np.pi) + f[:, 2:] + (f[:, :2] - y) ** 2 / jnp.exp(f[:, 2:])).mean(1) / 2,
    "quantile": lambda f, y: (
        sum(
            jnp.where(y > f[:, i::3], q * (y - f[:, i::3]), (1 - q) * (f[:, i::3] - y)).mean(1)
            for i, q in enumerate((0.05, 0.5, 0.95))
        )
        / 3
    ),
    "poisson": lambda f, y: (jnp.exp(f) - y * f).mean(1),
    "cross-entropy": lambda f, y: -jnp.log(softmax(f)[jnp.arange(len(y)), y]),
    "focal": lambda f, y: -((1 - softmax(f)[jnp.arange(len(y)), y]) ** 2) * jnp.log(softmax(f)[jnp.arange(len(y)), y]),
    "binary": lambda f, y: -(y * jnp.log(sigmoid(f)) + (1 - y) * jnp.log(1 - sigmoid(f))).mean(1),
    "dice": lambda f, y: 1 - (2 * (sigmoid(f) * y).sum(1) + 1) / (sigmoid(f).sum(1) + y.sum(1) + 1),
}


def softmax(f):
    return jnp.exp(f) / jnp.exp(f).sum(1, keepdims=True)


def sigmoid(f):
    return 1 / (1 + jnp.exp(-f))


def mean(values, batch: Batch):
    weights = jnp.ones(len(values)) if batch.weights is None else batch.weights
    return (values * weights).sum() / weights.sum()


def naive(loss, inner_loss, given: Task):
    """The query loss after a loop in Python, as a function of what is meta-learned by a T-net; losses are functions of
    the network and a batch."""

    def network_of(fold, weights):
        def predict(x):
            for i, name in enumerate(("first", "second")):
                x = (x @ weights[name]["kernel"] + weights[name]["bias"]) @ fold[name]
                x = jnp.tanh(x) if i == 0 else x
            return x

        return predict

    def of_meta(meta):
        weights = meta.params
        for _ in range(STEPS):
            gradient = jax.grad(lambda w: inner_loss(network_of(meta.fold, w), given.support))(weights)
            weights = jax.tree.map(lambda w, g: w - INNER_LR * g, weights, gradient)
        return loss(network_of(meta.fold, weights), given.query)

    return of_meta


def check(outputs: int, judges, naive_of, given: Task) -> None:
    """Compares the meta-gradient with that of the naive function, and that with finite differences."""
    model = network(outputs)
    params, state = to_float64(model.init(jax.random.key(0)))
    meta = to_float64(init_of(model, "t_net", STEPS)(params))
    meta = jax.tree.map(lambda a, b: a + 0.1 * b, meta, like(meta, 1))
    inner = Inner(model, METHODS["t_net"](), judges, STEPS)
    found = jax.jit(functools.partial(gradient_at, inner))(meta, state, INNER_LR, One(given), KEYS)
    np.testing.assert_allclose(found.metrics["post_loss"], naive_of(meta), rtol=1e-12)
    assert_trees_close(found.gradient, jax.jit(jax.grad(naive_of))(meta), rtol=1e-9, atol=1e-12)
    along = like(meta, 2)
    np.testing.assert_allclose(dot(found.gradient, along), slope(jax.jit(naive_of), meta, along), rtol=1e-6, atol=1e-8)


def outputs_for(name: str) -> int:
    return 3 if LOSSES[name].targets == "labels" else 2 * LOSSES[name]().outputs_per_target


@pytest.mark.parametrize("weights", [pytest.param(False, marks=pytest.mark.slow), True], ids=["alike", "padded"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("cross-entropy", "gaussian", "mse") else pytest.mark.slow)
        for name in FORMULAS
    ],
)
def test_losses_that_ship(name: str, weights: bool) -> None:
    def loss(predict, batch):
        return mean(FORMULAS[name](predict(batch.x), batch.y), batch)

    given = task(name, weights)
    check(outputs_for(name), criterion(name), naive(loss, loss, given), given)


@pytest.mark.slow
def test_another_loss_within_the_task() -> None:
    """And one of the user's, of each form, outside or within."""

    def cubic(prediction, batch):
        return (jnp.abs(prediction - batch.y) ** 3).sum(1)

    def smooth(predict, batch, key):
        """Also flat in its inputs: it differentiates the network with respect to them, and calls it twice."""
        slope = jax.vmap(jax.jacfwd(lambda x: predict(x[None])[0]))(batch.x)
        return batch.mean(jnp.square(predict(batch.x) - batch.y).mean(1)) + 0.1 * jnp.square(slope).mean()

    def mse(predict, batch):
        return mean(FORMULAS["mse"](predict(batch.x), batch.y), batch)

    def plain_smooth(predict, batch):
        return smooth(predict, batch, None)

    def plain_cubic(predict, batch):
        return mean(cubic(predict(batch.x), batch), batch)

    given = task("mse")
    check(2, criterion("mse", "mae"), naive(mse, lambda p, b: mean(FORMULAS["mae"](p(b.x), b.y), b), given), given)
    check(2, criterion(cubic), naive(plain_cubic, plain_cubic, given), given)
    check(2, criterion(smooth), naive(plain_smooth, plain_smooth, given), given)
    check(2, criterion(cubic, smooth), naive(plain_cubic, plain_smooth, given), given)


def test_a_random_loss_draws_from_its_key() -> None:
    """Another number at each inner step and for each task, and the same ones again with the same key."""
    seen = []

    def noisy(predict, batch, key):
        noise = jax.random.normal(key)
        jax.debug.callback(seen.append, noise)
        return batch.mean(jnp.square(predict(batch.x) - batch.y).mean(1)) * (1 + 0.1 * noise)

    model = network(2)
    params, state = to_float64(model.init(jax.random.key(0)))
    meta = to_float64(init_of(model, "maml", STEPS)(params))
    run = jax.jit(functools.partial(gradient_at, Inner(model, METHODS["maml"](), criterion(noisy), STEPS)))
    first, again = (run(meta, state, INNER_LR, One(task_), KEYS) for task_ in [task("mse")] for _ in range(2))
    jax.effects_barrier()
    assert len({float(noise) for noise in seen}) == STEPS + 1
    jax.tree.map(np.testing.assert_array_equal, first.gradient, again.gradient)
