"""Networks of other libraries as models: Flax NNX, Flax Linen, Equinox, Haiku, PyTorch, and plain functions.

`wrap` takes any of them; the other functions are for one library each. A library other than Flax is imported only for
a network of that library.
"""

import operator
import sys
from collections.abc import Callable
from typing import Any

import flax.linen
import flax.nnx

from mtnets.arguments import checked_arguments
from mtnets.errors import OptionError
from mtnets.networks.adapters.equinox import from_equinox
from mtnets.networks.adapters.functions import from_functions
from mtnets.networks.adapters.haiku import from_haiku
from mtnets.networks.adapters.linen import from_linen
from mtnets.networks.adapters.nnx import Warp, from_nnx
from mtnets.networks.adapters.torch import from_torch, to_state_dict, to_torch
from mtnets.networks.adapters.transform import frozen, in_precision
from mtnets.networks.model import Model
from mtnets.networks.several import Shapes


@checked_arguments
def wrap(network: Any, input_shape: Shapes, **options: Any) -> Model:
    """Any network as a model, ready to be meta-trained by any method.

        model = mtnets.wrap(my_network, input_shape=(28, 28, 1))
        learner = mtnets.meta_train(model, mtnets.mt_net(inner_lr=0.1), tasks)

    Args:
      network: a Flax NNX module, or a function that builds one from `nnx.Rngs`; a Flax Linen module; an Equinox module,
        or a pair (module, state); the result of `haiku.transform` or `haiku.transform_with_state`; a PyTorch module; or
        a pair `(apply, params)`. A network that has weights starts from them.
      input_shape: shape of one input, without the batch axis.
      **options: options of the function for its library: `from_nnx`, `from_linen`, `from_equinox`, `from_haiku`,
        `from_torch` or `from_functions`.

    Raises:
      OptionError: for any other network, and as the function for its library.
    """
    return _adapter(network)(network, input_shape, **options)


def _adapter(network: Any) -> Callable[..., Model]:
    """The function that turns this network into a model."""
    if isinstance(network, flax.linen.Module):
        return from_linen
    if isinstance(network, flax.nnx.Module):
        return from_nnx
    pair = type(network) is tuple and len(network) == 2  # Haiku's are named tuples
    first = network[0] if pair else network
    for library, classes, adapter in (
        ("equinox", ("Module",), from_equinox),
        ("haiku", ("Transformed", "TransformedWithState"), from_haiku),
        ("torch", ("nn.Module",), from_torch),
    ):
        # A library that was never imported cannot have made the network.
        if library in sys.modules and isinstance(first, _classes(library, classes)):
            return adapter
    if pair and callable(first):
        return lambda pair, *args, **options: from_functions(*pair, *args, **options)
    if callable(network):
        return from_nnx
    raise OptionError(
        f"There is no way to wrap a {type(network).__name__}; give a module of Flax (NNX or Linen), Equinox or "
        "PyTorch, a transformed Haiku function, or a pair (apply, params)."
    )


def _classes(library: str, names: tuple[str, ...]) -> tuple[type, ...]:
    return tuple(operator.attrgetter(name)(sys.modules[library]) for name in names)


__all__ = [
    "Warp",
    "from_equinox",
    "from_functions",
    "from_haiku",
    "from_linen",
    "from_nnx",
    "from_torch",
    "frozen",
    "in_precision",
    "to_state_dict",
    "to_torch",
    "wrap",
]
