"""The memory that a training needs, found before it begins, and the settings that need less."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Unpack

import optax

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError, warn
from mtnets.inner import Distribution, Exact, LossLike, Method, MetricLike
from mtnets.memory import available, in_words
from mtnets.networks.model import Model
from mtnets.outer.loop import begin
from mtnets.outer.phases import Phases
from mtnets.outer.plan import Plan, make_plan, with_tasks_at_once
from mtnets.outer.settings import TrainingOptions
from mtnets.tasks import Family


class Need(NamedTuple):
    """What a training needs with some settings, all of which give the same gradients.

    Attributes:
      bytes: of a meta-step, with all that it begins with and leaves: on each device, or for all devices of a CPU.
      tasks_at_once: tasks that a device runs at the same time.
      remat_every: inner steps after each of which `Exact` keeps the weights; 0 keeps everything, None means another
        estimator.
    """

    bytes: int
    tasks_at_once: int
    remat_every: int | None

    def __str__(self) -> str:
        again = f", estimator=Exact(remat_every={self.remat_every})" if self.remat_every else ""
        return f"{in_words(self.bytes)} with tasks_at_once={self.tasks_at_once}{again}"


@checked_arguments
def memory_needed(
    model: Model | None,
    method: Method,
    tasks: Family | Distribution,
    *,
    loss: LossLike | None = None,
    inner_loss: LossLike | None = None,
    metrics: Mapping[str, MetricLike] | None = None,
    best: str | None = None,
    optimiser: optax.GradientTransformation | None = None,
    **options: Unpack[TrainingOptions],
) -> list[Need]:
    """The memory that `meta_train` would need with these arguments, and then with settings that need less.

    Programs are compiled and not run: it is what XLA reserves for a meta-step, besides the libraries themselves and
    what compilation takes. Validation and test need less.

    Args:
      model: as all others, an argument of `meta_train`.

    Returns:
      What the training needs, and then what needs less, most first.

    Raises:
      OptionError: for settings that are not possible, and for a training of no meta-steps.
    """
    judged: dict[str, Any] = {"loss": loss, "inner_loss": inner_loss, "metrics": metrics, "best": best}
    plan = make_plan(model, method, tasks, **judged, optimiser=optimiser, options=options)
    if not plan.training.meta_steps:
        raise OptionError("meta_steps is 0, and a training of no meta-steps needs no memory; ask for one at least.")
    first = _need(plan)
    return [first, *lighter(plan, first)]


def lighter(plan: Plan, need: Need) -> list[Need]:
    """What plans need that differ in their use of memory alone, as far as it is less; most first."""
    others = (_need(variant) for variant in _variants(plan, need))
    return sorted((other for other in others if other.bytes < need.bytes), reverse=True)


def warn_of_memory(plan: Plan, phases: Phases) -> None:
    """Warns where a training needs more memory than there is."""
    there, method = available(), plan.method
    if there is None or phases.bytes <= there:
        return
    need = Need(phases.bytes, plan.program.at_once, _kept(method))
    others = lighter(plan, need)
    less = f"; {', '.join(map(str, others))}" if others else "; nothing that gives the same gradient needs less"
    warn(f"A meta-step needs {need}, and {in_words(there)} are free{less}.")


def _kept(method: Method) -> int | None:
    return method.estimator.remat_every if isinstance(method.estimator, Exact) else None


def _need(plan: Plan) -> Need:
    """What the phase of a plan needs that needs most."""
    phases, start, total = Phases(plan), begin(plan), plan.training.meta_steps
    step, most = 0, 0
    while step < total:
        phases.compile(step, start.outer, start.sums)
        step, most = phases.end(step), max(most, phases.bytes)
    return Need(most, plan.program.at_once, _kept(plan.method))


def _variants(plan: Plan, need: Need) -> Iterator[Plan]:
    """Plans with fewer tasks at once, and with inner steps that are computed again; the root of their number, which
    needs least, and two, which takes least time."""
    root = math.isqrt(plan.training.inner_steps)
    again = {2, root} if need.remat_every == 0 and plan.training.inner_steps > 2 else set()
    kept = [need.remat_every, *sorted(every for every in again if every > 1)]
    for at_once, every in itertools.product(sorted({need.tasks_at_once, 1}), kept):
        if (at_once, every) == need[1:]:
            continue
        method = plan.method if every is None else dataclasses.replace(plan.method, estimator=Exact(remat_every=every))
        yield dataclasses.replace(with_tasks_at_once(plan, at_once), method=method)
