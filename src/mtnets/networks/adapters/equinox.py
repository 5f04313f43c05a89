"""Equinox modules as models."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError
from mtnets.networks.adapters.checks import check_params, check_state, checked
from mtnets.networks.model import Model, Norm, check_norm
from mtnets.networks.several import Shapes, call_with
from mtnets.trees import path_of


@checked_arguments
def from_equinox(
    network: Any,
    input_shape: Shapes,
    *,
    norm: Norm = "none",
    batched: bool = False,
    axis_name: str = "batch",
    input_dtype: Any = jnp.float32,
) -> Model:
    """An Equinox module as a model. It starts from the module's weights whatever the seed.

    Args:
      network: the module, or a pair (module, state) as `equinox.nn.make_with_state` returns. It is called with one
        example, and with `key=` if it takes one; with state, `network(x, state)` returns a new state as well.
      input_shape: shape of one input, without the batch axis; Equinox's convolutions have channels first.
      norm: what batch norm means, see `Model`. With `support`, batch norm must have `momentum=0`.
      batched: whether the module takes `[examples, *input_shape]` at once.
      axis_name: name of the batch axis, for Equinox's batch norm.
      input_dtype: type of the inputs; an integer type for a network that begins with an embedding.

    Raises:
      OptionError: for a `norm` that does not exist or does not fit the network, or inputs that it cannot take.
    """
    import equinox as eqx

    check_norm(norm)
    if isinstance(network, tuple) and len(network) != 2:
        raise OptionError(f"network is a tuple of {len(network)}; it must be a module, or a pair (module, state).")
    module, module_state = network if isinstance(network, tuple) else (network, None)
    if module_state is not None and batched:
        raise OptionError("batched is True, but a module with state is called with one example; leave it out.")
    arrays, rest = eqx.partition(module, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten_with_path(arrays)
    weights = {path_of(keys): leaf for keys, leaf in leaves}
    state_leaves, state_structure = jax.tree.flatten(module_state)
    start = {str(i): leaf for i, leaf in enumerate(state_leaves)}
    takes_key = "key" in inspect.signature(type(module).__call__).parameters

    def init(key: Array) -> tuple[Any, Any]:
        return dict(weights), start

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        module = eqx.combine(jax.tree.unflatten(structure, [params[path] for path in weights]), rest)
        module = eqx.nn.inference_mode(module, key is None and norm != "transductive")
        keys = (
            None
            if key is None or not takes_key
            else key
            if batched
            else jax.random.split(key, len(jax.tree.leaves(x)[0]))
        )
        options = {} if keys is None else {"key": keys}
        if batched:
            return call_with(module, x, **options), state
        if module_state is None:
            return jax.vmap(lambda x, options: call_with(module, x, **options))(x, options), state
        before = jax.tree.unflatten(state_structure, [state[name] for name in start])
        y, after = jax.vmap(
            lambda x, state, options: call_with(module, x, state, **options),
            in_axes=(0, None, 0),
            out_axes=(0, None),
            axis_name=axis_name,
        )(x, before, options)
        if key is None or norm not in ("support", "running"):
            return y, state
        return y, dict(zip(start, jax.tree.leaves(after), strict=True))

    check_params(weights)
    check_state(start, norm)
    return checked(Model(init, apply, input_shape, norm, own_weights=True, input_dtype=input_dtype))
