"""A multilayer perceptron with ReLUs between its layers."""

import dataclasses
import itertools
from typing import Any, Literal, get_args

import jax
from flax import nnx
from jax import Array

from mtnets.arguments import check_fields
from mtnets.errors import OptionError
from mtnets.networks.adapters.nnx import model_of
from mtnets.networks.model import Model, Norm, register
from mtnets.networks.models.norm import batch_norm_factory
from mtnets.networks.models.warp import WarpKind, warp_layer

MOST_SIZES = 300  # each layer takes milliseconds to trace
STD = 0.01  # of the paper's starting weights

Init = Literal["truncated-normal", "pytorch"]


class _Mlp(nnx.Module):
    def __init__(
        self, sizes: tuple[int, ...], norm: Norm, init_std: float, warp: WarpKind, init: Init, rngs: nnx.Rngs
    ) -> None:
        self.layers = nnx.List([])
        for inputs, units in itertools.pairwise(sizes):
            weights, biases = nnx.initializers.truncated_normal(init_std), nnx.initializers.zeros
            if init == "pytorch":
                weights = biases = _uniform(inputs)
            self.layers.append(nnx.Linear(inputs, units, kernel_init=weights, bias_init=biases, rngs=rngs))
        self.warps: Any = None if warp == "none" else nnx.List([warp_layer(warp, size, rngs) for size in sizes[1:]])
        batch_norm = batch_norm_factory(norm)
        self.norms: Any = nnx.List([batch_norm(size, rngs=rngs) for size in sizes[1:-1]]) if batch_norm else None

    def __call__(self, x: Array) -> Array:
        for i, layer in enumerate(self.layers):
            x = layer(x) if self.warps is None else self.warps[i](layer(x))
            if i < len(self.layers) - 1:
                x = jax.nn.relu(self.norms[i](x) if self.norms is not None else x)
        return x


def _uniform(inputs: int) -> Any:
    """PyTorch's start of a linear layer: weights and biases from ±1/√inputs."""
    bound = inputs**-0.5
    return lambda key, shape, dtype=None, **_: jax.random.uniform(key, shape, dtype, -bound, bound)


@register
def mlp(
    *sizes: int, norm: Norm = "none", init_std: float = STD, warp: WarpKind = "none", init: Init = "truncated-normal"
) -> Model:
    """A multilayer perceptron: `mlp(1, 40, 40, 1)` is the paper's network for sine regression.

    Args:
      sizes: number of inputs, of units of each hidden layer, and of outputs.
      norm: batch norm before each ReLU, see `Model`.
      init_std: standard deviation of the starting weights before truncation at two of it; biases start from zero.
      warp: a warp layer after each layer: `linear` (with `maml`, this is a T-net), `residual` (not linear), or `none`.
      init: `truncated-normal`, or `pytorch`: weights and biases uniform in ±1/√inputs, as `torch.nn.Linear` starts.

    Raises:
      OptionError: for fewer than two sizes or more than 300, a size below 1, an `init_std` that is not above 0 or that
        `pytorch` would not use, or an unknown `warp` or `init`.
    """
    if len(sizes) > MOST_SIZES:
        raise OptionError(f"An MLP of {len(sizes)} sizes is asked for; at most {MOST_SIZES} are possible.")
    if len(sizes) < 2 or min(sizes) < 1:
        raise OptionError(f"An MLP needs at least two sizes, inputs and outputs, each at least 1; got {sizes}.")
    if not 0 < init_std < float("inf"):
        raise OptionError(f"init_std is {init_std}; it must be a number above 0.")
    if warp not in get_args(WarpKind):
        raise OptionError(f"warp is {warp!r}; it must be one of {', '.join(get_args(WarpKind))}.")
    if init not in get_args(Init):
        raise OptionError(f"init is {init!r}; it must be one of {', '.join(get_args(Init))}.")
    if init == "pytorch" and init_std != STD:
        raise OptionError(f"init_std is {init_std}, which init='pytorch' does not use; leave it out.")
    return model_of(lambda rngs: _Mlp(sizes, norm, init_std, warp, init, rngs), (sizes[0],), norm=norm)


@dataclasses.dataclass(frozen=True)
class Mlp:
    """Options of the MLP that a task family uses.

    Attributes:
      hidden: units of each hidden layer.
      norm: what batch norm means: transductive, support, running, or none.
      warp: a warp layer after each layer: linear, residual, or none.
      init_std: standard deviation of the starting weights.
      init: truncated-normal, or pytorch, as torch.nn.Linear starts.

    Raises:
      OptionError: for a value of another type.
    """

    hidden: tuple[int, ...] = (40, 40)
    norm: Norm = "none"
    warp: WarpKind = "none"
    init_std: float = STD
    init: Init = "truncated-normal"

    def __post_init__(self) -> None:
        check_fields(self)

    def build(self, inputs: int, outputs: int) -> Model:
        """The network for this many inputs and outputs.

        Raises:
          OptionError: for options that are not possible.
        """
        if min(self.hidden, default=1) < 1:
            raise OptionError(f"hidden is {self.hidden}; each layer needs at least 1 unit.")
        options = {"norm": self.norm, "warp": self.warp, "init_std": self.init_std, "init": self.init}
        return mlp(inputs, *self.hidden, outputs, **options)
