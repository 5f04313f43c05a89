"""Transformed Haiku functions as models."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.arguments import checked_arguments
from mtnets.networks.adapters.checks import check_params, check_state, checked, taking_inputs
from mtnets.networks.model import Model, Norm, check_norm
from mtnets.networks.several import Shapes, batch_like, checked_shapes, inputs_like


@checked_arguments
def from_haiku(
    network: Any,
    input_shape: Shapes,
    *,
    params: Any = None,
    norm: Norm = "none",
    learning: Mapping[str, Any] = MappingProxyType({}),
    predicting: Mapping[str, Any] = MappingProxyType({}),
    input_dtype: Any = jnp.float32,
) -> Model:
    """A Haiku function as a model.

    Args:
      network: the result of `haiku.transform` or `haiku.transform_with_state` for a function from inputs
        `[examples, *input_shape]` to outputs `[examples, outputs]`.
      input_shape: shape of one input, without the batch axis.
      params: weights to start from whatever the seed. Defaults to initial weights drawn from the seed.
      norm: what batch norm means, see `Model`. With `support`, batch norm must have `decay_rate=0`.
      learning: keyword arguments for calls that learn, for example `{"is_training": True}`.
      predicting: keyword arguments for calls that predict.
      input_dtype: type of the inputs; an integer type for a network that begins with an embedding.

    Raises:
      OptionError: for a `norm` that does not exist or does not fit the network, or inputs that it cannot take.
    """
    check_norm(norm)
    input_shape = checked_shapes(input_shape)
    with_state = type(network).__name__ == "TransformedWithState"

    def init(key: Array) -> tuple[Any, Any]:
        initial = network.init(key, *_arguments(batch_like(inputs_like(input_shape, input_dtype), 1)), **learning)
        weights, state = initial if with_state else (initial, {})
        return (weights if params is None else params), state

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        options = predicting if key is None else learning
        if not with_state:
            return network.apply(params, key, *_arguments(x), **options), state
        y, after = network.apply(params, state, key, *_arguments(x), **options)
        return y, after if key is not None and norm in ("support", "running") else state

    with taking_inputs(input_shape, input_dtype):
        weights, state = jax.eval_shape(init, jax.random.key(0))
    check_params(weights)
    check_state(state, norm)
    return checked(Model(init, apply, input_shape, norm, own_weights=params is not None, input_dtype=input_dtype))


def _arguments(x: Any) -> tuple[Any, ...]:
    """Several inputs in a tuple one after the other; all else is one argument, since the function hides its names."""
    return x if isinstance(x, tuple) else (x,)
