"""The list of methods for people: what each does in one step, what it learns, its options, and where it is from."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mtnets.analysis.summary import summarise
from mtnets.arguments import Steps, checked_arguments
from mtnets.errors import OptionError
from mtnets.inner import METHODS, Method
from mtnets.networks.model import Model


class Entry(NamedTuple):
    """A method, for the reader.

    Attributes:
      name: as in `METHODS`.
      step: the equation of one inner step.
      learned: what is meta-learned besides the starting point.
      estimator: name of its estimator.
      options: the method's own options with their defaults. All methods also have those of `mtnets.Method`.
      parameters: how many numbers are meta-learned for a given network, including those of the network; None where the
        method does not apply to it.
      paper: its first reference.
    """

    name: str
    step: str
    learned: str
    estimator: str
    options: Mapping[str, Any]
    parameters: int | None
    paper: str


@checked_arguments
def catalogue(model: Model, inner_steps: Steps = 1) -> Iterator[Entry]:
    """All registered methods, with the number of meta-parameters for a network.

    Args:
      model: the network.
      inner_steps: of training; some methods learn rates or offsets for each step.
    """
    shared = {field.name for field in dataclasses.fields(Method)}
    for name, kind in METHODS.items():
        method = kind()
        names = [field.name for field in dataclasses.fields(kind) if field.name not in shared]
        try:
            parameters = summarise(model, method, inner_steps).total
        except OptionError:  # for example offsets per step, without normalisation
            parameters = None
        yield Entry(
            name=name,
            step=kind.equation,
            learned=kind.learned,
            estimator=method.estimator.name,
            options={option: getattr(method, option) for option in names},
            parameters=parameters,
            paper=kind.paper,
        )
