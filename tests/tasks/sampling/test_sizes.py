"""Groups and classes of fewer examples than a task takes: padding, which changes nothing, in every source of tasks."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

import mtnets
from mtnets import METHODS, Batch, DataError, OptionError, Task
from mtnets.inner import criterion
from mtnets.inner.loop import Inner
from mtnets.tasks import Rows
from mtnets.tasks.sampling.sizes import Sizes
from problems import (
    INNER_LR,
    One,
    assert_trees_close,
    gradient_at,
    init_of,
    offset_mlp,
    small_mlp,
    start_of,
    to_float64,
)
from samples import draw, image, png
from shops import shop_table, shop_tasks

COUNTS = [3, 4, 6, 20]
FEWEST = {"shots": 4, "queries": 5, "fewest_shots": 1, "fewest_queries": 2}
KEYS = jax.random.split(jax.random.key(3), 1)


def numbered(counts=COUNTS, columns: int = 1):
    """Groups whose rows are `100 · group + row + 1`, never 0."""
    return {
        str(i): (np.full((n, columns), 100.0 * i + 1) + np.arange(n)[:, None], np.full((n, 2), float(i)))
        for i, n in enumerate(counts)
    }


@pytest.mark.parametrize(
    ("count", "expected"), [(3, (1, 2)), (4, (2, 2)), (6, (4, 2)), (7, (4, 3)), (8, (4, 4)), (9, (4, 5)), (50, (4, 5))]
)
def test_queries_are_left_out_first_and_then_shots(count, expected) -> None:
    shots, queries = Sizes(**FEWEST).of(np.int32(count))
    assert (int(shots), int(queries)) == expected
    shots, queries = Sizes(4, 5, fewest_queries=5).of(np.int32(9))
    assert (shots, queries) == (4, 5)


@pytest.mark.parametrize("ahead", [False, True])
def test_rows_of_small_groups_are_all_used_and_others_as_before(ahead) -> None:
    small, large = Rows.of(numbered(), ahead=ahead, **FEWEST), Rows.of(numbered([20]), shots=4, queries=5, ahead=ahead)
    sizes = Sizes(**FEWEST)
    support, query = draw(small, 200)
    for x_s, w_s, x_q, w_q in zip(support.x, support.weights, query.x, query.weights, strict=True):
        shots, queries = x_s[w_s > 0, 0], x_q[w_q > 0, 0]
        group = int(shots[0]) // 100
        assert {int(row) // 100 for row in (*x_s[:, 0], *x_q[:, 0])} == {group}  # padding too is of the group
        assert (len(shots), len(queries)) == tuple(int(n) for n in sizes.of(np.int32(COUNTS[group])))
        assert len({*shots, *queries}) == len(shots) + len(queries)
        if COUNTS[group] <= sizes.total:
            assert len({*shots, *queries}) == COUNTS[group]
        if ahead:
            assert max(shots) < min(queries)
            np.testing.assert_array_equal(shots, shots[0] + np.arange(len(shots)))
    assert {int(each[0, 0]) // 100 for each in support.x} == {0, 1, 2, 3}
    same = Rows.of(numbered([20]), ahead=ahead, **FEWEST)
    for plain, padded in zip(draw(large, 5), draw(same, 5), strict=True):
        np.testing.assert_array_equal(plain.x, padded.x)
        assert plain.weights is None
        assert (np.asarray(padded.weights) == 1).all()


def real(batch: Batch) -> Batch:
    """A batch without its padding."""
    kept = np.asarray(batch.weights) > 0
    return Batch(batch.x[kept], batch.y[kept])


def of_classes(x, y, **options) -> Any:
    return mtnets.tasks.arrays(x, y, splits={"train": [0, 1], "validation": [2, 3], "test": [4, 5]}, ways=2, **options)


def uneven(columns: int = 3):
    """Six classes of 3 to 8 examples."""
    y = np.repeat(np.arange(6), np.arange(3, 9))
    return np.random.default_rng(0).normal(size=(len(y), columns)), y


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("norm", ["none", "transductive", "support"])
@pytest.mark.parametrize("source", ["rows", "classes"])
def test_padding_changes_no_meta_gradient(source, norm) -> None:
    if source == "rows":
        tasks: Any = Rows.of({"a": (np.random.default_rng(0).normal(size=(6, 3)), np.eye(6, 2))}, **FEWEST)
    else:
        tasks = of_classes(*uneven(), **FEWEST).train
    padded = to_float64(jax.device_get(tasks.sample(jax.random.key(0))))
    plain = Task(*map(real, padded))
    assert len(plain.support.x) + len(plain.query.x) < len(padded.support.x) + len(padded.query.x)
    model = small_mlp() if norm == "none" else offset_mlp(norm)
    params, state = start_of(model)
    judges = criterion("mse", metrics={"mae": "mae"}) if source == "rows" else criterion("cross-entropy")
    run = functools.partial(gradient_at, Inner(model, METHODS["maml"](), judges, 2))
    one, other = (
        jax.jit(lambda meta, task=task: run(meta, state, INNER_LR, One(task), KEYS))(init_of(model, "maml")(params))
        for task in (plain, padded)
    )
    assert_trees_close(other.gradient, one.gradient, rtol=1e-9, atol=1e-12)
    assert_trees_close(other.metrics, one.metrics, rtol=1e-9)


@pytest.mark.parametrize("on_host", [False, True])
def test_classes_of_arrays(on_host) -> None:
    x, y = uneven(1)
    support, query = draw(of_classes(100.0 * y[:, None] + x, y, on_host=on_host, **FEWEST).train, 20)
    assert support.weights.shape == (20, 8)
    for s, ws, q, wq in zip(support.x, support.weights, query.x, query.weights, strict=True):
        each = [sorted({*part[weights > 0, 0]}) for part, weights in ((s, ws), (q, wq))]
        assert [len(part) for part in each] == [1 + 2, 2 + 2]  # the class of 3 examples, and that of 4
        assert not {*each[0]} & {*each[1]}


def test_classes_of_image_folders(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MTNETS_CACHE", str(tmp_path / "cache"))
    for split in ("train", "val", "test"):
        for c in range(2):
            for i in range(3 + c):
                path = tmp_path / "data" / split / f"{split}-{c}" / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(image(i)))
    options = {"root": str(tmp_path / "data"), "ways": 2, "shots": 2, "queries": 3}
    with pytest.raises(DataError, match=r"Class train-0 has 3 examples, fewer than 2 shots \+ 3 queries; use fewer"):
        mtnets.tasks.folder(**options)
    family = mtnets.tasks.folder(**options, fewest_queries=1)
    task = family.train.sample(jax.random.key(0))
    assert task.support.x.shape == (4, 8, 8, 3)
    assert task.support.weights.sum() == 4
    assert task.query.weights.sum() == 1 + 2
    again = mtnets.tasks.family_from_record(mtnets.tasks.options_to_record(family.options))
    assert again.options == family.options


@pytest.mark.slow
def test_tasks_of_a_table() -> None:
    pytest.importorskip("pandas", reason="the table is a data frame of pandas")
    frame = shop_table(each=8)
    with pytest.raises(DataError, match="Task shop 0 has 8 rows, fewer than 5 shots"):
        shop_tasks(frame)
    family = shop_tasks(frame, fewest_shots=2)
    support, query = draw(family.train, 10)
    assert (np.asarray(support.weights).sum(1) == 3).all()
    assert (np.asarray(query.weights).sum(1) == 5).all()
    options = {"meta_steps": 2, "meta_batch": 2, "validate_every": 0, "progress": False}
    learner = mtnets.meta_train(None, mtnets.maml(0.1), family, **options)
    assert np.isfinite(mtnets.evaluate(learner, family, 4).scores).all()
    few = shop_tasks(frame.drop(index=range(6)), fewest_shots=2, leave_out_small=True)
    assert "shop 0" not in {name for names in few.classes.values() for name in names}


def test_datasets_of_hugging_face() -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets need mtnets[datasets]")
    x, y = uneven(1)
    dataset = datasets.Dataset.from_dict({"x": x[:, 0], "label": y})
    splits = {"train": [0, 1], "validation": [2, 3], "test": [4, 5]}
    family = mtnets.tasks.hugging_face(dataset, splits=splits, ways=2, **FEWEST)
    assert family.train.sample(jax.random.key(0)).query.weights.sum() == 4


class Lazy:
    """A sequence of tasks of several sizes, as Grain's `MapDataset` is: fetched one at a time."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int):
        n = 2 + i
        x = np.random.default_rng(i).normal(size=(n + 1, 3))
        return (x[:n], x[:n, :1]), (x[n:], x[n:, :1])


