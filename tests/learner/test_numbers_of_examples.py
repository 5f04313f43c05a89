"""Tasks of many sizes share a few programs, and the results are those of programs of their own."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest

import mtnets
from mtnets import AdaptedModels, Batch, DataError, OptionError, compilation
from mtnets.inner import adapt
from mtnets.learner.data import padded, padded_size


def learner_of(loss, norm="none"):
    model = mtnets.models.mlp(2, 4, 3, norm=norm, init_std=0.5)
    method = mtnets.maml(0.1)
    params, state = model.init(jax.random.key(0))
    meta = method.init(model, params, jax.random.key(1), inner_lr=0.1, inner_steps=2)
    return mtnets.Learner(model, method, mtnets.Learned(meta, state, 0.1), 2, loss)


def examples(count, loss):
    random = np.random.default_rng(count)
    x = random.normal(size=(count, 2)).astype(np.float32)
    return x, random.integers(0, 2, count) if loss == "cross-entropy" else random.normal(size=(count, 3))


def naively(learner, x, y):
    """Weights and predictions after the inner loop on these examples alone."""

    @jax.jit
    def run(support):
        params, state, *_ = adapt(learner.inner, learner.learned, support, jax.random.key(0))
        return params, learner.model.apply(params, state, support.x, None)[0]

    return jax.device_get(run(learner.batch(x, y, learner.inputs)))


def test_sizes() -> None:
    sizes = [padded_size(count) for count in range(1, 41)]
    assert sorted(set(sizes)) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40]
    assert all(count <= size <= 1.25 * count for count, size in enumerate(sizes, 1))
    assert [padded_size(size) for size in sizes] == sizes
    assert len({padded_size(count) for count in range(1, 100_001)}) == 63


@pytest.mark.parametrize("weights", [None, np.arange(9.0)])
def test_a_padded_batch_has_the_same_mean(weights) -> None:
    x = np.random.default_rng(0).normal(size=(9, 2))
    batch = Batch(x, x[:, 0], weights)
    wider = padded(batch)
    assert len(wider.x) == len(wider.y) == len(wider.weights) == 10
    np.testing.assert_allclose(wider.mean(wider.y), batch.mean(batch.y), rtol=1e-6)
    assert padded(wider) is wider


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_results_are_those_of_programs_of_their_own(loss) -> None:
    learner, before = learner_of(loss), compilation.program.cache_info().misses
    x, y = examples(9, loss)
    expected, logits = naively(learner, x, y)
    adapted = learner.adapt(x, y)
    for a, b in zip(jax.tree.leaves(adapted.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    found = np.asarray(adapted(x))
    used = np.isfinite(found)
    assert used.all(0).sum() == (3 if loss == "mse" else 2)
    np.testing.assert_allclose(found[used], logits[used], rtol=1e-5, atol=1e-5)
    assert learner.adapt(*examples(10, loss))(x).shape == (9, 3)
    assert adapted(np.repeat(x, 4, 0)[:29]).shape == (29, 3)
    assert compilation.program.cache_info().misses - before <= 4  # adapting, folding; predicting for 10 and 32


def test_examples_are_not_repeated_where_they_would_count() -> None:
    """Batch norm counts all that are in a batch: such networks have a program for each number of examples."""
    for norm in ("support", "transductive"):
        learner = learner_of("mse", norm)
        x, y = examples(9, "mse")
        expected, logits = naively(learner, x, y)
        with pytest.warns(UserWarning, match="transductive") if norm == "transductive" else contextlib.nullcontext():
            adapted = learner.adapt(x, y)
        for a, b in zip(jax.tree.leaves(adapted.params), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(adapted(x), logits, rtol=1e-5, atol=1e-5)


def test_predictions_that_are_not_finite_are_refused() -> None:
    learner = learner_of("mse")
    x, y = examples(10, "mse")
    adapted = learner.adapt(x, y)
    large = jax.tree.map(lambda leaf: 1e3 * leaf, adapted.params)
    x[3] = 3e38
    adapted = dataclasses.replace(adapted, params=large)
    with pytest.raises(DataError, match=r"The prediction for example 3 is .*, for inputs up to 3e\+38"):
        adapted(x)
    both = jax.tree.map(lambda leaf: np.stack([leaf] * 2), large)
    many = AdaptedModels(adapted, both, {}, {}, (adapted.inputs,) * 2)
    with pytest.raises(DataError, match="The prediction for example 3 of task 1 is"):
        many(np.stack([0 * x, x]))


@pytest.mark.parametrize(("loss", "norm"), [("mse", "none"), ("cross-entropy", "support")])
def test_after_warming_up_nothing_is_compiled(loss, norm) -> None:
    learner = learner_of(loss, norm)
    learner.warm_up([5, 12], queries=[1, 7])
    compiled_before = compilation.program.cache_info().misses
    for count in (5, 12, *((11,) if norm == "none" else ())):  # padded to 12 where there is no batch norm
        x, y = examples(count, loss)
        adapted = learner.adapt(x, y)
        for queries in (1, 7):
            adapted(x[:queries].repeat(2, 0)[:queries])
    assert compilation.program.cache_info().misses == compiled_before
    learner.adapt(*examples(20, loss))
    assert compilation.program.cache_info().misses > compiled_before


def test_what_cannot_be_warmed_up_is_named() -> None:
    learner = learner_of("mse")
    with pytest.raises(OptionError, match=r"examples is \(5, 0\); it must be sizes of at least 1"):
        learner.warm_up([5, 0])
    with pytest.raises(OptionError, match=r"queries is \(\)"):
        learner.warm_up([5], [])
