"""Concurrent requests as few compiled calls: they wait for each other a moment, and a bounded number at a time."""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mtnets.errors import MtnetsError
from mtnets.serving.limits import Limits
from mtnets.serving.metrics import Metrics
from mtnets.serving.work import Work

READERS = 2  # threads that make arrays of requests, beside the one that computes


class Busy(Exception):
    """As many requests wait as may."""


class Batcher:
    """Runs works one call after another in a thread of its own; those that are alike as one call.

    While a call runs, others gather, so that the calls grow with the load. The window is for the first of them.

    Args:
      limits: how many may wait, how many make a call, and for how long the first one waits.
      metrics: what is counted.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self.inside = 0  # requests that wait or run
        self._ending = False
        self._queue: asyncio.Queue[tuple[Work, asyncio.Future[Any]] | None] = asyncio.Queue()
        self._device = ThreadPoolExecutor(1, "device")
        self._readers = ThreadPoolExecutor(READERS, "reader")

    async def answer(self, prepare: Callable[[], Work]) -> Any:
        """The result of a work, which `prepare` makes in another thread.

        Raises:
          Busy: if as many requests wait as may.
          MtnetsError: that of the work.
        """
        if self._ending or self.inside >= self.limits.waiting:
            raise Busy
        self.inside += 1
        self.metrics.inside.set(self.inside)
        try:
            loop = asyncio.get_running_loop()
            work = await loop.run_in_executor(self._readers, prepare)
            done: asyncio.Future[Any] = loop.create_future()
            self._queue.put_nowait((work, done))
            return await done
        finally:
            self.inside -= 1
            self.metrics.inside.set(self.inside)
            if self._ending:
                self._queue.put_nowait(None)

    async def run(self) -> None:
        """Answers until `stop`, and then what is still there."""
        loop = asyncio.get_running_loop()
        while not self._ending or self.inside:
            first = await self._queue.get()
            if first is None:  # it is time to look whether this is the end
                continue
            gathered = await self._gathered(first)
            groups: dict[Hashable, list[tuple[Work, asyncio.Future[Any]]]] = {}
            for work, done in gathered:
                if not done.cancelled():  # its client has left
                    groups.setdefault(work.alike, []).append((work, done))
            for group in groups.values():
                await loop.run_in_executor(self._device, self._run, loop, group)
        self._device.shutdown()
        self._readers.shutdown()

    async def on_device(self, function: Callable[..., Any], *args: Any) -> Any:
        """The result of a function that computes, between calls of works."""
        return await asyncio.get_running_loop().run_in_executor(self._device, function, *args)

    def stop(self) -> None:
        """Lets `run` end when all that is there was answered."""
        self._ending = True
        self._queue.put_nowait(None)

    async def _gathered(self, first: Any) -> list[Any]:
        """Works that wait."""
        gathered, until = [first], time.monotonic() + self.limits.window_ms / 1000
        while len(gathered) < self.limits.together:
            try:
                item = self._queue.get_nowait()
            except asyncio.QueueEmpty:
                left = until - time.monotonic()
                if left <= 0 or self.inside <= len(gathered):  # nobody else is on the way
                    break
                try:
                    item = await asyncio.wait_for(self._queue.get(), left)
                except TimeoutError:
                    break
            if item is not None:
                gathered.append(item)
        return gathered

    def _run(self, loop: asyncio.AbstractEventLoop, group: Sequence[tuple[Work, asyncio.Future[Any]]]) -> None:
        """Runs works that are alike, in the thread of the device."""
        works = [work for work, _ in group]
        start = time.perf_counter()
        results: Sequence[Any]
        try:
            results = type(works[0]).run(works)
        except Exception as error:  # the server goes on, and the request is told
            results = [error] * len(works)
        self.metrics.call(works[0].kind, len(works), time.perf_counter() - start)
        for (_, done), result in zip(group, results, strict=True):
            loop.call_soon_threadsafe(_settle, done, result)


def _settle(done: "asyncio.Future[Any]", result: Any) -> None:
    if done.cancelled():
        return
    if isinstance(result, Exception):
        # an error of its own for each, since raising one adds to its traceback
        done.set_exception(type(result)(str(result)) if isinstance(result, MtnetsError) else result)
    else:
        done.set_result(result)
