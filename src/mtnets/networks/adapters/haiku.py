"""Transformed Haiku functions as models."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError
from mtnets.networks.adapters.functions import check_norm, check_params, check_state, checked
from mtnets.networks.adapters.linen import LEARNING
from mtnets.networks.model import Model, Norm


def from_haiku(
    network: Any,
    input_shape: tuple[int, ...],
    *,
    params: Any = None,
    norm: Norm = "none",
    learning: Any = LEARNING,
    predicting: Any = LEARNING,
    input_dtype: Any = jnp.float32,
) -> Model:
    """A Haiku function as a model.

    Args:
      network: what `haiku.transform` or `haiku.transform_with_state` returns of a function of inputs
        `[examples, *input_shape]` that returns `[examples, outputs]`.
      input_shape: shape of one input, without the batch axis.
      params: weights to start from whatever the seed; initialised from the seed unless given.
      norm: what batch norm means, see `Model`.
      learning: keyword arguments that tell the function that it learns, for example `{"is_training": True}`.
      predicting: the same for predictions.
      input_dtype: of the inputs; integers for a network that begins with an embedding.

    Raises:
      OptionError: for a `norm` that does not exist or does not fit the network, or inputs that it cannot take.
    """
    check_norm(norm)
    stateful = len(jax.tree.leaves(_state_of(network, input_shape, input_dtype, learning))) > 0
    with_state = _keeps_state(network)

    def init(key: Array) -> tuple[Any, Any]:
        x = jnp.zeros((1, *input_shape), input_dtype)
        made = network.init(key, x, **learning)
        made, state = made if with_state else (made, {})
        return (made if params is None else params), state

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        options = predicting if key is None else learning
        if not with_state:
            return network.apply(params, key, x, **options), state
        y, after = network.apply(params, state, key, x, **options)
        return y, after if key is not None and norm in ("support", "running") else state

    check_params(jax.eval_shape(init, jax.random.key(0))[0])
    check_state({"": jnp.zeros(())} if stateful else {}, norm)
    return checked(Model(init, apply, tuple(input_shape), norm, None, params is not None, input_dtype))


def _keeps_state(network: Any) -> bool:
    return type(network).__name__ == "TransformedWithState"


def _state_of(network: Any, input_shape: tuple[int, ...], dtype: Any, options: Any) -> Any:
    x = jax.ShapeDtypeStruct((1, *input_shape), dtype)
    try:
        made = jax.eval_shape(lambda key, x: network.init(key, x, **options), jax.random.key(0), x)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"The network cannot take inputs [examples, {', '.join(map(str, input_shape))}]: "
            f"{str(error).strip().splitlines()[0][:300]}"
        ) from error
    return made[1] if _keeps_state(network) else {}
