"""Heads for any number of classes: meta-gradients against loops in Python, classes that are alike, bad input."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets import METHODS
from mtnets.inner import Batch, Learned, Task, adapt, criterion
from mtnets.inner.loop import Inner
from problems import INNER_LR, One, assert_trees_close, dot, gradient_at, init_of, like, slope, to_float64

pytestmark = pytest.mark.usefixtures("float64")
STEPS, HEADS = 2, ("shared", "prototypes", "ridge")
RANDOM = np.random.default_rng(0)
KEYS = jax.random.split(jax.random.key(3), 1)
ALL = [name for name in METHODS if name not in ("boil", "cavia", "reptile", "imaml", "maml_plus_plus")]


def forward(params, x):
    hidden = jnp.tanh(x @ params["first"]["kernel"] + params["first"]["bias"])
    return hidden @ params["second"]["kernel"] + params["second"]["bias"]


@functools.cache
def network() -> mtnets.Model:
    params = {
        "first": {"kernel": RANDOM.normal(size=(3, 4)) / 2, "bias": RANDOM.normal(size=4) / 2},
        "second": {"kernel": RANDOM.normal(size=(4, 3)) / 2, "bias": RANDOM.normal(size=3) / 2},
    }
    return mtnets.wrap((forward, params), (3,), input_dtype=np.float64)


def batch(labels, weights=None) -> Batch:
    labels = np.asarray(labels)
    return Batch(RANDOM.normal(size=(len(labels), 3)), labels, weights)


def inner_of(method, ways=None) -> Inner:
    return Inner(network(), method, criterion("cross-entropy"), STEPS, ways=ways)


@functools.cache
def meta_of(name: str, head: str):
    params, _ = network().init(jax.random.key(0))
    meta = to_float64(init_of(network(), name, STEPS, head=head)(params))
    noise = like(meta, 1)
    return jax.tree.map(lambda leaf, change: leaf + 0.1 * change, meta, noise)


def naive_head(head: str, arrays, x, y, w, ways):
    """Weight and bias at the start, from features `[examples, 4]`."""
    if head == "shared":
        unit = jnp.concatenate([arrays["unit"]] * ways, 1)
        return unit[:4], unit[4]
    if head == "prototypes":
        means: Any = [sum(w[i] * x[i] for i in range(len(y)) if y[i] == k) for k in range(ways)]
        means = [mean / sum(w[y == k]) for k, mean in enumerate(means)]
        return 2 * jnp.stack(means, 1), -jnp.stack([mean @ mean for mean in means])
    ones, classes = jnp.concatenate([x, jnp.ones((len(x), 1))], 1), jnp.eye(ways)[y]
    each: Any = w[:, None]
    # in the features, where the library works in the examples
    gram = ones.T @ (each * ones) + jnp.exp(arrays["log_ridge"]) * jnp.eye(5)
    matrix = arrays["scale"] * jnp.linalg.solve(gram, ones.T @ (each * classes))
    return matrix[:4], matrix[4]


def naive_loss(meta, head: str, task: Task, ways: int):
    """Query loss of a T-net with its metrics as layers: the head's is one number."""
    (t1, t2), (x, y, w, _) = (meta.fold["first"], meta.fold["second"][0, 0]), task.support
    w = np.ones(len(y)) if w is None else w

    def body(weights, x):
        return jnp.tanh((x @ weights[0] + weights[1]) @ t1)

    def loss(weights, batch, w):
        logits = (body(weights, batch.x) @ weights[2] + weights[3]) * t2
        losses = -jax.nn.log_softmax(logits)[jnp.arange(len(batch.y)), batch.y]
        return jnp.sum(losses * w) / jnp.sum(w)

    first = meta.params["first"]
    weights = [first["kernel"], first["bias"]]
    weights += naive_head(head, meta.head, body(weights, x), y, w, ways)
    for _ in range(STEPS):
        gradients = jax.grad(loss)(weights, task.support, w)
        weights = [a - INNER_LR * g for a, g in zip(weights, gradients, strict=True)]
    return loss(weights, task.query, np.ones(len(task.query.y)))


