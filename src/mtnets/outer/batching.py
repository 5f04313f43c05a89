"""How many tasks a device runs at the same time, chosen by trying: the same gradients, whichever is fastest."""

import math
from collections.abc import Callable

from mtnets.memory import available
from mtnets.outer.loop import Position
from mtnets.outer.phases import Phases
from mtnets.outer.plan import Plan, with_tasks_at_once
from mtnets.processes import agreed, largest

TRIAL_SECONDS = 0.5  # of meta-steps, for each number of tasks that is tried
TRIALS = 3  # the shortest counts: other work on the machine only adds


def fastest(plan: Plan, position: Position, note: Callable[[str], None]) -> Phases:
    """The programs of the plan with the number of tasks at once that takes the shortest time per meta-step.

    One by one, the square root of their number, and all at once are tried, as far as they fit in memory.

    Args:
      plan: of a training.
      position: where it begins; it is not changed.
      note: takes a line that says what was tried and chosen.
    """
    tried: list[tuple[float, int, Phases]] = []
    for count in _candidates(plan):
        phases = Phases(with_tasks_at_once(plan, count))
        phases.compile(position.step, position.outer, position.sums)
        free = available()
        if largest(bool(tried) and free is not None and phases.bytes > free):
            break  # more tasks would need more
        tried.append((_seconds(phases, position), count, phases))
    times = ", ".join(f"{count}: {1000 * seconds:.3g} ms" for seconds, count, _ in tried)
    _, chosen, phases = min(tried, key=lambda trial: trial[0])
    note(f"tasks at once, and what a meta-step takes: {times}; the run takes {chosen}")
    return phases


def _candidates(plan: Plan) -> list[int]:
    """One by one, chunks, all at once: divisors of the number of tasks on a device."""
    tasks = plan.training.meta_batch // plan.devices
    divisors = [d for d in range(1, tasks + 1) if tasks % d == 0]
    chunk = min(divisors, key=lambda d: abs(math.log(d / math.sqrt(tasks))))
    return sorted({1, chunk, tasks})


def _seconds(phases: Phases, position: Position) -> float:
    """How long a meta-step takes."""

    def run(steps: int) -> float:
        return agreed(phases.run(position.step, position.step + steps, position.outer, position.sums)[2] / steps)

    run(1)  # which may still load what a device needs
    steps = max(1, int(TRIAL_SECONDS / TRIALS / max(run(1), 1e-6)))
    seconds = min(run(steps) for _ in range(TRIALS))
    phases.train_seconds, phases.meta_steps = 0.0, 0  # trials are no part of the training
    return seconds
