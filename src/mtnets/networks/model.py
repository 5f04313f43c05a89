"""A model is a pair of pure functions over pytrees: `init` and `apply`."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from mtnets.networks.layers import Layer, find_layers, named
from mtnets.trees import leaves_by_path

if TYPE_CHECKING:
    from mtnets.analysis.summary import Summary
    from mtnets.inner.methods import Method

Norm = Literal["transductive", "support", "running", "none"]


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network as pure functions.

    Attributes:
      init: `init(key) -> (params, state)`.
      apply: `apply(params, state, x, key) -> (y, state)` with `x` of shape `[examples, *input_shape]`. With a key the
        network learns: dropout is on, batch statistics come from the current batch and the new state is returned. With
        `key=None` it predicts: nothing is random, statistics come from the state, and the state is returned as it is.
      input_shape: shape of one input.
      norm: what batch norm means in this network.
        `transductive`: always the statistics of the current batch, so that a prediction depends on the others in its
        batch (as in the papers of MAML and MT-net);
        `support`: predictions use statistics of the support set, taken in one more pass at the adapted weights;
        `running`: predictions use averages that training carried along, over tasks and meta-steps;
        `none`: no batch norm.
      config: what the model can be built from again: `{"network": name, **options}`; None for a network of the user's.
      own_weights: whether `init` ignores its key and returns the weights that the network came with.
      input_dtype: of the inputs; integers for a network that begins with an embedding.
      fixed: paths of containers whose layers no task moves: warp layers.
      naming: names of the layers that may move, with the paths of their weight and bias, where the structure of the
        parameters does not tell; None for those that the traced computation shows.
    """

    init: Callable[[Array], tuple[Any, Any]]
    apply: Callable[[Any, Any, Array, Array | None], tuple[Array, Any]]
    input_shape: tuple[int, ...]
    norm: Norm = "none"
    config: Mapping[str, Any] | None = None
    own_weights: bool = False
    input_dtype: Any = jnp.float32
    fixed: tuple[str, ...] = ()
    naming: Mapping[str, tuple[str, str | None]] | None = None

    @functools.cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that a task may move, in the order of their first use."""
        params, state = jax.eval_shape(self.init, jax.random.key(0))
        x = jnp.zeros((2, *self.input_shape), self.input_dtype)
        layers = find_layers(lambda params: self.apply(params, jax.tree.map(_zeros, state), x, None), params)
        if self.naming is not None:
            layers = named(layers, self.naming, leaves_by_path(params))
        return tuple(layer for layer in layers if not f"{layer.weight}.".startswith(tuple(f"{p}." for p in self.fixed)))

    def summary(self, method: "Method | None" = None, inner_steps: int = 1) -> "Summary":
        """The layers of this network, what of it stays as it is within a task, and what a method learns for each layer:
        `print(model.summary(mtnets.mt_net()))`.

        Args:
          method: what is to adapt it; the network alone for None.
          inner_steps: of training; some methods learn something for each.

        Raises:
          OptionError: if the network has no layer, or the method cannot adapt it.
        """
        from mtnets.analysis.summary import summarise  # which stands above: a method has parts

        return summarise(self, method, inner_steps)


def _zeros(leaf: Any) -> Array:
    return jnp.zeros(leaf.shape, leaf.dtype)
