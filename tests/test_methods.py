"""What holds for every method, those to come included; and what each makes of bad options."""

import functools
import math

import jax
import numpy as np
import pytest

from mtnets import METHODS, Method, OptionError
from mtnets.adapt import inner_loop, starting_point
from mtnets.estimators import ESTIMATORS
from mtnets.layers import leaves_by_path
from mtnets.meta import meta_gradient
from mtnets.metric import identity
from mtnets.rules import sgd
from problems import INNER_LR, assert_trees_close, inner_for, inner_key, small_mlp, start, task_of, tasks_for

# Leaves of everything meta-learned whose gradient is zero: a bias before transductive batch norm, and what scales or
# masks its gradient, change nothing.
NULL = "layers.0.bias"
KEYS = jax.random.split(jax.random.key(5), 3)


@functools.cache
def results(name):
    """Start, adapted parameters of one task, two identical meta-gradients and one of other data, and how often the
    meta-gradient was compiled."""
    model, method = small_mlp("transductive"), METHODS[name]()
    inner, tasks = inner_for(model, method), tasks_for(model)
    meta, state = start(model, name)
    task = task_of(tasks, KEYS[0])
    loop = jax.jit(functools.partial(inner_loop, inner))
    adapted = loop(starting_point(inner, meta), state, INNER_LR, task.support, inner_key(KEYS[0]))
    gradient = jax.jit(functools.partial(meta_gradient, inner))
    first, again = (gradient(meta, state, INNER_LR, tasks, KEYS) for _ in range(2))
    other = gradient(jax.tree.map(np.copy, meta), state, 0.2, tasks, jax.random.split(jax.random.key(6), 3))
    return meta, adapted, first, again, other, gradient._cache_size()


pytestmark = pytest.mark.usefixtures("float64")
every_method = pytest.mark.parametrize("name", METHODS)


@every_method
def test_it_adapts(name: str) -> None:
    """All that comes out is finite and of the shapes that went in, and a layer has moved."""
    meta, adapted, *_ = results(name)
    before, after = leaves_by_path(meta.params), leaves_by_path(adapted.params)
    assert {path: leaf.shape for path, leaf in after.items()} == {path: leaf.shape for path, leaf in before.items()}
    for leaf in after.values():
        assert np.isfinite(leaf).all()
    assert max(np.abs(after[path] - before[path]).max() for path in before) > 1e-4
    assert adapted.support_loss.shape == (2,)


@every_method
def test_everything_meta_learned_gets_a_gradient(name: str) -> None:
    """Apart from leaves declared to get none, which indeed get none."""
    meta, _, result, *_ = results(name)
    assert jax.tree.structure(result.gradient) == jax.tree.structure(meta)
    null = []
    for path, leaf in leaves_by_path(result.gradient).items():
        assert np.isfinite(leaf).all(), path
        if np.abs(leaf).max() < 1e-12:
            null.append(path)
    assert null == [path for path in leaves_by_path(meta) if path.endswith(NULL)]


@every_method
def test_it_can_be_reproduced_from_a_key(name: str) -> None:
    _, _, first, again, other, _ = results(name)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(first.metrics["post_loss"]) != float(other.metrics["post_loss"])


@every_method
def test_it_is_compiled_once(name: str) -> None:
    """New data, weights, keys and inner rates need no new program."""
    assert results(name)[-1] == 1


@every_method
def test_it_starts_as_the_network_that_it_was_given(name: str) -> None:
    meta, model = start(small_mlp(), name)[0], small_mlp()
    layers = METHODS[name]().adapts(model.layers)
    weights = {path: leaves_by_path(meta.params)[path] for layer in layers for path in layer.paths}
    assert_trees_close(METHODS[name]().fold.apply(layers, meta.fold, weights), weights)


@every_method
def test_its_record_makes_it_again(name: str) -> None:
    for options in ({}, {"inner_lr": 0.5}, {"meta_gradient": "first-order"}):
        made = METHODS[name](**options)
        again = METHODS[name](**made.record())
        assert again.record() == made.record()
        assert again.name == made.name == name
        assert (again.inner_lr, again.meta_gradient) == (made.inner_lr, made.meta_gradient)
        assert made.record().items() >= options.items()
    assert METHODS[name](0.5).inner_lr == 0.5  # the one argument that needs no name


