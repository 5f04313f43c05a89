"""A pair of a function and its parameters as a model, and what every adapter has in common."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.errors import OptionError
from mtnets.networks.model import Model, Norm
from mtnets.trees import leaves_by_path


def from_functions(
    apply: Callable[..., Array],
    params: Any,
    input_shape: tuple[int, ...],
    *,
    init: Callable[[Array], Any] | None = None,
    layers: Mapping[str, tuple[str, str | None]] | None = None,
    random: bool = False,
    input_dtype: Any = jnp.float32,
) -> Model:
    """A function and its parameters as a model.

    Args:
      apply: `apply(params, x) -> y` with inputs `[examples, *input_shape]` and outputs `[examples, outputs]`; with
        `random`, `apply(params, x, key)`, where `key` is None for predictions.
      params: a pytree of arrays, the starting point whatever the seed, unless `init` is given.
      input_shape: shape of one input, without the batch axis.
      init: `init(key) -> params`, for starting points of its own for each seed.
      layers: names of the layers that may move, with the paths of their weight and bias, for example
        `{"first": ("w1", "b1")}`; those that the traced computation shows unless given.
      random: whether `apply` takes a key.
      input_dtype: of the inputs; integers for a network that begins with an embedding.

    Raises:
      OptionError: for parameters that are not of floating point, and for an `apply` whose outputs have another shape or
        are not finite.
    """
    check_params(params)
    own = jax.tree.map(jnp.asarray, params)

    def run(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        return (apply(params, x, key) if random else apply(params, x)), state

    def begin(key: Array) -> tuple[Any, Any]:
        return (own if init is None else init(key)), {}

    model = Model(begin, run, tuple(input_shape), own_weights=init is None, input_dtype=input_dtype, naming=layers)
    return checked(model)


def check_norm(norm: str) -> None:
    """Raises OptionError for a norm that does not exist."""
    if norm not in get_args(Norm):
        raise OptionError(f"norm is {norm!r}; it must be one of {', '.join(get_args(Norm))}.")


def check_params(params: Any) -> None:
    """Raises OptionError unless all leaves are arrays of floating point."""
    leaves = leaves_by_path(params)
    if not leaves:
        raise OptionError("The network has no parameters, so nothing can be learned.")
    for path, leaf in leaves.items():
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.floating):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise OptionError(
                f"The parameter {path} is {kind}; parameters must be arrays of floating point. Make it a constant of "
                "the network, or convert it."
            )


def check_state(state: Any, norm: Norm) -> None:
    """Raises OptionError for a network with statistics and no word on what they are, or the reverse."""
    if norm == "none" and jax.tree.leaves(state):
        raise OptionError(
            "The network has batch statistics and norm='none'; say what they are: transductive, support or running."
        )


def checked(model: Model) -> Model:
    """The model, once it has made a prediction of the right shape from finite numbers.

    Raises:
      OptionError: for a network that cannot take its inputs, returns another shape, or numbers that are not finite.
    """
    examples = 3  # unlike most sizes, so that an axis in the wrong place shows
    if jnp.issubdtype(model.input_dtype, jnp.integer):
        x = np.zeros((examples, *model.input_shape), model.input_dtype)
    else:
        x = np.random.default_rng(0).normal(size=(examples, *model.input_shape)).astype(model.input_dtype)
    params, state = model.init(jax.random.key(0))
    try:
        y, _ = jax.jit(lambda p, s: model.apply(p, s, jnp.asarray(x), None))(params, state)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"The network cannot take inputs [examples, {', '.join(map(str, model.input_shape))}] of "
            f"{jnp.dtype(model.input_dtype).name}: {str(error).strip().splitlines()[0][:300]}"
        ) from error
    if not hasattr(y, "shape") or y.ndim != 2 or len(y) != examples:
        found = list(y.shape) if hasattr(y, "shape") else type(y).__name__
        raise OptionError(
            f"For {examples} inputs the network returns {found}; it must return one array [examples, outputs]."
        )
    if not bool(jnp.isfinite(y).all()):
        raise OptionError("The network returns NaN or infinity for ordinary inputs; look at its weights and its code.")
    return model
