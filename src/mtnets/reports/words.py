"""Scores in words: what they are called, how they are written, and a glossary of all that a report says."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mtnets.inner import LOSS

NAMES: Mapping[str, str] = {"mse": "mean squared error", "mae": "mean absolute error"}  # of losses
SHARES = ("accuracy", "balanced-accuracy", "coverage", "calibration-error")  # fractions that people say in per cent
MOST_DIGITS = 6  # that single precision knows
SIZES = ("sizes", "hidden", "splits")  # two of these are no range, although the second may be larger

GLOSSARY: Mapping[str, str] = {
    "task": "A few examples to learn from (the support set) and a few more to be judged by (the query set).",
    "meta-training": "Training on many tasks, so that a few gradient steps on the support set of a new task teach it.",
    "inner step, α": "One gradient step on the support set of a task, of size α.",
    "meta-step": "One step of meta-training: a batch of tasks is learned, and the start is moved so that they would "
    "have been learned better.",
    "loss": "How wrong predictions on a query set are; smaller is better.",
    "accuracy": "Share of the query examples whose class is told right.",
    "validation": "Scores on tasks that are not trained on. The learner with the best one is kept, which makes that "
    "score a little better than new tasks would give.",
    "test": "Scores on tasks that neither trained nor chose anything; the same ones for all runs on the same tasks.",
    "± and 95 % interval": "1.96 standard errors over test tasks. It says how well this number of tasks knows the mean "
    "of this learner. It says nothing of other seeds, other data or other settings.",
    "diverged": "A task whose query loss is not finite, or more than ten times what it was before adaptation.",
    "unit, mask": "A unit is one output of a layer. Where the method has masks, a task moves a unit with a learned "
    "probability, and leaves it as it is otherwise.",
    "metric T": "A matrix per layer in which the gradient is taken. The square of a singular value is the factor by "
    "which it multiplies α in one direction: 1 changes nothing, and a long slope means few directions.",
    "seed": "The number from which starting weights and all random draws are made. Other seeds give other learners.",
}  # fmt: skip


def name_of(metric: str, config: Mapping[str, Any]) -> str:
    """A score as people call it."""
    loss = config.get("loss")
    if metric != LOSS:
        return metric.replace("-", " ")
    if isinstance(loss, str):
        return NAMES.get(loss, f"loss ({loss})")
    return f"loss ({loss['name']})" if isinstance(loss, Mapping) and "name" in loss else "loss"


def mean_of(name: str) -> str:
    """The mean of a score, which may be one already: `mean accuracy`, `mean squared error`."""
    return name if name.startswith("mean ") else f"mean {name}"


def plus_minus(mean: float, half: float, metric: str = "", *, sign: bool = False, difference: bool = False) -> str:
    """A mean with half its interval, `0.544 ± 0.013` or `96.40 ± 0.41 %`: both to the second digit of the latter, where
    single precision knows it. The difference of two shares is in points, since it is no share of either."""
    percent = metric in SHARES
    if not math.isfinite(mean):
        return "not finite"
    mean, half = (100 * mean, 100 * half) if percent else (mean, half)
    known = math.isfinite(half) and half > 0
    digits = min(_digits(half, 2), _digits(mean, MOST_DIGITS)) if known else 1 if percent else _digits(mean, 4)
    written = f"{mean:{'+' if sign else ''}.{digits}f}" + (f" ± {half:.{digits}f}" if math.isfinite(half) else "")
    return written.replace("-", "−") + (" points" if difference else " %") * percent


def _digits(value: float, significant: int) -> int:
    """Digits after the point with which a number has so many that count."""
    return significant - 1 if value == 0 else max(0, significant - 1 - math.floor(math.log10(abs(value))))


def percent(share: float, digits: int = 0) -> str:
    """A share of 1."""
    return f"{100 * share:.{digits}f} %"


def plural(count: int, thing: str) -> str:
    """`1 task`, `600 tasks`."""
    return f"{count:,} {thing}{'s' * (count != 1)}".replace(",", " ")


def called(values: Mapping[str, Any], leave: tuple[str, ...] = ("name",)) -> str:
    """Options in one line: `shots 10, queries 10`. The split that comes with a data set is left out beside shares for
    one (`splits`)."""
    leave = (*leave, "split") if values.get("splits") else leave
    shown = {name: value for name, value in values.items() if name not in leave and value not in (None, "", [], {}, ())}
    return ", ".join(f"{name.replace('_', ' ')} {_plain(value, name)}" for name, value in shown.items())


def _plain(value: Any, name: str = "") -> str:
    if isinstance(value, Mapping):
        inner = called(value, leave=())
        return f"({inner})" if inner else "–"
    if isinstance(value, list | tuple):
        return (" … " if name not in SIZES and _is_range(value) else ", ").join(map(_plain, value))
    return (
        {True: "yes", False: "no"}[value]
        if isinstance(value, bool)
        else f"{value:.6g}"
        if isinstance(value, float)
        else str(value)
    )


def _is_range(values: Sequence[Any]) -> bool:
    """Whether these are two numbers, from the lower to the higher."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) == 2 and numbers[0] < numbers[1]
