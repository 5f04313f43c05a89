"""The table of all operations, by their names in ATen: `relu`, or `max.dim` for one overload."""

from collections.abc import Callable
from typing import Any

from mtnets.networks.aten import (
    convolutions,
    creation,
    indexing,
    linear,
    normalisation,
    pointwise,
    pooling,
    random,
    recurrent,
    reductions,
    shapes,
)

OPERATIONS: dict[str, Callable[..., Any]] = {
    **pointwise.OPERATIONS,
    **creation.OPERATIONS,
    **reductions.OPERATIONS,
    **shapes.OPERATIONS,
    **indexing.OPERATIONS,
    **linear.OPERATIONS,
    **convolutions.OPERATIONS,
    **pooling.OPERATIONS,
    **normalisation.OPERATIONS,
    **recurrent.OPERATIONS,
}
# Take `rng`, a key; None while the network predicts.
RANDOM: dict[str, Callable[..., Any]] = {**random.DROPOUT, **linear.RANDOM, **recurrent.RANDOM}
# Take a key always.
DRAWS: dict[str, Callable[..., Any]] = random.DRAWS
# Say something about values or sizes and compute nothing.
IGNORED = {"_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range"}
IGNORED |= {"sym_constrain_range_for_size", "_linalg_check_errors"}


def name_of(operation: Any) -> str | None:
    """The name under which the table has an overload of ATen; None if it does not."""
    overload = str(operation).removeprefix("aten.")  # relu.default, max.dim
    for name in (overload, overload.partition(".")[0]):
        if name in OPERATIONS or name in RANDOM or name in DRAWS or name in IGNORED:
            return name
    return None
