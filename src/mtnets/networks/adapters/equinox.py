"""Equinox modules as models."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.errors import OptionError
from mtnets.networks.adapters.functions import check_norm, check_params, check_state, checked
from mtnets.networks.model import Model, Norm


def from_equinox(
    network: Any,
    input_shape: tuple[int, ...],
    *,
    norm: Norm = "none",
    batched: bool = False,
    axis_name: str = "batch",
    input_dtype: Any = jnp.float32,
) -> Model:
    """An Equinox module as a model; its weights are the starting point whatever the seed.

    Args:
      network: the module, or a pair (module, state) as `equinox.nn.make_with_state` makes it. It is called with one
        example, and with `key=` if it takes one; with state, `network(x, state)` returns a new state as well.
      input_shape: shape of one input, without the batch axis; Equinox's convolutions have channels first.
      norm: what batch norm means, see `Model`.
      batched: whether the module takes `[examples, *input_shape]` at once.
      axis_name: of the batch, for Equinox's batch norm.
      input_dtype: of the inputs; integers for a network that begins with an embedding.

    Raises:
      OptionError: for a `norm` that does not exist or does not fit the network, or inputs that it cannot take.
    """
    import equinox as eqx

    check_norm(norm)
    module, own_state = network if isinstance(network, tuple) else (network, None)
    own, rest = eqx.partition(module, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten_with_path(own)
    paths = [".".join(_name(key) for key in keys) for keys, _ in leaves]
    keyed = "key" in inspect.signature(type(module).__call__).parameters
    if own_state is not None and batched:
        raise OptionError("batched is True, but a module with state is called with one example; leave it out.")

    def init(key: Array) -> tuple[Any, Any]:
        return dict(zip(paths, (leaf for _, leaf in leaves), strict=True)), own_state_leaves

    state_leaves, state_tree = jax.tree.flatten(own_state)
    own_state_leaves = {str(i): leaf for i, leaf in enumerate(state_leaves)}

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        made = eqx.combine(jax.tree.unflatten(tree, [params[path] for path in paths]), rest)
        made = eqx.nn.inference_mode(made, key is None and norm != "transductive")
        keys = None if key is None or not keyed else key if batched else jax.random.split(key, len(x))
        options = {} if keys is None else {"key": keys}
        if batched:
            return made(x, **options), state
        if own_state is None:
            return jax.vmap(lambda x, options: made(x, **options))(x, options), state
        inner = jax.tree.unflatten(state_tree, [state[name] for name in own_state_leaves])
        y, after = jax.vmap(
            lambda x, state, options: made(x, state, **options), in_axes=(0, None, 0), out_axes=(0, None),
            axis_name=axis_name,
        )(x, inner, options)  # fmt: skip
        kept = key is not None and norm in ("support", "running")
        return y, dict(zip(own_state_leaves, jax.tree.leaves(after), strict=True)) if kept else state

    check_params(init(jax.random.key(0))[0])
    check_state(own_state_leaves, norm)
    return checked(Model(init, apply, tuple(input_shape), norm, None, True, input_dtype))


def _name(key: Any) -> str:
    return str(getattr(key, "name", getattr(key, "idx", getattr(key, "key", key))))
