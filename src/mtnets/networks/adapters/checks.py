"""What every adapter checks: parameters, batch norm, and one prediction of the finished model."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtnets.errors import MtnetsError, OptionError, first_line
from mtnets.networks.model import Model, Norm
from mtnets.trees import leaves_by_path

EXAMPLES = 3  # differs from most sizes of networks, so that an axis in the wrong place shows


def check_params(params: Any) -> None:
    """Raises OptionError unless all leaves are arrays of floating point, and there is at least one."""
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


def check_state(statistics: Any, norm: Norm) -> None:
    """Raises OptionError for a network with batch statistics and `norm="none"`."""
    if norm == "none" and jax.tree.leaves(statistics):
        raise OptionError(
            "The network has batch statistics and norm='none'; say what they are: transductive, support or running."
        )


@contextlib.contextmanager
def taking_inputs(input_shape: tuple[int, ...], input_dtype: Any) -> Iterator[None]:
    """Turns errors of a network that is called with inputs of this shape into one OptionError."""
    try:
        yield
    except MtnetsError:
        raise
    except Exception as error:  # a network may raise anything
        raise OptionError(
            f"The network cannot take inputs [examples, {', '.join(map(str, input_shape))}] of "
            f"{jnp.dtype(input_dtype).name}: {first_line(error)}"
        ) from error


def checked(model: Model) -> Model:
    """The model, after it has made one prediction from finite numbers.

    Raises:
      OptionError: if the network cannot take its inputs, or returns another shape or numbers that are not finite.
    """
    shape = (EXAMPLES, *model.input_shape)
    if jnp.issubdtype(model.input_dtype, jnp.integer):
        x = np.zeros(shape, model.input_dtype)
    else:
        x = np.random.default_rng(0).normal(size=shape).astype(model.input_dtype)
    params, state = model.init(jax.random.key(0))
    check_params(params)
    with taking_inputs(model.input_shape, model.input_dtype):
        y, _ = jax.jit(lambda p, s: model.apply(p, s, jnp.asarray(x), None))(params, state)
    if not hasattr(y, "shape") or y.ndim != 2 or len(y) != EXAMPLES:
        returned = list(y.shape) if hasattr(y, "shape") else type(y).__name__
        raise OptionError(
            f"For {EXAMPLES} inputs the network returns {returned}; it must return one array [examples, outputs]."
        )
    if not bool(jnp.isfinite(y).all()):
        raise OptionError("The network returns NaN or infinity for ordinary inputs; look at its weights and its code.")
    return model
