"""Estimators, against their definitions written naively: loops in Python over inner steps, on one task."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets import METHODS, Exact, FirstOrder, Implicit, Model, OptionError, Truncated, models
from mtnets.inner import ESTIMATORS
from mtnets.trees import leaves_by_path
from problems import (
    INNER_LR,
    add,
    assert_trees_close,
    gradient_at,
    gradient_of,
    inner_for,
    like,
    naive_mlp,
    pair,
    small_mlp,
    start,
    task_of,
    tasks_for,
)

pytestmark = pytest.mark.usefixtures("float64")
KEY = jax.random.key(5)
STEPS = 3


def task():
    return task_of(tasks_for(small_mlp()), KEY)


def naive_step(meta, weights, hold=False):
    """One step of a T-net on the support set."""
    gradients = jax.grad(lambda weights: naive_loss(meta, weights, task().support))(weights)
    if hold:
        gradients = jax.lax.stop_gradient(gradients)
    return jax.tree.map(lambda w, g: w - INNER_LR * g, weights, gradients)


def naive_loss(meta, weights, batch):
    return jnp.mean((naive_mlp(meta, weights, batch.x) - batch.y) ** 2)


def weights_of(meta):
    return [pair(meta.params, f"layers.{i}") for i in range(2)]


def estimated(name, meta, **options):
    gradient = gradient_of(small_mlp(), name, STEPS, **options)
    return gradient(meta, {}, INNER_LR, tasks_for(small_mlp()), KEY[None])


@functools.cache
def t_net():
    return start(small_mlp(), "t_net", spread=0.2)[0]


@pytest.mark.parametrize("last_steps", [0, 1, 2, STEPS, STEPS + 2])
def test_truncation(last_steps: int) -> None:
    """The gradients of all inner steps but the last are constants."""

    def naive(meta):
        weights = weights_of(meta)
        for step in range(STEPS):
            weights = naive_step(meta, weights, hold=step < STEPS - last_steps)
        return naive_loss(meta, weights, task().query)

    result = estimated("t_net", t_net(), estimator=Truncated(last_steps))
    assert_trees_close(result.gradient, jax.jit(jax.grad(naive))(t_net()), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("remat_every", [1, 2, STEPS, STEPS + 1])
def test_what_is_computed_again_is_the_same(remat_every: int) -> None:
    """Masks too, which are drawn once per task; whole parts, a part that is left over, and a part that is longer."""
    meta = start(small_mlp(), "mt_net", spread=0.2)[0]
    kept, again = (estimated("mt_net", meta, estimator=Exact(remat_every=n)) for n in (0, remat_every))
    assert_trees_close(again, kept, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_memory_grows_with_the_parts_alone() -> None:
    """As XLA counts it, without running anything."""

    def memory(steps: int, remat_every: int) -> int:
        model, estimator = models.mlp(1, 40, 40, 1), Exact(remat_every=remat_every)
        gradient: Any = gradient_of(model, "maml", steps, estimator=estimator)
        meta, state = start(model, "maml")
        program = gradient.lower(meta, state, INNER_LR, tasks_for(model), KEY[None]).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert memory(64, 8) < memory(64, 0) / 2


@pytest.mark.parametrize("remat_every", [-1, 1.5])
def test_remat_every_is_checked(remat_every) -> None:
    with pytest.raises(OptionError, match=f"remat_every is {remat_every}"):
        Exact(remat_every=remat_every)


def test_truncation_between_exact_and_first_order() -> None:
    """All steps are exact, none is first order; the default is one."""
    for same, last_steps in ((Exact(), STEPS), (FirstOrder(), 0)):
        result, expected = (estimated("t_net", t_net(), estimator=e) for e in (Truncated(last_steps), same))
        assert_trees_close(result, expected, rtol=1e-12)
    assert Truncated() == Truncated(last_steps=1)


@pytest.mark.slow
def test_trajectory() -> None:
    """Mean over steps of the exact gradient of one step, from weights that are constants; the start gets that of the
    weights at each."""

    def naive(meta):
        weights, total = weights_of(meta), 0.0
        for _ in range(STEPS):
            way = jax.tree.map(lambda w, start: jax.lax.stop_gradient(w - start), weights, weights_of(meta))
            weights = jax.tree.map(jnp.add, weights_of(meta), way)
            weights = naive_step(meta, weights)
            total += naive_loss(meta, weights, task().query)
        return total / STEPS

    result = estimated("warp_grad", t_net())
    assert_trees_close(result.gradient, jax.jit(jax.grad(naive))(t_net()), rtol=1e-9, atol=1e-13)
    weights = weights_of(t_net())
    for _ in range(STEPS):
        weights = jax.jit(naive_step)(t_net(), weights)
    np.testing.assert_allclose(result.metrics["post_loss"], naive_loss(t_net(), weights, task().query), rtol=1e-12)


def test_reptile_of_one_step() -> None:
    """Support, then query: it moves by `α (∇support(θ) + FOMAML's gradient)`."""
    meta, _ = start(small_mlp(), "maml", spread=0.2)
    args = ({}, INNER_LR, tasks_for(small_mlp()), KEY[None])
    moved, plain = (gradient_of(small_mlp(), name, 1)(meta, *args).gradient.params for name in ("reptile", "fomaml"))
    support = jax.jit(jax.grad(lambda meta: naive_loss(meta, weights_of(meta), task().support)))(meta).params
    assert_trees_close(moved, jax.tree.map(lambda a, b: INNER_LR * (a + b), support, plain), rtol=1e-10)


def test_reptile_goes_where_the_weights_have_gone() -> None:
    """Three inner steps and one on the query set, in plain gradient descent; layers that do not adapt go the last."""
    meta, _ = start(small_mlp(), "maml", spread=0.2)
    for adapts in ("all", "head"):
        weights = start_weights = weights_of(meta)
        for _ in range(STEPS):
            stepped = jax.jit(naive_step)(meta, weights)
            weights = stepped if adapts == "all" else [weights[0], stepped[1]]
        last = jax.jit(jax.grad(lambda weights: naive_loss(meta, weights, task().query)))(weights)
        way = jax.tree.map(lambda start, w, g: start - w + INNER_LR * g, start_weights, weights, last)
        options = {} if adapts == "all" else {"adapts": adapts}
        params = estimated("reptile", meta, **options).gradient.params
        for i in range(2):
            for leaf, expected in zip(pair(params, f"layers.{i}"), way[i], strict=True):
                np.testing.assert_allclose(leaf, expected, rtol=1e-10, atol=1e-14)


# The implicit gradient, on a linear model with squared loss, whose inner problem is quadratic.

PULL = 0.8


@functools.cache
def linear() -> Model:
    def init(key):
        return {"w": jnp.sin(jnp.arange(6.0)).reshape(3, 2), "b": jnp.array([0.5, -1.0])}, {}

    return Model(init, lambda params, state, x, key: (x @ params["w"] + params["b"], state), (3,))


def linear_gradient(name, steps, meta, inner_lr=0.2, **options):
    gradient = gradient_of(linear(), name, steps, **options)
    return gradient(meta, {}, inner_lr, tasks_for(linear()), KEY[None]).gradient


def test_implicit_gradient_is_that_of_the_minimum() -> None:
    """`λ (H + λ)⁻¹ ∇L_query` at the solution, the Hessian H of the support loss being constant."""
    meta, _ = start(linear(), "maml", spread=0.2)
    params = linear_gradient("imaml", 200, meta, estimator=Implicit(PULL)).params
    linear_task = task_of(tasks_for(linear()), KEY)
    support, query = (np.concatenate([b.x, np.ones((len(b.x), 1))], axis=1) for b in linear_task)
    hessian = 2 * support.T @ support / linear_task.support.y.size
    start_at = np.concatenate([meta.params["w"], meta.params["b"][None]])
    pulled = hessian + PULL * np.eye(4)
    solution = np.linalg.solve(
        pulled, 2 * support.T @ linear_task.support.y / linear_task.support.y.size + PULL * start_at
    )
    slope = 2 * query.T @ (query @ solution - linear_task.query.y) / linear_task.query.y.size
    expected = PULL * np.linalg.solve(pulled, slope)
    np.testing.assert_allclose(np.concatenate([params["w"], params["b"][None]]), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["maml", "t_net"])
def test_implicit_gradient_becomes_exact_as_the_inner_problem_is_solved(name: str) -> None:
    """For T too, which the minimum depends on."""
    meta, _ = start(linear(), name, spread=0.2)
    differences = []
    for steps in (2, 200):
        exact = linear_gradient(name, steps, meta, proximal=PULL)
        solved = linear_gradient(name, steps, meta, estimator=Implicit(PULL))
        pairs = zip(jax.tree.leaves(exact), jax.tree.leaves(solved), strict=True)
        differences.append(max(np.abs(a - b).max() / np.abs(a).max() for a, b in pairs))
    assert differences[0] > 1e-2
    assert differences[1] < 1e-9


def test_conjugate_gradients_and_damping() -> None:
    """Few steps are an approximation; damping is added to λ in the inverse alone."""
    meta, _ = start(linear(), "maml", spread=0.2)
    few, default = (
        linear_gradient("imaml", 10, meta, estimator=Implicit(PULL, cg_steps)).params["w"] for cg_steps in (1, 10)
    )
    assert np.abs(few - default).max() > 1e-6
    damped = linear_gradient("imaml", 10, meta, estimator=Implicit(PULL, damping=1e6)).params["w"]
    assert np.abs(damped).max() < 1e-4 * np.abs(default).max()


def test_what_does_not_move_gets_an_implicit_gradient_too() -> None:
    """The body of a network whose head alone solves a quadratic problem: finite differences of the solution."""
    model = small_mlp()
    meta, _ = start(model, "maml", spread=0.2)
    method = METHODS["anil"](estimator=Implicit(PULL, 30))
    gradient = jax.jit(functools.partial(gradient_at, inner_for(model, method, 300)))
    args = ({}, INNER_LR, tasks_for(model), KEY[None])
    result = gradient(meta, *args).gradient
    direction = like(meta, 3)
    ends = [float(gradient(add(meta, direction, step), *args).metrics["post_loss"]) for step in (1e-6, -1e-6)]
    dots = sum(np.vdot(a, b) for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(dots, (ends[0] - ends[1]) / 2e-6, rtol=1e-5)
    assert np.abs(leaves_by_path(result)["params.layers.0.kernel"]).max() > 1e-4


def test_implicit_gradients_of_tasks_side_by_side() -> None:
    """Conjugate gradients of some tasks go on while those of others have arrived."""
    model, method = linear(), METHODS["imaml"](estimator=Implicit(cg_steps=6))
    meta, _ = start(model, "imaml", spread=0.2)
    keys = jax.random.split(KEY, 3)
    together, alone = (
        jax.jit(functools.partial(gradient_at, inner_for(model, method), at_once=n))(
            meta, {}, INNER_LR, tasks_for(model), keys
        )
        for n in (3, 1)
    )
    assert_trees_close(together, alone, rtol=1e-9)


def test_they_are_values() -> None:
    for name, estimator in ESTIMATORS.items():
        assert estimator().name == name
        assert estimator() == estimator()
        assert hash(estimator()) == hash(estimator())
    assert Truncated(2) != Truncated(1)
    type("Unnamed", (Truncated,), {})  # takes no name from the list
    assert ESTIMATORS["truncated"] is Truncated


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Truncated(-1), "last_steps is -1"),
        (lambda: Truncated(1.5), r"last_steps is 1\.5; it must be a whole number"),
        (lambda: Implicit(proximal=0.0), r"proximal is 0\.0; the implicit estimator needs a pull"),
        (lambda: Implicit(cg_steps=0), "cg_steps is 0"),
        (lambda: Implicit(damping=-1.0), r"damping is -1\.0; it must be a number"),
    ],
)
def test_impossible_settings(make, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()
