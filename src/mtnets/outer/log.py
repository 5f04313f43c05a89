"""Lines of the log: what is told of a training as it goes, to `metrics.jsonl` and to whoever listens."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mtnets.outer.loop import Event, Logged, Validated, as_alone
from mtnets.outer.plan import Plan
from mtnets.processes import is_first

Line = Mapping[str, Any]
OnLog = Callable[[Line], object]
FAILED = 1 << 16  # in the place of a signal's number, above all of them: a listener has failed


def line_of(event: Event, seconds: float) -> dict[str, Any] | None:
    """The line that is due where something happened; None where none is.

    Args:
      event: what happened.
      seconds: of training until now.
    """
    begin = {"step": event.position.step, "seconds": round(seconds, 3)}
    match event:
        case Logged(metrics=metrics, moving=moving):
            skipped = int(event.position.outer.skipped.sum())
            return {**begin, **metrics, "moving": dict(moving), "skipped": skipped}
        case Validated(scores=scores):
            return {**begin, "validation": list(scores)}
    return None


def lines_of(plan: Plan, event: Event, seconds: float) -> Iterator[dict[str, Any]]:
    """The lines that are due, one for each run; of several runs each tells which it is."""
    if isinstance(event, Logged | Validated):
        for run, (seed, inner_lr) in enumerate(zip(plan.seeds, plan.inner_lrs, strict=True)):
            line = line_of(as_alone(plan, event, run), seconds) or {}
            yield line if plan.runs == 1 else {"seed": seed, "inner_lr": inner_lr, **line}


class Listener:
    """Tells lines to the user's function, and keeps the error that it raises until there is a checkpoint.

    Args:
      on_log: the function, if any.
    """

    def __init__(self, on_log: OnLog | None) -> None:
        self._on_log = on_log
        self._error: Exception | None = None

    @property
    def signal(self) -> int:
        """Asks the training to stop, as the number of a signal does; 0 while nothing has failed."""
        return 0 if self._error is None else FAILED

    def tell(self, lines: Iterable[Line]) -> None:
        """Tells lines, unless an earlier one has failed. Of several processes the first one alone tells them."""
        if self._on_log is None or self._error is not None or not is_first():
            return
        try:
            for line in lines:
                self._on_log(line)
        except Exception as error:
            self._error = error

    def check(self) -> None:
        """Raises what the function has raised, if anything."""
        if self._error is not None:
            raise self._error
