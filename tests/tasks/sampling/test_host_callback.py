"""Errors of data on the host reach the call of a program that they belong to, and no other."""

import functools
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from mtnets import DataError, Task
from mtnets.devices import AXIS, map_over
from mtnets.inner import Batch
from mtnets.tasks.inputs.base import AS_THEY_ARE
from mtnets.tasks.sampling import Mixture, surfacing
from mtnets.tasks.sampling.user_tasks import FromFunction

LIKE = jax.ShapeDtypeStruct((1,), np.float32)
CALLS = 400


def number(words) -> Task:
    """A task that holds the number of its key; odd ones fail."""
    n = int(words[-1])
    if n % 2:
        raise DataError(f"Number {n}.")
    part = Batch(*(np.full(1, n, np.float32),) * 2)
    return Task(part, part)


def tasks() -> FromFunction:
    return FromFunction(number, Task(Batch(LIKE, LIKE), Batch(LIKE, LIKE)), AS_THEY_ARE)


def keys(n: int, count: int = 4) -> jax.Array:
    """The same key several times, whose last word is n."""
    return jax.random.wrap_key_data(np.full((count, 2), n, np.uint32))


def sample(distribution, key):
    return distribution.sample(key).query.x


@jax.jit
def batched(distribution, keys):
    return jax.vmap(functools.partial(sample, distribution))(keys)


@functools.partial(jax.jit, static_argnums=2)
def sharded(distribution, keys, at_once):
    return map_over(sample, distribution, keys, at_once=at_once, mesh=Mesh(jax.devices()[:2], (AXIS,)))


def call(program, distribution, n: int) -> bool:
    """Whether a call of a program gives its own numbers, or raises the error of its own number."""
    try:
        with surfacing():
            values = np.asarray(program(distribution, keys(n)))
    except DataError as error:
        return n % 2 == 1 and str(error) == f"Number {n}."
    return n % 2 == 0 and bool((values == n).all())


@pytest.mark.parametrize(
    "program",
    [batched, functools.partial(sharded, at_once=1), functools.partial(sharded, at_once=2)],
    ids=["batched", "sharded, one after another", "sharded"],
)
@pytest.mark.parametrize("shared", [True, False])
def test_errors_stay_in_their_thread(program, shared) -> None:
    """Whether threads share a distribution, and so the program, or each has its own."""
    mine, one = threading.local(), tasks()

    def in_thread(n: int) -> bool:
        if not hasattr(mine, "tasks"):
            mine.tasks = one if shared else tasks()
        return call(program, mine.tasks, n)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(in_thread, range(CALLS)))


def test_nested_calls() -> None:
    """An error belongs to the innermost block around the call; a mixture passes it on."""
    mixed = Mixture((tasks(), tasks()), jnp.ones(2) / 2)
    draw = jax.jit(sample)
    with surfacing():
        failures = 0
        for n in range(20):
            try:
                with surfacing():
                    draw(mixed, jax.random.key(n)).block_until_ready()
            except DataError:
                failures += 1
    assert 0 < failures < 20


def test_an_error_that_nobody_asks_for_is_logged(caplog) -> None:
    with caplog.at_level(logging.ERROR):
        assert np.isnan(np.asarray(batched(tasks(), keys(3)))).all()
    assert "Number 3." in caplog.text
    with surfacing():  # and belongs to nobody else
        assert np.isfinite(np.asarray(batched(tasks(), keys(4)))).all()


def test_an_error_goes_before_its_consequences() -> None:
    def use(values) -> None:
        if np.isnan(np.asarray(values)).any():
            raise FloatingPointError

    with pytest.raises(DataError, match="Number 5"), surfacing():
        use(batched(tasks(), keys(5)))