@pytest.mark.parametrize(
    "weights",
    [None, pytest.param(np.r_[np.ones(6), 0.5, 0.0], marks=pytest.mark.slow)],
    ids=["alike", "weighted"],
)
@pytest.mark.parametrize("head", HEADS)
def test_meta_gradient(head, weights) -> None:
    meta = meta_of("t_net", head)
    task = Task(batch([0, 1, 2, 0, 1, 2, 0, 1], weights), batch([2, 1, 0, 0]))
    gradient = functools.partial(gradient_at, inner_of(mtnets.t_net(head=head)))
    found = jax.jit(gradient)(meta, {}, INNER_LR, One(task), KEYS).gradient
    expected = jax.grad(naive_loss)(meta, head, task, 3)
    assert_trees_close(found, expected, 1e-9, 1e-12)
    direction = like(meta, 2)
    assert dot(found, direction) == pytest.approx(
        slope(lambda meta: naive_loss(meta, head, task, 3), meta, direction), rel=1e-6
    )
    assert not np.any(found.params["second"]["kernel"]), "the network's own head is not used"


@pytest.mark.parametrize("head", HEADS)
def test_any_number_of_classes(head) -> None:
    meta, ways = meta_of("t_net", head), 5
    task = Task(batch([0, 1, 2, 3, 4, 0]), batch([2, 4, 0]))
    inner = inner_of(mtnets.t_net(head=head), ways)
    run = jax.jit(lambda meta, support: adapt(inner, Learned(meta, {}, INNER_LR), support, KEYS[0]))
    adapted = run(meta, task.support)
    assert adapted.params["second"]["kernel"].shape == (4, ways)
    loss = -np.asarray(jax.nn.log_softmax(forward(adapted.params, task.query.x)))[np.arange(3), task.query.y].mean()
    assert loss == pytest.approx(float(naive_loss(meta, head, task, ways)), rel=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("mt_net", "gap", "meta_curvature") else pytest.param(name, marks=pytest.mark.slow)
        for name in ALL
    ],
)
def test_classes_are_alike_to_every_method(name) -> None:
    """Numbering the classes otherwise numbers the outputs otherwise, and changes nothing else."""
    order = np.array([2, 0, 3, 1])
    for head in HEADS if name in ("maml", "mt_net") else ("shared",):
        inner, meta = inner_of(METHODS[name](head=head), 4), meta_of(name, head)
        support = batch([0, 1, 2, 3, 3, 1])
        run = jax.jit(lambda meta, support, inner=inner: adapt(inner, Learned(meta, {}, 0.1), support, KEYS[0]))
        one, other = run(meta, support).params, run(meta, support._replace(y=order[support.y])).params
        for leaf in ("kernel", "bias"):
            np.testing.assert_allclose(one["second"][leaf], other["second"][leaf][..., order], 1e-9, 1e-12)
            np.testing.assert_allclose(one["first"][leaf], other["first"][leaf], 1e-9, 1e-12)


def test_prototypes_tell_squared_distances_before_the_first_step() -> None:
    inner = dataclasses.replace(inner_of(mtnets.maml(head="prototypes"), 3), steps=0)
    support, x = batch([0, 1, 2, 2]), RANDOM.normal(size=(2, 3))
    run = jax.jit(lambda meta, support: adapt(inner, Learned(meta, {}, 0.1), support, KEYS[0]))
    params = run(meta_of("maml", "prototypes"), support).params

    def features(x):
        return jnp.tanh(x @ params["first"]["kernel"] + params["first"]["bias"])

    means = jnp.stack([features(support.x)[support.y == k].mean(0) for k in range(3)])
    distances = ((features(x)[:, None] - means) ** 2).sum(-1)
    differences = forward(params, x) + distances  # the same for all classes
    np.testing.assert_allclose(differences - differences[:, :1], 0, atol=1e-12)


