"""Use from several threads at once: each gets what it would get alone, errors included."""

from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

import mtnets
from mtnets import DataError
from mtnets.learner import Learner

THREADS = 4
CALLS = 24


@pytest.fixture(scope="module")
def learner() -> Learner:
    settings = {"meta_steps": 0, "inner_steps": 2, "validate_every": 0, "progress": False}
    network = mtnets.models.mlp(1, 6, 1, init_std=0.3)
    return mtnets.meta_train(network, mtnets.mt_net(0.05), mtnets.tasks.sinusoid(shots=5), **settings)


def outcome(learner: Learner, number: int) -> list[np.ndarray] | str:
    """What a task of this number gives: scores of an evaluation, a prediction, or an error that names the number."""
    if number % 4 == 0:
        return [mtnets.evaluate(learner, mtnets.tasks.sinusoid(shots=5), 3, seed=number).losses]
    x = np.random.default_rng(number).normal(
        size=(3 + number % 3, 1)
    )  # of several shapes: programs are compiled beside
    y = np.sin(x) if number % 4 != 1 else np.ones((number + 10, 1))
    try:
        adapted = learner.adapt(x, y, key=jax.random.key(number))
    except DataError as error:
        return str(error)
    return [np.asarray(adapted(x)), np.asarray(adapted.update(x, y)(x))]


def test_threads(learner: Learner) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        beside = list(pool.map(lambda number: outcome(learner, number), range(CALLS)))
    alone = [outcome(learner, number) for number in range(CALLS)]
    assert sum(isinstance(each, str) for each in alone) == CALLS // 4
    for a, b in zip(alone, beside, strict=True):
        if isinstance(a, str):
            assert a == b
        else:
            jax.tree.map(np.testing.assert_array_equal, a, b)
