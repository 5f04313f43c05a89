"""What a person sees while a training runs: two live lines in a terminal, plain lines elsewhere."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mtnets.memory import in_words
from mtnets.outer.loop import Advanced, Compiled, Ended, Event, Logged, Position, Validated, Validating
from mtnets.outer.opening import opening
from mtnets.outer.plan import Plan
from mtnets.processes import is_first

PLAIN_SECONDS = 10.0  # between two lines where there is no terminal
ESTIMATE_SECONDS = 2.0  # of training, before which the time that is left is not told
MOST_LAYERS = 4  # whose shares are told one by one


class Display:
    """Progress on standard error.

    Args:
      plan: of the training.
      position: where it begins.
      show: whether to show anything.
      tested: whether a test follows.
    """

    def __init__(self, plan: Plan, position: Position, show: bool = True, *, tested: bool = False) -> None:
        self._console = Console(stderr=True)
        self._show = show
        self._plan = plan
        self._total = plan.training.meta_steps
        self._tested = tested
        self._begun: tuple[float, int] | None = None  # when the first meta-steps were taken, which take longer
        self._last = 0.0
        self._estimated = False
        self._validation = ""
        self._numbers = ""  # of the last meta-steps
        self._live: Live | None = None
        if not show:
            return
        self._open(position)
        if self._console.is_terminal:
            self._live = Live(console=self._console)
            self._live.start()
            self._draw(position.step, "", "compiling")
        else:
            left = self._total - position.step
            self.note(f"compiling; {left:,} meta-steps to go" if left else f"all {self._total:,} meta-steps are taken")

    def _open(self, position: Position) -> None:
        words = list(opening(self._plan, position))
        if not self._console.is_terminal:
            for word, said in words:
                self.note(f"{word}: {said}")
            return
        grid = Table.grid(padding=(0, 2, 0, 0))
        for word, said in words:
            grid.add_row(Text(word, "dim"), Text(said))
        self._console.print(grid)

    def note(self, text: str) -> None:
        """One line that stays."""
        if self._show:
            self._console.print(text, highlight=False, markup=False, soft_wrap=not self._console.is_terminal)

    def show(self, event: Event) -> None:
        """Shows where the training is: speed, means over the last meta-steps, the share of units that move."""
        if not self._show:
            return
        match event:
            case Compiled():
                self._begun = None  # speed is counted without compilation
                self.note(f"compiled in {event.seconds:.1f} s; a meta-step needs {in_words(event.bytes)} of memory")
            case Validating():
                self._validating(event.position.step)
            case Validated():
                self._validation = self._validated(event)
                if event.position.step == self._total:  # after which no meta-steps come that would show it
                    self._last_line(event.position.step)
            case Advanced() if not isinstance(event, Logged):
                self._update(event.position.step, describe(event.metrics, event.moving))
            case Ended():
                if event.early:
                    self.note(self._reason(event.position))
                self.note(self._best(event.position))

    def _validating(self, step: int) -> None:
        """Says that a validation is under way: each time where the line goes away again, elsewhere at the end alone."""
        doing = f"validating on {self._plan.training.validation_tasks:,} tasks"
        if self._live is not None:
            self._draw(step, "", doing)
            self._live.refresh()
        elif step == self._total:
            self.note(doing)

    def _last_line(self, step: int) -> None:
        """The numbers after the last validation."""
        numbers = " · ".join(filter(None, [self._numbers, self._validation]))
        if self._live is not None:
            self._draw(step, "", numbers)
        else:
            self.note(f"{step:,}/{self._total:,} · {self._validation}")

    def _best(self, position: Position) -> str:
        """`best learner: of meta-step 3,000 of 4,000`."""
        steps = ", ".join(f"{int(step):,}" for step in position.best.step)
        of_runs = "learner: of meta-step" if self._plan.runs == 1 else "learners: of meta-steps"
        return f"best {of_runs} {steps} of {position.step:,}"

    def _validated(self, event: Validated) -> str:
        """`validation 0.44, best 0.43 at 1,000`; of several runs their mean, and no best."""
        text = f"validation {sum(event.scores) / len(event.scores):.4g}"
        best, sign = event.position.best, 1 if self._plan.criterion.higher_is_better else -1
        if self._plan.runs > 1 or not math.isfinite(score := float(best.score[0])):
            return text
        return f"{text}, best {sign * score:.4g} at {int(best.step[0]):,}"

    def _reason(self, position: Position) -> str:
        training, mark = self._plan.training, position.mark
        delta = f" by more than {training.min_delta:g}" if training.min_delta else ""
        since = f"meta-step {int(mark.step[0]):,}" if mark is not None and mark.step[0] else "the start"
        return (
            f"Stopped at meta-step {position.step:,}: {training.patience} validations were not better{delta} than that "
            f"of {since}. The best learner is kept."
        )

    def _update(self, step: int, numbers: str) -> None:
        now = time.perf_counter()
        begun, begin = self._begun = self._begun or (now, step)
        rate = (step - begin) / max(now - begun, 1e-9)
        parts = [f"{rate:,.4g} meta-steps/s", f"{duration((self._total - step) / rate)} left"] if rate else []
        self._numbers = numbers
        numbers = " · ".join(filter(None, [numbers, self._validation]))
        if rate and not self._estimated and now - begun >= ESTIMATE_SECONDS:
            self._estimated = True
            self.note(f"at {': '.join(parts)}{self._on_top()}")
        if self._live is not None:
            self._draw(step, "  ".join(parts), numbers)
        elif now - self._last >= PLAIN_SECONDS or step == self._total:
            self._last = now
            self.note(" · ".join([f"{step:,}/{self._total:,}", *parts, numbers]))

    def _on_top(self) -> str:
        """What an estimate from the first meta-steps does not hold."""
        training = self._plan.training
        parts = []
        if every := min(training.validate_every, self._total):
            parts.append(f"a validation of {training.validation_tasks:,} tasks every {every:,} meta-steps")
        if self._tested:
            parts.append(f"a test of {training.test_tasks:,} tasks at the end")
        return f", not counting {' and '.join(parts)}" if parts else ""

    def _draw(self, step: int, speed: str, numbers: str) -> None:
        """A bar that takes what the line leaves, and the numbers below it."""
        if self._live is not None:
            line = Table.grid(expand=True, padding=(0, 2, 0, 0))
            line.add_column(ratio=1)
            line.add_column(no_wrap=True)
            line.add_row(ProgressBar(max(1, self._total), step), f"{step:,}/{self._total:,}  {speed}".rstrip())
            self._live.update(Group(line, Text(numbers)))

    def close(self) -> None:
        """Ends the live lines."""
        if self._live is not None:
            self._live.stop()

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        sys.stderr.flush()


def announce(text: str, show: bool) -> None:
    """One line on standard error: what a run does after its last meta-step."""
    if show and is_first():
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def announced(doing: str, done: str, show: bool) -> Iterator[None]:
    """A line before something that may take long, and one after it with how long that was."""
    announce(f"{doing} …", show)
    begun = time.perf_counter()
    yield
    announce(f"{done} in {time.perf_counter() - begun:.1f} s", show)


def describe(metrics: Mapping[str, Any], moving: Mapping[str, float]) -> str:
    """`loss 4.1 → 0.6 · accuracy 93.2% · moving .41/.38`."""
    text = f"loss {metrics['pre_loss']:.4g} → {metrics['post_loss']:.4g}"
    if "accuracy" in metrics:
        text += f" · accuracy {metrics['accuracy']:.1%}"
    shares = [f"{share:.2f}".lstrip("0") for share in moving.values()]
    if len(shares) > MOST_LAYERS:
        return f"{text} · moving {min(shares)}–{max(shares)}"
    return f"{text} · moving {'/'.join(shares)}" if shares else text


def duration(seconds: float) -> str:
    """`2:05`, `1:02:05`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