def test_records_hold_options() -> None:
    made = METHODS["mt_net"](0.1, mask="mean", temperature=0.5)
    assert made.record() == {"inner_lr": 0.1, "meta_gradient": "exact", "mask": "mean", "temperature": 0.5}
    changed = made.with_options(mask="threshold", inner_lr=None)
    assert changed.record() == made.record() | {"mask": "threshold", "inner_lr": None}
    assert METHODS["fomaml"]().record()["meta_gradient"] == "first-order"
    assert METHODS["fomaml"](meta_gradient="exact").with_options(inner_lr=1.0).meta_gradient == "exact"


def test_masks_are_sampled_in_training_whatever_their_use_at_test() -> None:
    layers = small_mlp().layers
    weights = leaves_by_path(start(small_mlp(), "maml")[0].params)
    ones = {path: np.ones(leaf.shape) for path, leaf in weights.items()}
    arrays = {"mask": {layer.name: np.full(layer.units, 0.3) for layer in layers}, "rate": {}}

    def factors(rule):
        transformation = rule.begin(layers, arrays, 1.0, jax.random.key(0))
        return -np.asarray(transformation.update(ones, transformation.init(ones), ones)[0]["layers.0.kernel"])

    made = METHODS["mt_net"](mask="mean")
    assert np.isin(factors(made.rule), [0, 1]).all()
    np.testing.assert_allclose(factors(made.test_rule), 1 / (1 + math.exp(-0.3)))
    np.testing.assert_array_equal(factors(METHODS["mt_net"](mask="threshold").test_rule), 1)
    np.testing.assert_array_equal(factors(METHODS["mt_net"]().test_rule), factors(METHODS["mt_net"]().rule))


def test_layers_that_do_not_adapt_keep_their_weights() -> None:
    """A method of one's own: the first layer alone moves (and no arrays are made for the others)."""
    model = small_mlp()
    method = Method(METHODS["mt_net"]().fold, METHODS["mt_net"]().rule, adapts=lambda layers: layers[:1])
    meta = method.init(jax.random.key(0), model.layers, start(model, "maml")[0].params, INNER_LR)
    assert list(meta.fold) == ["layers.0"]
    assert list(meta.rule["mask"]) == ["layers.0"]
    meta = meta._replace(rule={"mask": {"layers.0": np.full(4, 100.0)}, "rate": {}})
    support = task_of(tasks_for(model), KEYS[0]).support
    inner = inner_for(model, method, 1)
    adapted = inner_loop(inner, starting_point(inner, meta), {}, INNER_LR, support, KEYS[0]).params
    assert_trees_close(adapted["layers"][1], meta.params["layers"][1])
    assert np.abs(adapted["layers"][0]["kernel"] - meta.params["layers"][0]["kernel"]).max() > 1e-3


@every_method
def test_bad_rates(name: str) -> None:
    for rate in (-0.1, math.nan, math.inf):
        with pytest.raises(OptionError, match=f"inner rate is {rate}"):
            METHODS[name](rate)
    assert METHODS[name](0).inner_lr == 0


def test_bad_options() -> None:
    with pytest.raises(OptionError, match=r"estimator 'secondorder'.*" + ", ".join(ESTIMATORS)):
        METHODS["maml"](meta_gradient="secondorder")
    with pytest.raises(OptionError, match=r"maml has no option 'mask'.*inner_lr, meta_gradient"):
        METHODS["maml"]().with_options(mask="mean")
    with pytest.raises(OptionError, match=r"mt_net has no option 'masks'"):
        METHODS["mt_net"]().with_options(masks="mean")
    with pytest.raises(OptionError, match="'never'"):
        METHODS["mt_net"]().with_options(mask="never")
    with pytest.raises(OptionError, match=r"of your own has no options.*mask"):
        Method(identity(), sgd()).with_options(mask="mean")
    with pytest.raises(OptionError, match="'approximate'"):
        Method(identity(), sgd(), meta_gradient="approximate")
    with pytest.raises(OptionError, match="-1"):
        Method(identity(), sgd(), inner_lr=-1)
