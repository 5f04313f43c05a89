"""What a person sees while a training runs: a live line in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mtnets.memory import in_words
from mtnets.outer.loop import Advanced, Compiled, Event, Logged

PLAIN_SECONDS = 10.0  # between two lines where there is no terminal


class Display:
    """Progress on standard error.

    Args:
      start: meta-step to begin with.
      total: meta-steps of the training.
      show: whether to show anything.
    """

    def __init__(self, start: int, total: int, show: bool = True) -> None:
        self._console = Console(stderr=True)
        self._show = show
        self._total = total
        self._begun = (time.perf_counter(), start)
        self._last = 0.0
        self._live: Progress | None = None
        if show and self._console.is_terminal:
            self._live = Progress(
                TextColumn("meta-training"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._live.start()
            self._bar = self._live.add_task("", total=total, completed=start, text="compiling")
        elif show:
            self.note(f"compiling; {total - start} meta-steps to go")

    def note(self, text: str) -> None:
        """One line that stays."""
        if self._show:
            self._console.print(text, highlight=False, soft_wrap=True)

    def show(self, event: Event) -> None:
        """Shows where the training is: speed, means over the last meta-steps, the share of units that move."""
        if isinstance(event, Compiled):
            self._begun = (time.perf_counter(), event.position.step)  # speed is counted without compilation
            self.note(f"compiled in {event.seconds:.1f} s; a meta-step needs {in_words(event.bytes)} of memory")
        elif isinstance(event, Advanced) and not isinstance(event, Logged) and self._show:
            self._update(event.position.step, event.metrics, event.moving)

    def _update(self, step: int, metrics: Mapping[str, float], moving: Mapping[str, float]) -> None:
        now = time.perf_counter()
        rate = (step - self._begun[1]) / max(now - self._begun[0], 1e-9)
        text = f"{rate:.4g} meta-steps/s · {describe(metrics, moving)}"
        if self._live is not None:
            self._live.update(self._bar, completed=step, text=text)
        elif now - self._last >= PLAIN_SECONDS or step == self._total:
            self._last = now
            left = (self._total - step) / max(rate, 1e-9)
            self.note(f"{step}/{self._total} · {int(left // 60)}:{int(left % 60):02d} left · {text}")

    def close(self) -> None:
        """Ends the live line."""
        if self._live is not None:
            self._live.stop()

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        sys.stderr.flush()


def describe(metrics: Mapping[str, Any], moving: Mapping[str, float]) -> str:
    """`loss 4.1 → 0.6 · accuracy 93.2 % · moving .41/.38`."""
    text = f"loss {metrics['pre_loss']:.4g} → {metrics['post_loss']:.4g}"
    if "accuracy" in metrics:
        text += f" · accuracy {metrics['accuracy']:.1%}"
    if moving:
        text += " · moving " + "/".join(f"{share:.2f}".lstrip("0") for share in moving.values())
    return text
