"""The list of methods for people: what each does in one step, what it learns, how much of it, and where it is from."""

import inspect
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import jax

from mtnets.errors import OptionError
from mtnets.inner.methods import METHODS
from mtnets.networks.model import Model


class Entry(NamedTuple):
    """A method, for the reader.

    Attributes:
      name: as in `METHODS`.
      step: one inner step, from the first line of its docstring.
      learned: what is meta-learned besides the starting point.
      estimator: name of its estimator.
      parameters: numbers that are meta-learned for a given network, the network's own included; None where the method
        does not apply to it.
      paper: its first reference.
    """

    name: str
    step: str
    learned: str
    estimator: str
    parameters: int | None
    paper: str


def catalogue(model: Model, inner_steps: int = 1) -> Iterator[Entry]:
    """All registered methods, with their meta-parameters for a network.

    Args:
      model: the network.
      inner_steps: of training; learned rates and offsets of each step count with it.
    """
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    for name, build in METHODS.items():
        made = build()

        def init(params: object, method: object = made) -> object:
            return method.init(jax.random.key(0), model.layers, params, 0.1, inner_steps, model.fixed, model.norm)  # type: ignore[attr-defined]

        try:
            leaves = jax.tree.leaves(jax.eval_shape(init, params))
            count = sum(math.prod(leaf.shape) for leaf in leaves)
        except OptionError:  # per-step offsets without normalisation, a context vector with it
            count = None
        doc = inspect.getdoc(build) or ""
        yield Entry(name, _first(doc), _learned(doc), made.estimator.name, count, _paper(doc))


def _first(doc: str) -> str:
    """The first paragraph on one line, without the marks of code."""
    return " ".join(doc.split("\n\n", maxsplit=1)[0].split()).replace("`", "")


def _learned(doc: str) -> str:
    found = [part for part in doc.split("\n\n") if part.startswith("Learned: ")]
    return " ".join(found[0].split()).removeprefix("Learned: ").rstrip(".").replace("`", "") if found else "?"


def _paper(doc: str) -> str:
    """`Lee & Choi 2018, arXiv 1801.05558` from the first reference."""
    text = " ".join(doc.partition("References:")[2].split("\n\n")[0].split())
    year, number = re.search(r"\b(19|20)\d\d\b(?!\.)", text), re.search(r"arXiv \d{4}\.\d{5}", text)
    if not year or not number:
        return text
    first = text.split(",")[0].removesuffix(f" {year[0]}")
    names = first if "&" in first or "et al" in first else f"{first} et al."
    return f"{names} {year[0]}, {number[0]}"
