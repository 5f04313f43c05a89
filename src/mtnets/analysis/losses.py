"""The list of losses and metrics for people: what each is, of which targets, and its options."""

import dataclasses
import inspect
import re
from typing import Any, NamedTuple

from mtnets.inner import LOSSES, METRICS

SHAPE = re.compile(r",? `\[[^`]*\]`")  # such as `[examples]`, which means nothing in a list


class LossEntry(NamedTuple):
    """A loss, for the reader.

    Attributes:
      name: as in `LOSSES`.
      about: the equation.
      targets: numbers, or labels of classes.
      options: with their usual values, as they are written in brackets after the name.
    """

    name: str
    about: str
    targets: str
    options: str


class MetricEntry(NamedTuple):
    """A metric, for the reader.

    Attributes:
      name: as in `METRICS`.
      about: what it is.
      targets: numbers, labels of classes, or any of the two.
      better: whether higher or lower is better; a dash where that is not so simple.
    """

    name: str
    about: str
    targets: str
    better: str


def losses_and_metrics() -> tuple[list[LossEntry], list[MetricEntry]]:
    """All losses and metrics that ship."""
    losses = []
    for name, kind in LOSSES.items():
        usual: Any = kind()
        options = ", ".join(f"{field.name}={getattr(usual, field.name)!r}" for field in dataclasses.fields(usual))
        losses.append(LossEntry(name, _beginning(kind), usual.targets, options))
    better = {True: "higher", False: "lower", None: "–"}
    metrics = [
        MetricEntry(name, _beginning(metric.function), metric.targets, better[metric.higher_is_better])
        for name, metric in METRICS.items()
    ]
    return losses, metrics


def _beginning(documented: Any) -> str:
    """The first paragraph of a docstring, in one line without shapes and backticks."""
    paragraph = " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())
    return SHAPE.sub("", paragraph).replace("`", "")
