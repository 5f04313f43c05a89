"""Random tables: what they promise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets.tasks import RandomTables, StandardisedRows

TASKS = 100


@pytest.fixture(scope="module", params=["classification", "regression"])
def drawn(request):
    """Tasks of one kind, as arrays."""
    options = RandomTables(kind=request.param)
    keys = jax.random.split(jax.random.key(0), TASKS)
    return options, jax.tree.map(np.asarray, jax.jit(lambda keys: jax.lax.map(options.sample, keys))(keys))


def test_shapes_and_finite_numbers(drawn) -> None:
    options, task = drawn
    assert task.support.x.shape == (TASKS, options.examples, options.features)
    assert task.query.x.shape == (TASKS, options.queries, options.features)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(task))
    end = () if options.kind == "classification" else (1,)
    assert task.support.y.shape == (TASKS, options.examples, *end)
    assert task.query.y.shape == (TASKS, options.queries, *end)


def test_tasks_differ_in_size_and_repeat_their_rows(drawn) -> None:
    options, task = drawn
    columns = {int((x != 0).any(0).sum()) for x in task.support.x}
    assert min(columns) <= 4
    assert max(columns) >= options.features // 2
    sizes = set()
    for x, y in zip(task.support.x, task.support.y, strict=True):
        rows = np.column_stack([x, y])
        again = [n for n in range(1, len(rows)) if np.array_equal(rows[n:], rows[:-n])]
        sizes.add(again[0] if again else len(rows))
    assert len(sizes) > 10


def test_labels_are_classes_and_all_that_are_asked_can_be_learned(drawn) -> None:
    options, task = drawn
    if options.kind == "regression":
        pytest.skip("targets are no labels")
    ways = set()
    for support, query in zip(task.support.y, task.query.y, strict=True):
        seen = np.unique(support)
        assert 0 <= seen.min() <= seen.max() < options.classes
        assert set(query) <= set(seen)
        ways.add(len(seen))
    assert ways == set(range(2, options.classes + 1))


def test_supports_are_standardised(drawn) -> None:
    _, task = drawn
    lengths = np.square(task.support.x).sum(-1).mean(-1)  # of a row; √(features / real) makes it about features
    assert np.percentile(lengths, 10) > 25
    assert lengths.max() < 4 * 64
    if task.support.y.dtype == np.float32:
        np.testing.assert_allclose(task.support.y.mean(1), 0, atol=0.3)  # not 0: some rows are repeated once more


def test_there_is_something_to_learn(drawn) -> None:
    """Nearest neighbours do better than chance, and chance is what they find where labels are shuffled."""
    _, task = drawn
    distance = np.square(task.query.x[:, :, None] - task.support.x[:, None]).sum(-1)
    nearest = np.take_along_axis(task.support.y.reshape(TASKS, -1), distance.argmin(-1), axis=1)
    truth = task.query.y.reshape(TASKS, -1)
    shuffled = np.random.default_rng(0).permuted(truth, axis=1)
    if task.query.y.dtype == np.int32:
        assert (nearest == truth).mean() > (nearest == shuffled).mean() + 0.15
    else:
        assert np.median(np.abs(nearest - truth)) < np.median(np.abs(nearest - shuffled)) - 0.05


def test_what_is_not_possible_is_refused() -> None:
    for change in ({"kind": "ranking"}, {"features": 0}, {"classes": 1}, {"examples": 3}, {"shots": 0}):
        with pytest.raises(mtnets.OptionError, match=next(iter(change))):
            dataclasses.replace(RandomTables(), **change).build()


@pytest.mark.parametrize(("kind", "outputs"), [("classification", 10), ("regression", 1)])
def test_the_usual_network_fits(kind, outputs) -> None:
    family = RandomTables(kind=kind).build()
    model = family.model()
    assert model.input_shape == (64,)
    assert family.inputs == StandardisedRows(64, scales_targets=kind == "regression")
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    y, _ = jax.eval_shape(model.apply, params, state, jax.ShapeDtypeStruct((3, 64), jnp.float32), None)
    assert y.shape == (3, outputs)
