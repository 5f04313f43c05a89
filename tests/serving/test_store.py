"""Tasks are kept, so many and for so long."""

import pytest

from mtnets.serving.store import Store, StoredTask


def made(name: str) -> StoredTask:
    return StoredTask("sine", None, None, None, None, None, 1, id=name)


def test_the_one_that_was_not_used_for_longest_makes_room() -> None:
    store = Store(2, 10, now=lambda: 0.0)
    for name in "ab":
        store.add(made(name))
    assert store.use("a").id == "a"
    store.add(made("c"))
    assert [task.id for task in store] == ["a", "c"]
    with pytest.raises(KeyError):
        store.use("b")


def test_a_task_is_forgotten_after_a_time_without_use() -> None:
    now = [0.0]
    store = Store(9, 10, now=lambda: now[0])
    store.add(made("a"))
    store.add(made("b"))
    now[0] = 9
    store.use("a")
    now[0] = 11
    assert len(store) == 1
    with pytest.raises(KeyError):
        store.remove("b")
    store.remove("a")
    assert not len(store)


def test_what_is_left_is_above_0_while_a_task_lives_and_never_above_the_limit() -> None:
    now = [1e9 / 3]
    for limit in (10, 0.05):
        store = Store(9, limit, now=lambda: now[0])
        store.add(made("a"))
        (task,) = store
        assert store.left(task) == limit
        began, left = now[0], []
        while len(store):
            left.append(store.left(task))
            now[0] += limit / 7
        assert len(left) in (7, 8)  # by rounding
        assert all(0 < seconds <= limit for seconds in left)
        assert left == sorted(left, reverse=True)
        now[0] = began + limit
        assert store.left(task) == 0
        now[0] += 1


def test_ids_cannot_be_guessed() -> None:
    ids = {StoredTask("sine", None, None, None, None, None, 1).id for _ in range(100)}
    assert len(ids) == 100
    assert min(map(len, ids)) >= 20
