"""Flax NNX modules as models."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError, first_line
from mtnets.networks.adapters.checks import check_state, checked
from mtnets.networks.model import Model, Norm, check_norm
from mtnets.networks.several import Shapes, call_with
from mtnets.trees import path_of


class Warp(nnx.Module):
    """Marks a module as a warp: no task moves its layers, which are meta-learned and warp the gradients before them.

    References:
      Flennerhag, Rusu, Pascanu, Visin, Yin & Hadsell, Meta-Learning with Warped Gradient Descent, ICLR 2020,
      arXiv 1909.00025.
    """

    def __init__(self, module: nnx.Module) -> None:
        self.module = module

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Calls the module."""
        return self.module(*args, **options)  # type: ignore[operator]


@checked_arguments
def from_nnx(
    network: nnx.Module | Callable[[nnx.Rngs], nnx.Module],
    input_shape: Shapes,
    *,
    norm: Norm = "support",
    input_dtype: Any = jnp.float32,
) -> Model:
    """A Flax NNX module as a model.

    Args:
      network: a function that builds the module from `nnx.Rngs`, or a module. The model of a module starts from the
        module's weights whatever the seed.
      input_shape: shape of one input, without the batch axis.
      norm: what batch norm means, see `Model`. With `support`, normalisation layers must keep no memory of earlier
        batches and let gradients pass through their statistics, as `mtnets.models.BatchNorm(momentum=0)` does.
      input_dtype: type of the inputs; an integer type for a network that begins with an embedding.

    Raises:
      OptionError: for a `norm` that does not exist or does not fit the network, an array in the module that is not an
        `nnx.Variable`, inputs that it cannot take, or outputs of another shape than `[examples, outputs]`.
    """
    return checked(model_of(network, input_shape, norm=norm, input_dtype=input_dtype))