def test_prototypes_are_means_however_small_the_weights() -> None:
    inner = dataclasses.replace(inner_of(mtnets.maml(head="prototypes"), 3), steps=0)
    run = jax.jit(lambda meta, support: adapt(inner, Learned(meta, {}, 0.1), support, KEYS[0]).params)
    weights, meta = np.array([1.0, 1.0, 0.5, 0.25]), meta_of("maml", "prototypes")
    support = batch([0, 1, 2, 2], weights)
    whole, small = run(meta, support), run(meta, support._replace(weights=weights / 8))
    np.testing.assert_allclose(small["second"]["kernel"], whole["second"]["kernel"], 1e-12)
    np.testing.assert_allclose(small["second"]["bias"], whole["second"]["bias"], 1e-12)


def test_a_class_without_examples_does_not_matter() -> None:
    support = batch([0, 1, 0, 1])._replace(outputs=np.array([True, True, False]))
    for head in HEADS:
        method, meta = mtnets.maml(head=head), meta_of("maml", head)
        two, three = (
            jax.jit(
                lambda meta, support, n=n, method=method: adapt(
                    inner_of(method, n), Learned(meta, {}, 0.1), support, KEYS[0]
                )
            )(meta, support._replace(outputs=used)).params
            for n, used in ((2, None), (3, support.outputs))
        )
        np.testing.assert_allclose(two["second"]["kernel"], three["second"]["kernel"][:, :2], 1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "other"}, "head is 'other'"),
        ({"head": 3}, "head is 3"),
        ({"head": "ridge", "estimator": mtnets.Implicit()}, "the implicit estimator does not allow"),
        ({"head": "shared", "estimator": mtnets.Displacement()}, "the displacement estimator does not allow"),
    ],
)
def test_refused_options(options, message) -> None:
    with pytest.raises(mtnets.OptionError, match=message):
        mtnets.maml(**options)


def test_a_head_that_does_not_move_is_refused() -> None:
    with pytest.raises(mtnets.OptionError, match="boil does not move it; use adapts='all'"):
        mtnets.boil(head="shared").layers_of(network(), None)


def trained(model, loss="cross-entropy", **options):
    task = Task(batch([0, 1, 2, 0]), batch([2, 1, 0, 0]))
    if loss == "mse":
        task = jax.tree.map(lambda leaf: leaf if leaf.ndim == 2 else np.eye(3)[leaf], task)
    task = jax.tree.map(lambda leaf: leaf.astype(np.float32 if leaf.dtype == np.float64 else np.int32), task)
    counts = {"meta_steps": 1, "meta_batch": 1, "inner_steps": 1, "validate_every": 0, "progress": False}
    return mtnets.meta_train(model, mtnets.maml(0.1, **options), One(task), loss=loss, **counts)