def test_sequences_of_tasks_such_as_those_of_grain() -> None:
    family = mtnets.tasks.from_sequence(Lazy(), Lazy(), Lazy(), loss="mse", most=(6, 1))
    support, _ = draw(family.train, 20)
    assert {int(weights.sum()) for weights in np.asarray(support.weights)} == {2, 3, 4, 5, 6}
    grain = pytest.importorskip("grain", reason="the last sequence is one of Grain")
    tasks = grain.MapDataset.source(Lazy())
    family = mtnets.tasks.from_sequence(tasks, tasks, tasks, loss="mse", most=(6, 1))
    np.testing.assert_array_equal(draw(family.train, 20).support.weights, support.weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fewest_shots": 0}, "fewest_shots is 0; it must be from 1 to 4, which is shots"),
        ({"fewest_shots": 5}, "fewest_shots is 5; it must be from 1 to 4"),
        ({"fewest_queries": 6}, "fewest_queries is 6; it must be from 1 to 5, which is queries"),
        ({"shots": 0}, "shots is 0; it must be at least 1"),
    ],
)
def test_impossible_sizes(options, message) -> None:
    x, y = uneven()
    with pytest.raises(OptionError, match=message):
        Rows.of(numbered(), **{"shots": 4, "queries": 5, **options})
    with pytest.raises(OptionError, match=message):
        of_classes(x, y, **{"shots": 4, "queries": 5, **options})


def test_what_is_smaller_than_the_fewest_is_named() -> None:
    with pytest.raises(
        DataError, match=r"Group 0 has 3 rows, fewer than the 2 shots \+ 2 queries that will do; use fewer"
    ):
        Rows.of(numbered(), **FEWEST | {"fewest_shots": 2})
    x, y = uneven()
    with pytest.raises(DataError, match=r"Class 0 has 3 examples, fewer than the 4 shots \+ 2 queries that will"):
        of_classes(x, y, shots=4, queries=5, fewest_queries=2)