def model_of(
    network: nnx.Module | Callable[[nnx.Rngs], nnx.Module],
    input_shape: Shapes,
    *,
    norm: Norm,
    input_dtype: Any = jnp.float32,
) -> Model:
    """The same for a module that is known to be right, which is not run."""
    check_norm(norm)
    is_module = isinstance(network, nnx.Module)
    original = nnx.clone(network) if is_module else None  # so that later changes of the module make no difference
    build: Callable[[nnx.Rngs], Any] = (lambda rngs: nnx.clone(original)) if is_module else network  # type: ignore
    keeps_state = norm in ("support", "running")
    split = functools.partial(_split, keeps_state=keeps_state)
    definitions = {learning: _define(build, learning, norm, split) for learning in (True, False)}
    if norm == "none":
        check_state([leaf for _, leaf in nnx.to_flat_state(definitions[True][3])], norm)

    def init(key: Array) -> tuple[Any, Any]:
        _, params, _, _, rest = split(build(nnx.Rngs(key)))
        return _to_dict(params), _to_dict(rest)

    def apply(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        definition, params_like, streams, unread, rest_like = definitions[key is not None]
        module = nnx.merge(
            definition,
            _from_dict(params_like, params),
            _fresh(streams, jax.random.key(0) if key is None else key),
            jax.tree.map(_zeros, unread),
            _from_dict(rest_like, state),
        )
        y = call_with(module, x)
        return y, _to_dict(split(module)[4]) if keeps_state and key is not None else state

    return Model(init, apply, input_shape, norm, own_weights=is_module, input_dtype=input_dtype, fixed=_warps_of(build))


def _split(module: Any, keeps_state: bool) -> tuple[Any, Any, Any, Any, Any]:
    """Definition, parameters, random streams, statistics that nothing reads, and all else."""
    unread = nnx.Nothing() if keeps_state else nnx.BatchStat
    return nnx.split(module, nnx.Param, nnx.RngState, unread, ...)  # type: ignore[return-value]


def _define(
    build: Callable[[nnx.Rngs], Any], learning: bool, norm: Norm, split: Callable[[Any], Any]
) -> tuple[Any, Any, Any, Any, Any]:
    """Definition and shapes of a module that learns or predicts, split."""
    definitions: list[Any] = []

    def trace() -> Any:
        module = _built(build)
        if not isinstance(module, nnx.Module):
            raise OptionError(
                f"The function returns {type(module).__name__} for nnx.Rngs; it must return a module of Flax NNX. To "
                "wrap a function of parameters and inputs, pass a pair (apply, params)."
            )
        if norm == "support" and any(isinstance(node, nnx.BatchNorm) for _, node in nnx.iter_graph(module)):
            raise OptionError(
                "norm='support' needs batch norm that remembers the support set alone and lets gradients through: "
                "build the network with mtnets.models.BatchNorm(features, momentum=0, rngs=rngs) for nnx.BatchNorm."
            )
        module.train() if learning else module.eval()
        if norm == "transductive":  # predictions use the statistics of the current batch too
            module.set_attributes(use_running_average=False, raise_if_not_found=False)
        arrays.extend(path_of(path) for path, node in nnx.iter_graph(module) if isinstance(node, Array))
        definition, *states = split(module)
        definitions.append(definition)
        return states

    arrays: list[str] = []  # those that are no variables, which NNX may keep in the definition
    states = jax.eval_shape(trace)
    try:
        hash(definitions[0])
    except TypeError as error:
        if arrays:
            raise OptionError(
                f"The network holds an array that is no nnx.Variable, at {arrays[0]}; wrap it: "
                "self.name = nnx.Variable(array)."
            ) from error
        raise OptionError(  # unhashable type: 'list'
            f"The network has an attribute that cannot be compared ({error}); give it a tuple in the place of a "
            "list, for example padding=((1, 1), (1, 1))."
        ) from error
    return definitions[0], *states


def _built(build: Callable[[nnx.Rngs], Any]) -> Any:
    try:
        return build(nnx.Rngs(0))
    except Exception as error:  # the user's function may raise anything
        raise OptionError(
            f"The network cannot be built from nnx.Rngs ({type(error).__name__}: {first_line(error)}); pass a module, "
            "or a function of nnx.Rngs that returns one."
        ) from error


def _warps_of(build: Callable[[nnx.Rngs], Any]) -> tuple[str, ...]:
    """The paths of all warp layers."""
    warps: list[str] = []

    def trace() -> None:
        nodes = nnx.iter_graph(build(nnx.Rngs(0)))
        warps.extend(path_of(path) for path, node in nodes if isinstance(node, Warp))

    jax.eval_shape(trace)
    return tuple(warps)


def _to_dict(state: Any) -> dict[Any, Any]:
    """The arrays of an NNX state in nested dictionaries."""
    tree: dict[Any, Any] = {}
    for path, leaf in nnx.to_flat_state(state):
        place = tree
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = leaf[...] if isinstance(leaf, nnx.Variable) else leaf
    return tree


def _from_dict(like: Any, tree: Any) -> Any:
    """The inverse of `_to_dict`, for a state of the same structure as `like`."""

    def array_at(path: tuple[Any, ...]) -> Any:
        return functools.reduce(lambda place, name: place[name], path, tree)

    def filled(path: tuple[Any, ...], leaf: Any) -> Any:
        return leaf.replace(array_at(path)) if isinstance(leaf, nnx.Variable) else array_at(path)

    return nnx.from_flat_state([(path, filled(path, leaf)) for path, leaf in nnx.to_flat_state(like)])


def _fresh(streams: Any, key: Array) -> Any:
    """Random streams with a new key each, and counts of zero."""
    leaves, structure = jax.tree.flatten(streams)
    fresh = [
        jax.random.fold_in(key, i) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros((), leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, fresh)


def _zeros(leaf: Any) -> Array:
    # Equal models share programs, also one built in double precision and one that was not.
    return jnp.zeros(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype))
