"""The doctor: is the meta-gradient right, does every layer learn, does adaptation help, and what to try if not."""

import dataclasses
from pathlib import Path
from typing import Any

from mtnets.analysis.draw import draw
from mtnets.analysis.interpret import Finding, interpret
from mtnets.analysis.measure import Measurements, measure
from mtnets.arguments import Seed, Steps, checked_arguments
from mtnets.errors import OptionError
from mtnets.inner import Distribution
from mtnets.learner.evaluate import MOST_TASKS, TEST_SEED
from mtnets.learner.learner import Learner
from mtnets.learner.meeting import check_tasks
from mtnets.tasks import Family, family_from_record


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis(Measurements):
    """The measurements of a learner, and what they mean.

    Attributes:
      findings: what the measurements mean, in sentences.
    """

    findings: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        marks = {"good": "✓", "note": "·", "warning": "!"}
        return "\n".join(f"{marks[finding.severity]} {finding.text}" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values; None for numbers that are not finite."""
        return {"findings": [finding._asdict() for finding in self.findings]} | super().to_json()

    def plot(self, path: str | Path) -> None:
        """Draws the measurements into a PNG file.

        Raises:
          OptionError: without matplotlib.
        """
        draw(self, path)


@checked_arguments
def diagnose(
    learner: Learner,
    tasks: Family | Distribution | None = None,
    num_tasks: int = 200,
    *,
    inner_steps: Steps | None = None,
    seed: Seed = TEST_SEED,
    finite_differences: bool = True,
) -> Diagnosis:
    """Examines a learner on test tasks: `print(mtnets.diagnose(learner))`.

    Args:
      learner: the learner.
      tasks: a family, whose `.test` is used, or a bare distribution. Defaults to the family of its training.
      num_tasks: how many tasks are drawn for scores.
      inner_steps: how far the curve of scores goes. Defaults to twice the steps of training, at least 5.
      seed: seed of the tasks.
      finite_differences: whether to check the meta-gradient in double precision, which compiles two more programs.

    Raises:
      OptionError: for fewer than 2 tasks or more than ten millions, or fewer steps than in training.
      RunError: without `tasks`, for a learner that was trained on tasks of your own.
    """
    if not 2 <= num_tasks <= MOST_TASKS:
        raise OptionError(f"num_tasks is {num_tasks}; it must be from 2, which an interval needs, to {MOST_TASKS}.")
    if tasks is None:
        tasks = family_from_record(learner.record.get("tasks", {}))
    if not isinstance(tasks, Family):
        check_tasks(tasks, "The tasks")
    distribution = tasks.test if isinstance(tasks, Family) else tasks
    steps = max(5, 2 * learner.inner_steps) if inner_steps is None else inner_steps
    if steps < learner.inner_steps:
        raise OptionError(f"inner_steps is {steps}; it must be at least that of training, {learner.inner_steps}.")
    measurements = measure(learner, distribution, num_tasks, steps, seed, finite_differences)
    return Diagnosis(**vars(measurements), findings=interpret(learner, measurements))
