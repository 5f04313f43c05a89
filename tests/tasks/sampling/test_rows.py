"""Tasks drawn from rows by group, on rows that say which they are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets.errors import DataError, OptionError
from mtnets.tasks.sampling.rows import Rows
from samples import draw

COUNTS = [6, 9, 5, 20]


def numbered(counts: list[int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features say group + 1 and row, the target both in one number."""
    return {
        str(g): (np.array([[g + 1, r] for r in range(n)]), np.array([[100 * (g + 1) + r] for r in range(n)]))
        for g, n in enumerate(counts)
    }


def test_a_task_is_made_of_distinct_rows_of_one_group() -> None:
    support, query = draw(Rows.of(numbered(COUNTS), shots=2, queries=3), 500)
    assert (support.x.shape, support.x.dtype) == ((500, 2, 2), np.float32)
    assert (query.y.shape, query.y.dtype) == ((500, 3, 1), np.float32)
    x = np.concatenate([support.x, query.x], 1).astype(int)  # [tasks, rows, 2]
    y = np.concatenate([support.y, query.y], 1).astype(int)
    np.testing.assert_array_equal(y[..., 0], 100 * x[..., 0] + x[..., 1])
    assert (x[..., 0] == x[:, :1, 0]).all()
    assert (x[..., 0] > 0).all()  # never padding
    assert all(len(set(rows)) == 5 for rows in x[..., 1])
    # every row of every group turns up, in the support and in the query set
    every = {(g + 1, r) for g, n in enumerate(COUNTS) for r in range(n)}
    for part in (support, query):
        assert set(map(tuple, part.x.reshape(-1, 2).astype(int))) == every


def test_groups_and_rows_are_drawn_evenly() -> None:
    tasks = 6000
    support, _ = draw(Rows.of(numbered([4, 7, 4]), shots=1, queries=1), tasks)
    group, row = support.x[:, 0].astype(int).T
    np.testing.assert_allclose(np.bincount(group - 1) / tasks, 1 / 3, atol=5 * np.sqrt(2 / 9 / tasks))
    shares = np.bincount(row[group == 2]) / (group == 2).sum()
    np.testing.assert_allclose(shares, 1 / 7, atol=5 * np.sqrt(6 / 49 / (tasks / 3)))


def test_looking_ahead() -> None:
    """Support rows are neighbours, in order; query rows are distinct later ones."""
    support, query = draw(Rows.of(numbered(COUNTS), shots=2, queries=3, ahead=True), 2000)
    group, row = support.x[..., 0].astype(int), support.x[..., 1].astype(int)
    np.testing.assert_array_equal(row[:, 1], row[:, 0] + 1)
    np.testing.assert_array_equal(query.x[..., 0], np.repeat(group[:, :1], 3, 1))
    assert (query.x[..., 1].min(1) > row[:, 1]).all()
    assert all(len(set(rows)) == 3 for rows in query.x[..., 1])
    for g, count in enumerate(COUNTS):  # from the first run to the last that leaves enough rows
        assert set(row[group[:, 0] == g + 1, 0]) == set(range(count - 4))
        assert query.x[group[:, 0] == g + 1, :, 1].max() == count - 1


def test_a_key_is_a_task() -> None:
    rows = Rows.of(numbered([30] * 30), shots=1, queries=2)
    np.testing.assert_array_equal(draw(rows, 3, seed=1).query.x, draw(rows, 3, seed=1).query.x)
    assert (draw(rows, 3, seed=1).query.x != draw(rows, 3, seed=2).query.x).any()


def test_tables_are_leaves_and_settings_are_not() -> None:
    rows = Rows.of(numbered([5] * 5), shots=1, queries=1)
    leaves = jax.tree.leaves(rows)
    assert [(leaf.shape, leaf.dtype) for leaf in leaves] == [
        ((5, 5, 2), jnp.float32),
        ((5, 5, 1), jnp.float32),
        ((5,), jnp.int32),
    ]
    again = jax.tree.unflatten(jax.tree.structure(rows), leaves)
    assert type(again) is type(rows)
    for field in dataclasses.fields(rows):
        assert getattr(again, field.name) is getattr(rows, field.name)


X, Y = np.zeros((5, 2)), np.zeros((5, 1))
HOLE = np.where(np.arange(10).reshape(5, 2) == 7, np.nan, 0.0)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "no test groups"),
        ({"a": (X, Y), "b": (X[:4], Y[:4])}, r"Group b has 4 rows, fewer than 2 shots \+ 3 queries; use fewer"),
        ({"a": (X, Y[:4])}, "Group a has 5 rows of x and 4 of y"),
        ({"a": (X, Y), "b": (X[:, :1], Y)}, "x of group b has 1 columns and that of group a has 2"),
        ({"a": (X, np.zeros(5))}, r"y of group a has type float64 and shape \(5,\); labels must be integers from 0"),
        ({"a": (X, np.array([0, 1, 2, 3, -1]))}, "labels must be integers from 0"),
        ({"a": (X, Y), "b": (X, np.arange(5))}, "y of group b has labels and that of group a has . columns"),
        ({"a": (X[:, :0], Y)}, r"x of group a has shape \(5, 0\)"),
        ({"a": (X.astype(str), Y)}, "x of group a has type <U32; it must be real numbers"),
        ({"a": (HOLE, Y)}, r"x of group a is nan at \(3, 1\); remove or replace"),
        ({"a": (X, Y + 1e300)}, r"y of group a is 1e\+300 at \(0, 0\); numbers must be within .*float32"),
    ],
)
def test_bad_tables(groups: dict[str, tuple[np.ndarray, np.ndarray]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Rows.of(groups, shots=2, queries=3, split="test")


@pytest.mark.parametrize("sizes", [{"shots": 0}, {"queries": -1}])
def test_impossible_sizes(sizes: dict[str, int]) -> None:
    name, value = next(iter(sizes.items()))
    with pytest.raises(OptionError, match=f"{name} is {value}; it must be at least 1"):
        Rows.of(numbered([20]), **sizes)


def test_labels_are_drawn_with_their_rows() -> None:
    groups = {name: (np.arange(8.0)[:, None] + 10 * i, np.arange(8) % 3) for i, name in enumerate("ab")}
    task = Rows.of(groups, shots=2, queries=3).sample(jax.random.key(1))
    for batch in task:
        assert batch.y.dtype == np.int32
        np.testing.assert_array_equal(batch.y, batch.x[:, 0] % 10 % 3)
