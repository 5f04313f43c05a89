"""Networks of other libraries as models. Flax NNX so far."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from mtnets.errors import OptionError
from mtnets.networks.model import Model, Norm
from mtnets.trees import path_of


class Warp(nnx.Module):
    """Wraps a module whose layers no task moves; they are meta-learned alone, and what moves before them is warped.

    References:
      Flennerhag, Rusu, Pascanu, Visin, Yin & Hadsell, Meta-Learning with Warped Gradient Descent, ICLR 2020,
      arXiv 1909.00025.
    """

    def __init__(self, module: nnx.Module) -> None:
        self.module = module

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Calls the module."""
        return self.module(*args, **options)  # type: ignore[operator]


def from_nnx(
    network: nnx.Module | Callable[[nnx.Rngs], nnx.Module],
    input_shape: tuple[int, ...],
    *,
    norm: Norm = "support",
    config: Mapping[str, Any] | None = None,
    input_dtype: Any = jnp.float32,
) -> Model:
    """A Flax NNX module as a model.

    Args:
      network: a function that builds the module from `nnx.Rngs`, or a module already built, which then keeps its own
        weights as the starting point whatever the seed (`Model.own_weights`).
      input_shape: shape of one input, without the batch axis.
      norm: what batch norm means, see `Model`. With `support`, normalisation layers must keep no memory of earlier
        batches and let gradients through their statistics, as `mtnets.models.BatchNorm(momentum=0)` does.
      config: how the model can be built again, see `Model`.
      input_dtype: of the inputs; integers for a network that begins with an embedding.

    Raises:
      OptionError: for a `norm` that does not exist, `none` for a network with batch statistics, or an array in the
        module that is no `nnx.Variable`.
    """
    if norm not in get_args(Norm):
        raise OptionError(f"norm is {norm!r}; it must be one of {', '.join(get_args(Norm))}.")
    own = nnx.clone(network) if isinstance(network, nnx.Module) else None  # the user's module stays as it is
    build: Callable[[nnx.Rngs], Any] = (lambda rngs: nnx.clone(own)) if own is not None else network  # type: ignore
    stateless = norm in ("transductive", "none")

    def split(module: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Definition, parameters, random streams, statistics that nothing reads, and all else."""
        unread = nnx.BatchStat if stateless else nnx.Nothing()
        return nnx.split(module, nnx.Param, nnx.RngState, unread, ...)  # type: ignore[return-value]

    def define(learning: bool) -> tuple[Any, Any, Any, Any, Any]:
        definitions: list[Any] = []

        def trace() -> Any:
            module = build(nnx.Rngs(0))
            if norm == "support" and any(isinstance(node, nnx.BatchNorm) for _, node in nnx.iter_graph(module)):
                raise OptionError(
                    "norm='support' needs batch norm that remembers the support set alone and lets gradients through: "
                    "build the network with mtnets.models.BatchNorm(features, momentum=0, rngs=rngs) for nnx.BatchNorm."
                )
            module.train() if learning else module.eval()
            if norm == "transductive":  # the current batch even to predict
                module.set_attributes(use_running_average=False, raise_if_not_found=False)
            definition, *states = split(module)
            definitions.append(definition)
            return states

        states = jax.eval_shape(trace)
        try:
            hash(definitions[0])
        except TypeError as error:  # an array in the definition: NNX keeps it there where a program is traced
            raise OptionError(
                "The network holds an array that is no nnx.Variable; wrap it: self.name = nnx.Variable(array)."
            ) from error
        return definitions[0], *states

    warps: list[str] = []

    def find_warps() -> Any:
        nodes = nnx.iter_graph(build(nnx.Rngs(0)))
        warps.extend(path_of(path) for path, node in nodes if isinstance(node, Warp))
        return ()

    jax.eval_shape(find_warps)
    definitions = {learning: define(learning) for learning in (True, False)}
    if norm == "none" and nnx.to_flat_state(definitions[True][3]):
        raise OptionError(
            "The network has batch statistics and norm='none'; say what they are: transductive, support or running."
        )

    def init(key: Array) -> tuple[Any, Any]:
        _, params, _, _, rest = split(build(nnx.Rngs(key)))
        return _to_dict(params), _to_dict(rest)

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        definition, params_like, streams, unread, rest_like = definitions[key is not None]
        module = nnx.merge(
            definition,
            _from_dict(params_like, params),
            _fresh(streams, jax.random.key(0) if key is None else key),
            jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), unread),
            _from_dict(rest_like, state),
        )
        y = module(x)
        return y, state if stateless or key is None else _to_dict(split(module)[4])

    return Model(init, apply, input_shape, norm, config, own is not None, input_dtype, tuple(warps))


def _to_dict(state: Any) -> dict[Any, Any]:
    """The arrays of an NNX state in nested dictionaries."""
    nested: dict[Any, Any] = {}
    for path, leaf in nnx.to_flat_state(state):
        place = nested
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = leaf[...] if isinstance(leaf, nnx.Variable) else leaf
    return nested


def _from_dict(like: Any, nested: Any) -> Any:
    """The inverse of `_to_dict`, for a state of the same structure."""

    def find(path: tuple[Any, ...]) -> Any:
        return functools.reduce(lambda place, name: place[name], path, nested)

    flat = nnx.to_flat_state(like)
    return nnx.from_flat_state(
        [(path, leaf.replace(find(path)) if isinstance(leaf, nnx.Variable) else find(path)) for path, leaf in flat]
    )


def _fresh(streams: Any, key: Array) -> Any:
    """Random streams with new keys, one each, and counts of zero."""
    leaves, tree = jax.tree.flatten(streams)
    fresh = [
        jax.random.fold_in(key, i) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros((), leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, fresh)
