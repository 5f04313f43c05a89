"""Flax Linen modules as models."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array

from mtnets.arguments import checked_arguments
from mtnets.networks.adapters.checks import check_params, check_state, checked, taking_inputs
from mtnets.networks.model import Model, Norm, check_norm
from mtnets.networks.several import Shapes, arguments_of, batch_like, checked_shapes, inputs_like


@checked_arguments
def from_linen(
    network: linen.Module,
    input_shape: Shapes,
    *,
    variables: Mapping[str, Any] | None = None,
    norm: Norm = "none",
    learning: Mapping[str, Any] = MappingProxyType({}),
    predicting: Mapping[str, Any] = MappingProxyType({}),
    input_dtype: Any = jnp.float32,
) -> Model:
    """A Flax Linen module as a model.

    Args:
      network: the module; `network.apply(variables, x)` returns `[examples, outputs]`.
      input_shape: shape of one input, without the batch axis.
      variables: weights and state to start from whatever the seed. Defaults to initial ones drawn from the seed.
      norm: what batch norm means, see `Model`. With `support`, batch norm must have `momentum=0`.
      learning: keyword arguments for calls that learn, for example `{"train": True}` or `{"deterministic": False}`.
      predicting: keyword arguments for calls that predict, for example `{"train": False}`. With `norm="transductive"`,
        batch norm must use the statistics of the current batch in both.
      input_dtype: type of the inputs; an integer type for a network that begins with an embedding.

    Raises:
      OptionError: for a `norm` that does not exist or does not fit the network, or inputs that it cannot take.
    """
    check_norm(norm)
    input_shape = checked_shapes(input_shape)

    def init(key: Array) -> tuple[Any, Any]:
        initial = variables
        if initial is None:
            args, named = arguments_of(network.__call__, batch_like(inputs_like(input_shape, input_dtype), 1))
            streams = {"params": key, "dropout": jax.random.fold_in(key, 1)}
            initial = network.init(streams, *args, **named, **(learning if norm == "transductive" else predicting))
        return dict(initial["params"]), {name: value for name, value in initial.items() if name != "params"}

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        options = predicting if key is None else learning
        streams = None if key is None else {"dropout": key}
        mutable = list(state) if key is not None or norm == "transductive" else []
        args, named = arguments_of(network.__call__, x)
        variables = {"params": params, **state}
        result = network.apply(variables, *args, rngs=streams, mutable=mutable or False, **named, **options)
        y, after = result if mutable else (result, state)
        return y, dict(after) if mutable and norm in ("support", "running") else state  # type: ignore[arg-type]

    with taking_inputs(input_shape, input_dtype):
        params, state = jax.eval_shape(init, jax.random.key(0))
    check_params(params)
    check_state(state, norm)
    return checked(Model(init, apply, input_shape, norm, own_weights=variables is not None, input_dtype=input_dtype))
