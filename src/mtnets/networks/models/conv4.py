"""Four convolution blocks and a linear layer: the network of nearly all few-shot image papers."""

import dataclasses
from typing import Any, Literal, get_args

import jax
from flax import nnx
from jax import Array

from mtnets.arguments import check_fields
from mtnets.errors import OptionError
from mtnets.networks.adapters.nnx import model_of
from mtnets.networks.model import Model, Norm, register
from mtnets.networks.models.conv import conv, max_pool
from mtnets.networks.models.norm import batch_norm_factory

Downsample = Literal["stride", "pool"]
BLOCKS = 4


class _Conv4(nnx.Module):
    def __init__(
        self, ways: int, size: int, channels: int, filters: int, downsample: Downsample, norm: Norm, rngs: nnx.Rngs
    ) -> None:
        strides = 2 if downsample == "stride" else 1
        batch_norm = batch_norm_factory(norm)
        self.convs = nnx.List([])
        self.norms: Any = nnx.List([]) if batch_norm else None
        for block in range(BLOCKS):
            inputs = channels if block == 0 else filters
            self.convs.append(
                nnx.Conv(
                    inputs,
                    filters,
                    (3, 3),
                    strides=strides,
                    kernel_init=nnx.initializers.xavier_uniform(),
                    conv_general_dilated=conv,
                    rngs=rngs,
                )
            )
            if batch_norm:
                self.norms.append(batch_norm(filters, rngs=rngs))
        # As in the code of MAML and MT-net: strided networks average over the image and start the head from N(0, 1);
        # pooled ones keep all remaining pixels and start it from Xavier's distribution.
        pixels = 1 if downsample == "stride" else (size // 2**BLOCKS) ** 2
        init = nnx.initializers.normal(1.0) if downsample == "stride" else nnx.initializers.xavier_uniform()
        self.head = nnx.Linear(filters * pixels, ways, kernel_init=init, rngs=rngs)
        self.downsample = downsample

    def __call__(self, x: Array) -> Array:
        for i, layer in enumerate(self.convs):
            x = layer(x)
            x = jax.nn.relu(self.norms[i](x) if self.norms is not None else x)
            if self.downsample == "pool":
                x = max_pool(x)
        x = x.mean((1, 2)) if self.downsample == "stride" else x.reshape(x.shape[0], -1)
        return self.head(x)


@register
def conv4(
    ways: int,
    *,
    image_size: int = 28,
    channels: int = 1,
    filters: int = 64,
    downsample: Downsample = "stride",
    norm: Norm = "transductive",
) -> Model:
    """Four blocks [3×3 convolution → batch norm → ReLU (→ 2×2 max-pool)] and a linear layer.

    Args:
      ways: number of outputs.
      image_size: side of the images, in pixels.
      channels: number of channels of the images.
      filters: number of filters of each convolution: 64 for Omniglot, 32 for miniImageNet.
      downsample: `stride` (2, as for Omniglot) or `pool` (2×2 max, as for miniImageNet).
      norm: what batch norm means, see `Model`; the papers of MAML and MT-net use `transductive`.

    Raises:
      OptionError: for counts below 1, an unknown `downsample` or `norm`, or images too small to be pooled four times.
    """
    for name, value in (("ways", ways), ("channels", channels), ("filters", filters), ("image_size", image_size)):
        if value < 1:
            raise OptionError(f"{name} is {value}; it must be at least 1.")
    if downsample not in get_args(Downsample):
        raise OptionError(f"downsample is {downsample!r}; it must be one of {', '.join(get_args(Downsample))}.")
    if downsample == "pool" and image_size < 2**BLOCKS:
        raise OptionError(
            f"Images of {image_size} pixels cannot be pooled four times; they need at least {2**BLOCKS}, "
            "or downsample='stride'."
        )
    model = model_of(
        lambda rngs: _Conv4(ways, image_size, channels, filters, downsample, norm, rngs),
        (image_size, image_size, channels),
        norm=norm,
    )
    if downsample == "stride":
        return model
    side = image_size // 2**BLOCKS
    return dataclasses.replace(model, flattened={"head": (side, side, filters)})


@dataclasses.dataclass(frozen=True)
class Conv4:
    """Options of the convolutional network that a task family uses.

    Attributes:
      filters: number of filters of each of the four convolutions.
      downsample: stride (2, as for Omniglot) or pool (2×2 max, as for miniImageNet).
      norm: what batch norm means: transductive (the papers'), support (for use), running, or none.

    Raises:
      OptionError: for a value of another type.
    """

    filters: int = 64
    downsample: Downsample = "stride"
    norm: Norm = "transductive"

    def __post_init__(self) -> None:
        check_fields(self)

    def build(self, ways: int, image_size: int, channels: int) -> Model:
        """The network for this many classes and images of this size."""
        options = dataclasses.asdict(self)
        return conv4(ways, image_size=image_size, channels=channels, **options)
