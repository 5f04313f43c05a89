"""What a meta-step of a plan takes, by the program that `meta_train` runs."""

import statistics
from typing import NamedTuple

from mtnets.outer.loop import begin
from mtnets.outer.phases import Phases
from mtnets.outer.plan import Plan


class Cost(NamedTuple):
    """What a meta-step costs.

    Attributes:
      seconds: the median of several measurements.
      bytes: of memory, see `mtnets.memory_needed`.
      compile_seconds: before the first one.
    """

    seconds: float
    bytes: int
    compile_seconds: float


def cost(plan: Plan, repeats: int, seconds: float, *, steps: int = 0) -> Cost:
    """The cost of a meta-step.

    Args:
      plan: of a training that is longer than the measurement.
      repeats: measurements.
      seconds: that each of them takes, about.
      steps: how many meta-steps each of them takes instead, for processes that must take equally many; 0 goes by
        `seconds`.
    """
    phases, start = Phases(plan), begin(plan)

    def meta_step(steps: int) -> float:
        return phases.run(0, steps, start.outer, start.sums)[2] / steps

    meta_step(2)  # compiles
    steps = steps or max(2, int(seconds / max(meta_step(2), 1e-5)))
    return Cost(statistics.median(meta_step(steps) for _ in range(repeats)), phases.bytes, phases.compile_seconds)
