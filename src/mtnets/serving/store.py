"""The tasks that the server keeps: so many, and for so long. One thread, that of the event loop, uses it."""

import asyncio
import dataclasses
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from mtnets.inner import Batch
from mtnets.learner import AdaptedModel
from mtnets.serving.raw import Label

ID_BYTES = 16  # of randomness: ids cannot be guessed


@dataclasses.dataclass
class StoredTask:
    """A task that was learned.

    Attributes:
      learner: its name.
      model: what was adapted.
      classes: in order of the outputs; None for numbers.
      x, y: raw examples, as the learner takes them.
      support: the same as the network takes them.
      count: of examples.
      notes: sentences on what of the examples the learner does not know.
      id: names it.
      used: when it was used last.
      busy: held while it learns more, so that nothing learned is lost.
    """

    learner: str
    model: AdaptedModel
    classes: tuple[Label, ...] | None
    x: Any
    y: Any
    support: Batch
    count: int
    notes: list[str] = dataclasses.field(default_factory=list)
    id: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(ID_BYTES))
    used: float = 0.0
    busy: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)


class Store:
    """Tasks by id, that which was used last at the end.

    Args:
      most: tasks that are kept.
      seconds: for which a task is kept after its last use.
      now: the clock, in seconds.
    """

    def __init__(self, most: int, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._tasks: OrderedDict[str, StoredTask] = OrderedDict()
        self.most, self.seconds, self.now = most, seconds, now

    def __len__(self) -> int:
        self._forget()
        return len(self._tasks)

    def __iter__(self) -> Iterator[StoredTask]:
        self._forget()
        return iter(list(self._tasks.values()))

    def add(self, task: StoredTask) -> None:
        """Keeps a task, in the place of the one that was not used for longest where there are too many."""
        task.used = self.now()
        self._tasks[task.id] = task
        self._forget()
        while len(self._tasks) > self.most:
            self._tasks.popitem(last=False)

    def left(self, task: StoredTask) -> float:
        """Seconds for which a task is kept without further use, rounded up to whole ones but never more than `seconds`;
        0 for one that is no longer kept."""
        return min(self.seconds, float(max(0, math.ceil(self.seconds - (self.now() - task.used)))))

    def use(self, name: str) -> StoredTask:
        """The task of an id, which counts as used now. Raises KeyError where there is none, or no more."""
        self._forget()
        task = self._tasks[name]
        task.used = self.now()
        self._tasks.move_to_end(name)
        return task

    def remove(self, name: str) -> None:
        """Forgets a task. Raises KeyError where there is none."""
        self._forget()
        del self._tasks[name]

    def _forget(self) -> None:
        """Forgets what was not used for too long."""
        while self._tasks and self.now() - next(iter(self._tasks.values())).used >= self.seconds:
            self._tasks.popitem(last=False)