class TestWhereTheyMeet:
    """`meta_train` compares head, network and loss."""

    def test_numbers_have_no_classes(self) -> None:
        with pytest.raises(mtnets.OptionError, match="the loss mse is not one of labels"):
            trained(mtnets.models.mlp(3, 4, 3), "mse", head="shared")

    def test_nothing_may_follow_the_head(self) -> None:
        params = jax.tree.map(np.float32, network().init(jax.random.key(0))[0])
        cooled = mtnets.wrap((lambda params, x: 2 * forward(params, x), params), (3,))
        with pytest.raises(mtnets.OptionError, match="not those of its last layer, second, alone"):
            trained(cooled, head="ridge")

    def test_a_head_of_one_width_is_refused(self) -> None:
        params = jax.tree.map(np.float32, network().init(jax.random.key(0))[0])
        narrow = mtnets.wrap((lambda params, x: forward(params, x).reshape(-1, 3), params), (3,))
        with pytest.raises(mtnets.OptionError, match=r"not those of its last layer|another number of units"):
            trained(narrow, head="shared")

    @pytest.mark.parametrize("method", [mtnets.maml(0.1, head="prototypes"), mtnets.l2f(0.1)], ids=["head", "l2f"])
    def test_a_stream_is_never_there_as_a_whole(self, method) -> None:
        """What starts by the whole support set would have seen slices before it is scored on them."""
        task = jax.tree.map(
            lambda leaf: leaf.astype(np.float32 if leaf.dtype == np.float64 else np.int32),
            Task(batch([0, 1, 2, 0]), batch([2, 1, 0, 0])),
        )
        with pytest.raises(mtnets.OptionError, match="tasks start by what their whole support set says"):
            mtnets.meta_train(
                mtnets.models.mlp(3, 4, 3), method, One(task),
                loss="cross-entropy", stream=True, meta_steps=1, meta_batch=1, inner_steps=2,
            )  # fmt: skip

    def test_prototypes_need_a_bias(self) -> None:
        params = jax.tree.map(np.float32, network().init(jax.random.key(0))[0])
        del params["second"]["bias"]

        def without(params, x):
            return jnp.tanh(x @ params["first"]["kernel"] + params["first"]["bias"]) @ params["second"]["kernel"]

        with pytest.raises(mtnets.OptionError, match="second has no bias"):
            trained(mtnets.wrap((without, params), (3,)), head="prototypes")


@pytest.mark.slow
def test_a_learner_of_three_classes_serves_two_and_seven(tmp_path) -> None:
    learner = trained(mtnets.models.mlp(3, 4, 3), head="prototypes")
    learner.save(tmp_path / "learner")
    learner = mtnets.load(tmp_path / "learner")
    for ways in (2, 7):
        x = RANDOM.normal(size=(2 * ways, 3)).astype(np.float32) + 5 * np.arange(2 * ways)[:, None] % ways
        y = np.arange(2 * ways) % ways
        adapted = learner.adapt(x, y)
        probabilities = np.asarray(adapted.probabilities(x))
        assert probabilities.shape[1] >= ways
        np.testing.assert_allclose(probabilities[:, :ways].sum(1), 1, 1e-5)
        adapted.save(tmp_path / "adapted.safetensors")
        adapted.save_task(tmp_path / "task.safetensors", precision="full")
        for other in (
            mtnets.load_adapted(tmp_path / "adapted.safetensors"),
            learner.with_task(tmp_path / "task.safetensors"),
        ):
            np.testing.assert_array_equal(adapted(x), other(x))
        more, still = adapted.update(x, y), adapted.update(x, y, inner_steps=0)
        assert np.all(np.isfinite(more.probabilities(x)))
        np.testing.assert_allclose(still(x), adapted(x), 1e-6, err_msg="it goes on from the head that it has")
        with pytest.raises(mtnets.DataError, match="labels from 20 to 20"):
            adapted.update(x[:1], [20])
    many = learner.adapt_many(np.stack([x, x + 1]), np.stack([y, y]))
    np.testing.assert_allclose(many[0](x), adapted(x), 1e-5, 1e-5)


@pytest.mark.slow
def test_evaluates_tasks_of_more_classes() -> None:
    learner = trained(mtnets.models.mlp(3, 4, 3), head="shared")
    labels = np.arange(10) % 5
    task = Task(batch(labels), batch(labels[::-1]))
    task = jax.tree.map(lambda leaf: leaf.astype(np.float32 if leaf.dtype == np.float64 else np.int32), task)
    estimate = mtnets.evaluate(learner, One(task), 2)
    assert estimate.losses[0, 0] == pytest.approx(np.log(5), rel=1e-5), "classes are alike at the start"
    with pytest.raises(mtnets.DataError, match="labels from 0 to 4"):
        mtnets.evaluate(trained(mtnets.models.mlp(3, 4, 3)), One(task), 2)
