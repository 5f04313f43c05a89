"""Raw data as arrays with names, which an exported program takes and makes inputs of the network of by itself."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from mtnets.networks.exports.program import Field, names_of, random_inputs


class RawForm(NamedTuple):
    """Raw examples in an exported program.

    Attributes:
      fields: the arrays by name.
      prepared: `prepared(arrays)`, what `Inputs.prepare` makes of the examples, in a program.
      raw: `raw(arrays)`, the same examples as an adapted model takes them.
      made_up: `made_up(count, random)`, arrays of examples that may occur.
    """

    fields: Mapping[str, Field]
    prepared: Callable[[Mapping[str, Any]], Any]
    raw: Callable[[Mapping[str, np.ndarray]], Any]
    made_up: Callable[[int, np.random.Generator], dict[str, np.ndarray]]


def as_they_are(like: Any) -> RawForm:
    """The form of examples that are inputs of the network already.

    Args:
      like: shapes and types of one input, or of several.
    """
    leaves, structure = jax.tree.flatten(like)
    names = names_of(like, "x")

    def joined(arrays: Mapping[str, Any]) -> Any:
        return structure.unflatten([arrays[name] for name in names])

    def made_up(count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
        return dict(zip(names, jax.tree.leaves(random_inputs(like, count, random)), strict=True))

    fields = {
        name: Field(leaf.shape, leaf.dtype, "as the network takes it") for name, leaf in zip(names, leaves, strict=True)
    }
    return RawForm(fields, joined, joined, made_up)
