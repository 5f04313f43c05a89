"""Requests gather into calls, a bounded number at a time, and none is lost."""

import asyncio
import dataclasses
import threading

import pytest

from mtnets.errors import DataError
from mtnets.serving.batching import Batcher, Busy
from mtnets.serving.limits import Limits
from mtnets.serving.metrics import Metrics

CALLS: list[list[int]] = []


@dataclasses.dataclass(frozen=True, eq=False)
class Doubling:
    number: int
    kind = "double"
    gate = threading.Event()

    @property
    def alike(self):
        return self.number % 2

    @classmethod
    def run(cls, works):
        cls.gate.wait(5)
        CALLS.append([work.number for work in works])
        if any(work.number == 13 for work in works):
            raise ZeroDivisionError
        return [DataError("It is seven.") if work.number == 7 else 2 * work.number for work in works]


@pytest.fixture(autouse=True)
def fresh():
    CALLS.clear()
    Doubling.gate.set()


async def answered(numbers, limits, *, during=None):
    batcher = Batcher(limits, Metrics())
    runner = asyncio.create_task(batcher.run())
    asked = [asyncio.create_task(batcher.answer(lambda n=n: Doubling(n))) for n in numbers]
    while batcher.inside < sum(not task.done() for task in asked):
        await asyncio.sleep(0.001)
    if during:
        await during(batcher, asked)
    Doubling.gate.set()
    batcher.stop()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    await runner
    assert batcher.inside == 0
    return answers


def test_works_that_are_alike_are_one_call() -> None:
    Doubling.gate.clear()  # the first call takes its time, and the others gather
    assert asyncio.run(answered(range(20, 29), Limits(together=4))) == [2 * n for n in range(20, 29)]
    assert sorted(n for call in CALLS for n in call) == list(range(20, 29))
    assert len(CALLS) < 9
    assert all(len({n % 2 for n in call}) == 1 and len(call) <= 4 for call in CALLS)


def test_an_error_is_that_of_its_own_request() -> None:
    answers = asyncio.run(answered([5, 7, 2, 4], Limits()))
    assert answers[0] == 10
    assert isinstance(answers[1], DataError)
    assert answers[2:] == [4, 8]


def test_a_failure_of_the_server_ends_a_call_and_not_the_server() -> None:
    answers = asyncio.run(answered([13, 2], Limits()))
    assert isinstance(answers[0], ZeroDivisionError)
    assert answers[1] == 4


def test_one_more_than_may_wait() -> None:
    async def one_more(batcher, _):
        with pytest.raises(Busy):
            await batcher.answer(lambda: Doubling(1))

    Doubling.gate.clear()
    assert asyncio.run(answered([1, 2], Limits(waiting=2), during=one_more)) == [2, 4]


def test_a_client_that_left_is_not_answered() -> None:
    async def leave(_, asked):
        asked[-1].cancel()

    Doubling.gate.clear()
    answers = asyncio.run(answered([1, 2, 3, 4], Limits(together=1), during=leave))
    assert answers[:3] == [2, 4, 6]
    assert isinstance(answers[3], asyncio.CancelledError)
    assert [4] not in CALLS


def test_what_cannot_be_prepared_is_never_run() -> None:
    async def asked():
        batcher = Batcher(Limits(), Metrics())
        with pytest.raises(DataError, match="not this"):
            await batcher.answer(refuse)
        assert batcher.inside == 0

    def refuse():
        raise DataError("not this")

    asyncio.run(asked())
