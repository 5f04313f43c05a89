"""Models made from other models: with frozen weights, or in another precision."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError
from mtnets.networks.model import Model
from mtnets.trees import leaves_by_path, nested, replace_leaves

FROZEN = "frozen"  # where the state keeps frozen weights


@checked_arguments
def frozen(model: Model, parts: Sequence[str]) -> Model:
    """The model with some of its weights frozen: neither a task nor meta-training moves them.

    Args:
      model: the model, usually with a pre-trained backbone.
      parts: paths of containers or leaves, for example `["backbone"]`.

    Raises:
      OptionError: for a path that does not exist, or if nothing is left to learn.
    """
    structure = jax.eval_shape(model.init, jax.random.key(0))[0]
    shapes = leaves_by_path(structure)
    held = [path for path in shapes if f"{path}.".startswith(tuple(f"{part}." for part in parts))]
    for part in parts:
        if not any(f"{path}.".startswith(f"{part}.") for path in held):
            raise OptionError(f"The network has no {part!r} to freeze; it has {', '.join(shapes)}.")
    if len(held) == len(shapes):
        raise OptionError(f"parts is {list(parts)}, which is all of the network; leave something to learn.")

    def init(key: Array) -> tuple[Any, Any]:
        params, state = model.init(key)
        leaves = leaves_by_path(params)
        free = {path: leaf for path, leaf in leaves.items() if path not in held}
        return nested(free), {FROZEN: {path: leaves[path] for path in held}, "state": state}

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        whole = replace_leaves(structure, leaves_by_path(params) | state[FROZEN])
        y, after = model.apply(whole, state["state"], x, key)
        return y, {FROZEN: state[FROZEN], "state": after}

    return dataclasses.replace(model, init=init, apply=apply)


@checked_arguments
def in_precision(model: Model, dtype: DTypeLike) -> Model:
    """The model with its forward pass in another precision.

    Weights, their gradients and everything meta-learned stay in float32.

    Args:
      model: the model.
      dtype: a type of floating point, such as `jnp.bfloat16`.

    Raises:
      OptionError: for a type that is not of floating point.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise OptionError(f"dtype is {dtype}; it must be of floating point, for example jnp.bfloat16.")

    def cast(tree: Any, to: Any) -> Any:
        return jax.tree.map(lambda a: a.astype(to) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        y, after = model.apply(cast(params, dtype), state, x.astype(dtype) if x.dtype.kind == "f" else x, key)
        after = jax.tree.map(lambda new, old: new.astype(old.dtype), after, state)
        return y.astype(jnp.float32), after

    return dataclasses.replace(model, apply=apply)
