"""A function and its parameters as a model."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError, first_line
from mtnets.networks.adapters.checks import check_params, checked
from mtnets.networks.model import Model
from mtnets.networks.several import Shapes


@checked_arguments
def from_functions(
    apply: Callable[..., Array],
    params: Any,
    input_shape: Shapes,
    *,
    init: Callable[[Array], Any] | None = None,
    layers: Mapping[str, str | tuple[str, str | None]] | None = None,
    random: bool = False,
    input_dtype: Any = jnp.float32,
) -> Model:
    """A function and its parameters as a model.

    Args:
      apply: `apply(params, x) -> y` with inputs `[examples, *input_shape]` and outputs `[examples, outputs]`; with
        `random`, `apply(params, x, key)`, where `key` is None for predictions.
      params: a pytree of arrays. They are the starting point whatever the seed, unless `init` is given.
      input_shape: shape of one input, without the batch axis.
      init: `init(key) -> params`, for a starting point that depends on the seed.
      layers: names of the layers that may move, with the paths of their weight and bias, for example
        `{"first": ("w1", "b1"), "head": "w2"}`. Defaults to the layers that the traced computation shows.
      random: whether `apply` takes a key.
      input_dtype: type of the inputs; an integer type for a network that begins with an embedding.

    Raises:
      OptionError: for parameters that are not of floating point, for an `apply` whose outputs have another shape or
        are not finite, and for layers that are no paths.
    """
    check_params(params)
    weights = jax.tree.map(jnp.asarray, params)
    if init is not None:
        _check_init(init, weights)

    def init_both(key: Array) -> tuple[Any, Any]:
        return (weights if init is None else init(key)), {}

    def apply_both(params: Any, state: Any, x: Array, key: Array | None) -> tuple[Array, Any]:
        return (apply(params, x, key) if random else apply(params, x)), state  # several inputs as one argument

    return checked(
        Model(
            init_both,
            apply_both,
            input_shape,
            own_weights=init is None,
            input_dtype=input_dtype,
            naming=None if layers is None else {name: _paths(name, value) for name, value in layers.items()},
        )
    )


def _paths(name: str, value: Any) -> tuple[str, str | None]:
    """The paths of the weight and the bias of a layer that the user names."""
    match value:
        case str(weight) | [str(weight)]:
            return weight, None
        case [str(weight), None | str() as bias]:
            return weight, bias
    raise OptionError(f"Layer {name} is {value!r}; it must be the path of its weight, or those of its weight and bias.")


def _check_init(init: Callable[[Array], Any], params: Any) -> None:
    """Raises OptionError for an `init` that does not return parameters like those given."""
    try:
        made = jax.eval_shape(init, jax.random.key(0))
    except Exception as error:  # the user's function may raise anything
        raise OptionError(
            f"init(key) failed ({type(error).__name__}: {first_line(error)}); it must return parameters."
        ) from error
    if jax.tree.structure(made) != jax.tree.structure(params):
        raise OptionError(
            f"init(key) returns {jax.tree.structure(made)} and params is {jax.tree.structure(params)}; they must be "
            "alike."
        )
