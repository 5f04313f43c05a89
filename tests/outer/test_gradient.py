"""The meta-gradient, against finite differences of naive code, and however tasks are batched and sharded."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets import METHODS, Estimator, Exact, FirstOrder, Model
from mtnets.devices import default_at_once, largest_divisor, map_over, mean_of_devices, mean_over, task_mesh
from problems import (
    INNER_LR,
    adapt_at,
    assert_trees_close,
    dot,
    factors_for,
    gradient_at,
    gradient_of,
    inner_for,
    inner_key,
    like,
    naive_loss,
    slope,
    small_conv,
    small_mlp,
    start,
    task_of,
    tasks_for,
)

pytestmark = pytest.mark.usefixtures("float64")
NETWORKS = {"mlp": small_mlp, "mlp with batch norm": lambda: small_mlp("transductive"), "conv": small_conv}
KNOWN = ["maml", "fomaml", "meta_sgd", "t_net", "m_net", "mt_net", "mt_net_full"]
CASES = [
    *((name, "mlp", None) for name in KNOWN),
    *((name, "mlp", FirstOrder()) for name in ("meta_sgd", "t_net")),
    *(pytest.param(name, "mlp", FirstOrder(), marks=pytest.mark.slow) for name in ("mt_net", "mt_net_full")),
    ("mt_net", "mlp with batch norm", None),
    ("mt_net", "conv", None),
]


def loss_of(inner, prediction, batch):
    return batch.mean(inner.criterion.loss(prediction, batch))


def naive_mean(name, meta, tasks, keys, steps, first_order):
    """Mean of the naive loss over tasks, masks being surrogates around `meta`."""
    drawn = [(task_of(tasks, key), factors_for(name, meta, inner_key(key))) for key in keys]

    def loss(changed):
        losses = [naive_loss(tasks.model, changed, task, factors, steps, first_order) for task, factors in drawn]
        return sum(losses) / len(losses)

    return loss


@pytest.mark.parametrize(("name", "network", "estimator"), CASES)
def test_meta_gradient_is_that_of_naive_code(name: str, network: str, estimator: Estimator | None) -> None:
    """Explicit metric layers, Python loops over tasks and inner steps; masks as surrogates with the noise fixed."""
    method = METHODS[name]() if estimator is None else METHODS[name](estimator=estimator)
    model, steps = NETWORKS[network](), 2
    meta, state = start(model, method.name, spread=0.2)
    tasks, keys = tasks_for(model), jax.random.split(jax.random.key(5), 2)
    naive = naive_mean(name, meta, tasks, keys, steps, method.estimator == FirstOrder())

    naive_and_gradient = jax.jit(jax.value_and_grad(naive))
    loss, gradient = naive_and_gradient(meta)
    actual = jax.jit(functools.partial(gradient_at, inner_for(model, method, steps)))(
        meta, state, INNER_LR, tasks, keys
    )
    np.testing.assert_allclose(actual.metrics["post_loss"], loss, rtol=1e-12)
    assert_trees_close(actual.gradient, gradient, rtol=1e-8, atol=1e-12)
    if name not in {"maml", "fomaml"}:  # the fold and the rule learn, with every estimator
        for leaf in jax.tree.leaves((actual.gradient.fold, actual.gradient.rule)):
            assert np.abs(leaf).max() > 1e-8
    if method.estimator == Exact():
        for part in meta._fields:  # along random directions in each part and in all together
            direction = meta._replace(**{p: jax.tree.map(np.zeros_like, getattr(meta, p)) for p in meta._fields})
            direction = direction._replace(**{part: like(getattr(meta, part), 7)})
            expected = slope(lambda changed: naive_and_gradient(changed)[0], meta, direction)
            np.testing.assert_allclose(dot(actual.gradient, direction), expected, rtol=1e-5, atol=1e-9)


def test_one_step_of_a_linear_model() -> None:
    """Squared loss, one step: the meta-gradient is `(I − αH)ᵀ ∇`."""
    model = linear_model()
    meta, state = start(model, "maml")
    tasks, key = tasks_for(model), jax.random.key(2)
    actual = gradient_at(inner_for(model, METHODS["maml"](), 1), meta, state, INNER_LR, tasks, key[None])
    task = task_of(tasks, key)

    def with_ones(x):
        return np.concatenate([x, np.ones((len(x), 1))], axis=1)

    support, query = with_ones(task.support.x), with_ones(task.query.x)
    weight = np.concatenate([meta.params["w"], meta.params["b"][None]])
    outputs = weight.shape[1]  # mean over examples and outputs: H = 2 XᵀX / (examples · outputs) for each output
    hessian = 2 * support.T @ support / (len(support) * outputs)
    step = np.eye(len(hessian)) - INNER_LR * hessian
    adapted = weight - INNER_LR * (hessian @ weight - 2 * support.T @ task.support.y / (len(support) * outputs))
    query_gradient = 2 * query.T @ (query @ adapted - task.query.y) / (len(query) * outputs)
    expected = step.T @ query_gradient
    np.testing.assert_allclose(actual.gradient.params["w"], expected[:-1], rtol=1e-12)
    np.testing.assert_allclose(actual.gradient.params["b"], expected[-1], rtol=1e-12)


def linear_model(input_shape: tuple[int, ...] = (3,)) -> Model:
    def init(key):
        return {"w": jax.random.normal(key, (3, 2)), "b": jnp.array([0.5, -1.0])}, {}

    return Model(init, lambda params, state, x, key: (x.reshape(-1, 3) @ params["w"] + params["b"], state), input_shape)


def test_first_order_is_the_query_gradient_at_the_adapted_weights() -> None:
    model, method, steps = small_mlp(), METHODS["fomaml"](), 3
    inner = inner_for(model, method, steps)
    meta, state = start(model, method.name, spread=0.2)
    tasks, keys = tasks_for(model), jax.random.split(jax.random.key(5), 3)
    actual = jax.jit(functools.partial(gradient_at, inner))(meta, state, INNER_LR, tasks, keys)
    gradients = []
    for key in keys:
        task = task_of(tasks, key)
        adapted = adapt_at(inner, meta, state, INNER_LR, task.support, inner_key(key))
        query = task.query
        gradients.append(
            jax.grad(lambda params, q=query: loss_of(inner, model.apply(params, state, q.x, None)[0], q))(
                adapted.params
            )
        )
    expected = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *gradients)
    assert_trees_close(actual.gradient.params, expected, rtol=1e-12)


def test_batching_and_sharding_change_nothing() -> None:
    """One after another, in chunks (even if the number asked for is no divisor), all at once, on one device or two."""
    model, method = small_mlp("running"), METHODS["mt_net"]()
    inner = inner_for(model, method, 1)
    meta, state = start(model, method.name, spread=0.2)
    tasks, keys = tasks_for(model), jax.random.split(jax.random.key(5), 12)
    mesh = task_mesh(2)
    assert mesh is not None, "tests run on two CPU devices"
    assert mesh.size == 2
    results = [
        jax.jit(functools.partial(gradient_at, inner, at_once=at_once, mesh=devices))(
            meta, state, INNER_LR, tasks, keys
        )
        for at_once, devices in ((1, None), (5, None), (4, mesh))
    ]
    for result in results[1:]:
        assert_trees_close(result, results[0], rtol=1e-10)
    single = jax.jit(functools.partial(gradient_at, inner))
    alone = [single(meta, state, INNER_LR, tasks, key[None]) for key in keys]
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *alone)
    assert_trees_close(results[0], mean, rtol=1e-10)
    assert dot(alone[0].gradient.params, alone[0].gradient.params) != dot(
        alone[1].gradient.params, mean.gradient.params
    )


def test_running_statistics_are_averaged_over_tasks() -> None:
    """Carried through the inner steps and the query set of each task, then averaged."""
    model, method = small_mlp("running"), METHODS["maml"]()
    inner = inner_for(model, method, 1)
    meta, state = start(model, method.name, spread=0.2)
    tasks, keys = tasks_for(model), jax.random.split(jax.random.key(5), 3)
    actual = gradient_at(inner, meta, state, 0.0, tasks, keys).state  # α = 0: the same weights all along
    w, b = (meta.params["layers"][0][k] for k in ("kernel", "bias"))
    means, variances = [], []
    for key in keys:
        task = task_of(tasks, key)
        mean, var = np.zeros(4), np.ones(4)
        for x in (task.support.x, task.query.x):
            h = np.asarray(x @ w + b)
            mean, var = 0.99 * mean + 0.01 * h.mean(0), 0.99 * var + 0.01 * h.var(0)
        means.append(mean)
        variances.append(var)
    np.testing.assert_allclose(actual["norms"][0]["mean"], np.mean(means, 0), rtol=1e-12)
    np.testing.assert_allclose(actual["norms"][0]["var"], np.mean(variances, 0), rtol=1e-12)


def test_statistics_of_a_support_set_do_not_reach_the_next_task() -> None:
    model, method = small_mlp("support"), METHODS["maml"]()
    meta, state = start(model, method.name)
    keys = jax.random.split(jax.random.key(5), 3)
    actual = gradient_at(inner_for(model, method), meta, state, INNER_LR, tasks_for(model), keys)
    assert_trees_close(actual.state, state)


@pytest.mark.slow
def test_meta_gradient_flows_through_statistics_of_the_support_set() -> None:
    """Finite differences of a loss in which every statistic is that of the support set at the adapted weights."""
    model, method = small_mlp("support"), METHODS["mt_net"]()
    inner = inner_for(model, method)
    meta, state = start(model, method.name, spread=0.2)
    tasks, key = tasks_for(model), jax.random.key(5)
    task, factors = task_of(tasks, key), factors_for("mt_net", meta, inner_key(key))

    def naive(changed):
        weights = [(changed.params["layers"][i]["kernel"], changed.params["layers"][i]["bias"]) for i in range(2)]
        metrics = [changed.fold.get(f"layers.{i}", jnp.eye(n)) for i, n in enumerate((4, 2))]

        def predict(weights, x):
            (w0, b0), (w1, b1) = weights
            seen, h = (task.support.x @ w0 + b0) @ metrics[0], (x @ w0 + b0) @ metrics[0]
            h = (h - seen.mean(0)) / jnp.sqrt(seen.var(0) + 1e-3) + changed.params["norms"][0]["bias"]
            return (jnp.maximum(h, 0) @ w1 + b1) @ metrics[1]

        def loss(weights, batch):
            return jnp.mean((predict(weights, batch.x) - batch.y) ** 2)

        for step in range(inner.steps):
            gradients = jax.grad(loss)(weights, task.support)
            weights = [
                (w - fw * gw, b - fb * gb)
                for i, ((w, b), (gw, gb)) in enumerate(zip(weights, gradients, strict=True))
                for fw, fb in [factors(changed, step, f"layers.{i}")]
            ]
        return loss(weights, task.query)

    actual = jax.jit(functools.partial(gradient_at, inner))(meta, state, INNER_LR, tasks, key[None])
    np.testing.assert_allclose(actual.metrics["post_loss"], naive(meta), rtol=1e-12)
    direction = like(meta, 3)
    np.testing.assert_allclose(dot(actual.gradient, direction), slope(jax.jit(naive), meta, direction), rtol=1e-6)


def test_metrics() -> None:
    """Before: on the support set. After: on the query set; accuracy where there are classes."""
    model, method = linear_model((3, 1)), METHODS["maml"]()
    meta, state = start(model, "maml")
    tasks, key = tasks_for(model), jax.random.key(5)
    task = task_of(tasks, key)
    for steps in (0, 1):
        inner = inner_for(model, method, steps)
        actual = gradient_at(inner, meta, state, INNER_LR, tasks, key[None]).metrics
        assert actual.keys() == {"pre_loss", "post_loss", "accuracy"}
        adapted = adapt_at(inner, meta, state, INNER_LR, task.support, inner_key(key)).params
        logits = np.asarray(model.apply(adapted, state, task.query.x, None)[0])
        assert actual["accuracy"] == np.mean(logits.argmax(1) == task.query.y)
        np.testing.assert_allclose(actual["post_loss"], loss_of(inner, logits, task.query), rtol=1e-12)
        before = task.support if steps else task.query
        expected = loss_of(inner, model.apply(meta.params, state, before.x, None)[0], before)
        np.testing.assert_allclose(actual["pre_loss"], expected, rtol=1e-12)


def test_mean_and_map_over_keys() -> None:
    keys = jax.random.split(jax.random.key(0), 6)

    def f(context, key):
        return {"x": context * jax.random.key_data(key).astype(jnp.float64)}

    stacked = np.stack([f(3.0, key)["x"] for key in keys])
    for at_once, mesh in ((1, None), (4, None), (9, None), (2, task_mesh(2))):
        np.testing.assert_allclose(map_over(f, 3.0, keys, at_once=at_once, mesh=mesh)["x"], stacked, rtol=1e-12)
        mean = functools.partial(mean_over, f, at_once=at_once)
        actual = mean_of_devices(mean, 3.0, keys, mesh)["x"]
        np.testing.assert_allclose(actual, stacked.mean(0), rtol=1e-12)


def test_how_many_at_once() -> None:
    assert [largest_divisor(12, limit) for limit in (0, 1, 5, 6, 11, 100)] == [1, 1, 4, 6, 6, 12]
    assert default_at_once({"w": jnp.zeros(29_999)}, 8) == 8
    assert default_at_once({"w": jnp.zeros(29_999)}, 8, most=3) == 3
    if jax.default_backend() == "cpu":
        assert default_at_once({"w": jnp.zeros(30_000)}, 8) == 1
        assert default_at_once({"w": jnp.zeros((3, 3, 3, 32))}, 8) == 1  # works on every pixel
    assert task_mesh(1) is None
    assert task_mesh("all").size == jax.device_count()
    assert task_mesh(1000).size == jax.device_count()


def test_a_number_of_tasks_that_devices_do_not_divide_is_padded() -> None:
    keys = jax.random.split(jax.random.key(0), 7)
    numbers = jnp.arange(7)
    drawn = map_over(lambda c, each: c + each[1], 10, (keys, numbers), at_once=2, mesh=task_mesh(2))
    np.testing.assert_array_equal(drawn, np.arange(10, 17))


def test_multi_step_loss_is_a_weighted_sum_of_query_losses() -> None:
    """Before the first inner step and after each; the last alone is the plain loss."""
    model, steps = small_mlp(), 2
    meta, state = start(model, "t_net", spread=0.2)
    tasks, keys = tasks_for(model), jax.random.split(jax.random.key(5), 2)
    weights = np.array([0.5, 0.0, 2.0])

    drawn = [(task_of(tasks, key), factors_for("t_net", meta, key)) for key in keys]

    def naive(meta):
        """Loops of 0, 1 and 2 steps."""
        return sum(w * naive_loss(model, meta, *d, n) / len(keys) for n, w in enumerate(weights) for d in drawn)

    gradient = gradient_of(model, "t_net", steps)
    actual = gradient(meta, state, INNER_LR, tasks, keys, weights)
    assert_trees_close(actual.gradient, jax.jit(jax.grad(naive))(meta), rtol=1e-9)
    last, plain = (gradient(meta, state, INNER_LR, tasks, keys, w) for w in (np.array([0.0, 0.0, 1.0]), None))
    assert_trees_close(last, plain, rtol=1e-10)
    np.testing.assert_allclose(actual.metrics["post_loss"], plain.metrics["post_loss"], rtol=1e-12)
