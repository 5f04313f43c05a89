"""Networks of other libraries as models. Flax NNX so far."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from mtnets.model import Model, Norm


def from_nnx(
    network: nnx.Module | Callable[[nnx.Rngs], nnx.Module],
    input_shape: tuple[int, ...],
    *,
    norm: Norm = "support",
    config: Mapping[str, Any] | None = None,
) -> Model:
    """A Flax NNX module as a model.

    Args:
      network: a function that builds the module from `nnx.Rngs`, or a module already built, which then keeps its own
        weights as the starting point whatever the seed (`Model.own_weights`).
      input_shape: shape of one input, without the batch axis.
      norm: what batch norm means, see `Model`. With `support`, normalisation layers must keep no memory of earlier
        batches and let gradients through their statistics, as `mtnets.models.BatchNorm(momentum=0)` does.
      config: how the model can be built again, see `Model`.
    """
    built = network if isinstance(network, nnx.Module) else None
    build = (lambda rngs: built) if built is not None else network  # type: ignore[misc]

    def split(module: Any, learning: bool) -> Any:
        # transductive networks use the current batch even to predict
        module.train() if learning else module.eval()
        return nnx.split(module, nnx.Param, nnx.RngState, ...)

    def definition(learning: bool) -> tuple[Any, Any, Any, Any]:
        result: list[Any] = []

        def trace() -> Any:
            graph, params, rngs, rest = split(build(nnx.Rngs(0)), learning)
            result.append(graph)
            return params, rngs, rest

        states = jax.eval_shape(trace)
        return result[0], *states

    definitions = {True: definition(True), False: definition(norm == "transductive")}
    stateless = norm in ("transductive", "none")

    def init(key: Array) -> tuple[Any, Any]:
        _, params, _, rest = split(build(nnx.Rngs(key)), True)
        return nnx.to_pure_dict(params), {} if stateless else nnx.to_pure_dict(rest)

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        graph, params_shape, rngs_shape, rest_shape = definitions[key is not None]
        seed = jax.random.key(0) if key is None else key
        module = nnx.merge(
            graph,
            _fill(params_shape, params),
            _fill(rngs_shape, _streams(rngs_shape, seed)),
            _fill(rest_shape, jax.tree.map(jnp.zeros_like, nnx.to_pure_dict(rest_shape)) if stateless else state),
        )
        y = module(x)
        if stateless or key is None:
            return y, state
        _, _, _, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
        return y, nnx.to_pure_dict(rest)  # type: ignore[arg-type]

    return Model(init, apply, input_shape, norm, config, own_weights=built is not None)


def _fill(shapes: Any, values: Any) -> Any:
    """The NNX state of the given shapes with the given values."""
    state = jax.tree.map(lambda leaf: leaf, shapes)
    nnx.replace_by_pure_dict(state, values)
    return state


def _streams(shapes: Any, key: Array) -> Any:
    """Fresh keys, one per random stream, and counts of zero."""
    leaves, tree = jax.tree.flatten(nnx.to_pure_dict(shapes))
    fresh = [
        jax.random.fold_in(key, i) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros((), leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, fresh)
