"""Flax Linen modules as models."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array

from mtnets.errors import OptionError
from mtnets.networks.adapters.functions import check_norm, check_params, check_state, checked
from mtnets.networks.model import Model, Norm

LEARNING: Mapping[str, Any] = {}


def from_linen(
    network: linen.Module,
    input_shape: tuple[int, ...],
    *,
    variables: Mapping[str, Any] | None = None,
    norm: Norm = "none",
    learning: Mapping[str, Any] = LEARNING,
    predicting: Mapping[str, Any] = LEARNING,
    input_dtype: Any = jnp.float32,
) -> Model:
    """A Flax Linen module as a model.

    Args:
      network: the module; `network.apply(variables, x)` returns `[examples, outputs]`.
      input_shape: shape of one input, without the batch axis.
      variables: weights (and state) to start from whatever the seed; initialised from the seed unless given.
      norm: what batch norm means, see `Model`. With `support`, batch norm must have `momentum=0`.
      learning: keyword arguments that tell the module that it learns, for example `{"train": True}` or
        `{"deterministic": False}`.
      predicting: the same for predictions, for example `{"train": False}`. With `norm="transductive"` batch norm must
        use the statistics of the current batch in both.
      input_dtype: of the inputs; integers for a network that begins with an embedding.

    Raises:
      OptionError: for a `norm` that does not exist or does not fit the network, or inputs that it cannot take.
    """
    check_norm(norm)

    def init(key: Array) -> tuple[Any, Any]:
        made = variables
        if made is None:
            x = jnp.zeros((1, *input_shape), input_dtype)
            streams = {"params": key, "dropout": jax.random.fold_in(key, 1)}
            made = network.init(streams, x, **(learning if norm == "transductive" else predicting))
        params = made["params"]
        state = {name: value for name, value in made.items() if name != "params"}
        return dict(params), state

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        options = predicting if key is None else learning
        streams = None if key is None else {"dropout": key}
        changes = key is not None or norm == "transductive"
        mutable = (list(state) if changes else []) or False
        found = network.apply({"params": params, **state}, x, rngs=streams, mutable=mutable, **options)
        y, after = found if mutable else (found, state)
        return y, dict(after) if mutable and norm in ("support", "running") else state  # type: ignore[arg-type]

    try:
        params, state = jax.eval_shape(init, jax.random.key(0))
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"The network cannot take inputs [examples, {', '.join(map(str, input_shape))}]: "
            f"{str(error).strip().splitlines()[0][:300]}"
        ) from error
    check_params(params)
    check_state(state, norm)
    return checked(Model(init, apply, tuple(input_shape), norm, None, variables is not None, input_dtype))
