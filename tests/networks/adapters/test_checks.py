"""What is found when a network is wrapped: examples that mix, and statistics that are not the support set's own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from mtnets import OptionError, wrap

W = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x - x.mean(0),
        lambda x: x / jnp.std(x, 0),
        lambda x: jax.nn.softmax(x, axis=0),
        lambda x: jnp.cumsum(x, 0),  # the batch taken for time
        lambda x: jnp.cumsum(x[::-1], 0)[::-1],
        lambda x: x + 0.01 * x.max(0),
    ],
)
@pytest.mark.parametrize("head", [1.0, 0.0])
def test_examples_that_mix(mix, head) -> None:
    """Also before a head of zeros."""
    with pytest.raises(OptionError, match="prediction for one example depends on the others in its batch"):
        wrap((lambda p, x: mix(x @ p["w"]) @ p["head"], {"w": W, "head": head * np.ones((2, 2))}), (4,))


def test_examples_that_do_not_mix() -> None:
    for alone in (jnp.tanh, lambda x: x - x.mean(-1, keepdims=True), lambda x: jax.nn.softmax(x, axis=-1)):
        wrap((lambda p, x, alone=alone: alone(x @ p["w"]), {"w": W}), (4,))


class LinenNorm(linen.Module):
    momentum: float

    @linen.compact
    def __call__(self, x, train=False):
        return linen.Dense(2)(linen.BatchNorm(not train, momentum=self.momentum)(linen.Dense(4)(x)))


def of_linen(momentum, **options):
    return wrap(LinenNorm(momentum), (8,), learning={"train": True}, predicting={"train": False}, **options)


def of_haiku(momentum, **options):
    hk = pytest.importorskip("haiku")

    def network(x, is_training=False):
        return hk.Linear(2)(hk.BatchNorm(True, True, decay_rate=momentum)(hk.Linear(4)(x), is_training))

    return wrap(hk.transform_with_state(network), (8,), learning={"is_training": True}, **options)


def of_equinox(mode):
    def build(momentum, **options):
        eqx = pytest.importorskip("equinox")

        class Network(eqx.Module):
            first: Any
            norm: Any
            last: Any

            def __init__(self, key):
                a, b = jax.random.split(key)
                self.first, self.last = eqx.nn.Linear(8, 4, key=a), eqx.nn.Linear(4, 2, key=b)
                self.norm = eqx.nn.BatchNorm(4, axis_name="batch", momentum=momentum, mode=mode)

            def __call__(self, x, state):
                x, state = self.norm(self.first(x), state)
                return self.last(x), state

        return wrap(eqx.nn.make_with_state(Network)(jax.random.key(0)), (8,), **options)

    return build


@pytest.mark.parametrize("build", [of_linen, of_haiku, of_equinox("batch"), of_equinox("ema")])
def test_statistics_of_the_support_set_alone(build) -> None:
    with pytest.raises(OptionError, match=r"depend on earlier ones .*; build its batch norm with momentum=0"):
        build(0.9, norm="support")
    build(0.9, norm="running")
    model = build(0.0, norm="support")
    params, state = model.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(50, 2, size=(10, 8)).astype(np.float32)
    state = model.apply(params, state, jnp.asarray(-x), jax.random.key(1))[1]
    after = model.apply(params, state, jnp.asarray(x), jax.random.key(1))[1]
    # the network now predicts from statistics of x: what its batch norm returns is standardised
    both = [model.apply(params, after, jnp.asarray(x), key)[0] for key in (None, jax.random.key(1))]
    np.testing.assert_allclose(*both, rtol=1e-3, atol=1e-4)


def test_predictions_from_the_batch_are_not_those_of_the_support_set() -> None:
    with pytest.raises(OptionError, match='"batch_stats" is immutable'):
        wrap(LinenNorm(0.0), (8,), norm="support", learning={"train": True}, predicting={"train": True})


def test_memory_of_a_batch_norm_of_ones_own() -> None:
    """Of any kind: only what it keeps counts."""

    class Centred(nnx.Module):
        def __init__(self, momentum, rngs):
            self.head, self.mean = nnx.Linear(4, 2, rngs=rngs), nnx.BatchStat(jnp.zeros(4))
            self.constant = nnx.Variable(jnp.ones(4))  # no statistic
            self.momentum = momentum
            self.use_running_average = False

        def __call__(self, x):
            if not self.use_running_average:
                mean = self.constant[...] * x.mean(0)
                self.mean[...] = self.momentum * self.mean[...] + (1 - self.momentum) * mean
            return self.head(x - self.mean[...])

    with pytest.raises(OptionError, match=r"a change of 1 in these changes them by 0\.5"):
        wrap(lambda rngs: Centred(0.5, rngs), (4,), norm="support")
    wrap(lambda rngs: Centred(0.0, rngs), (4,), norm="support")
