"""The networks of the comparison as plain values: which layers they have, and of what shapes. No library is needed.

`networks_jax` and `networks_torch` say how they compute.
"""

import dataclasses
import itertools
import math
from typing import NamedTuple

KERNEL = 3  # side of all convolutions but those of shortcuts
POOL = 2  # side of the windows of all max-pooling
MLP_RATIO = 2  # hidden units of a transformer's dense layers, per unit of its width


class Layer(NamedTuple):
    """A layer whose weights a task moves.

    Attributes:
      shape: of the weight, `[inputs, units]` or `[height, width, channels, filters]`.
      places: how often it is applied to one example: once, or at each pixel or place of its output.
      bias: whether it has one.
      of_data: whether its inputs are those of the network, to which no gradient flows.
    """

    shape: tuple[int, ...]
    places: int = 1
    bias: bool = True
    of_data: bool = False

    @property
    def units(self) -> int:
        """Outputs at one place."""
        return self.shape[-1]

    @property
    def rows(self) -> int:
        """Inputs of one output."""
        return math.prod(self.shape[:-1])


@dataclasses.dataclass(frozen=True)
class Mlp:
    """Dense layers with ReLU between them.

    Attributes:
      sizes: inputs, units of each hidden layer, outputs.
    """

    sizes: tuple[int, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.sizes[:1]

    def layers(self) -> dict[str, Layer]:
        """By name."""
        pairs = enumerate(itertools.pairwise(self.sizes))
        return {f"dense{i}": Layer(shape, of_data=i == 0) for i, shape in pairs}

    def offsets(self) -> dict[str, int]:
        """Offsets of batch norm, by name, and their sizes."""
        return {}

    def tiny(self) -> "Mlp":
        """The same in small."""
        return Mlp((self.sizes[0], 5, 4, self.sizes[-1]))


@dataclasses.dataclass(frozen=True)
class Convolutions:
    """Blocks of [3×3 convolution → batch norm → ReLU], then a dense layer.

    Attributes:
      outputs: number of classes.
      side, channels: of the images.
      filters: of each convolution.
      blocks: how many.
      pool: max-pooling 2×2 after each block, whose last pixels all enter the head. Otherwise convolutions have stride 2
        and the head sees the mean over the pixels.
    """

    outputs: int
    side: int
    channels: int
    filters: int
    blocks: int
    pool: bool

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return (self.side, self.side, self.channels)

    def layers(self) -> dict[str, Layer]:
        """By name."""
        layers, side, channels = {}, self.side, self.channels
        for i in range(self.blocks):
            convolved = side if self.pool else -(-side // 2)
            shape = (KERNEL, KERNEL, channels, self.filters)
            layers[f"conv{i}"] = Layer(shape, convolved**2, of_data=i == 0)
            side, channels = (convolved // POOL if self.pool else convolved), self.filters
        pixels = side**2 if self.pool else 1
        return layers | {"head": Layer((pixels * channels, self.outputs))}

    def offsets(self) -> dict[str, int]:
        """Offsets of batch norm, by name, and their sizes."""
        return {f"norm{i}": self.filters for i in range(self.blocks)}

    def tiny(self) -> "Convolutions":
        """The same in small."""
        return dataclasses.replace(self, outputs=2, side=2 ** (self.blocks if self.pool else 3), filters=3)


@dataclasses.dataclass(frozen=True)
class ResNet12:
    """Four residual blocks of three 3×3 convolutions, as few-shot papers have it (Oreshkin et al. 2018).

    A block: three times [convolution → batch norm → leaky ReLU], the last ReLU after the shortcut (1×1 convolution →
    batch norm) is added, then max-pooling 2×2. The head sees the mean over the pixels. Convolutions have no bias.

    Attributes:
      outputs: number of classes.
      side, channels: of the images.
      widths: filters of each block.
    """

    outputs: int
    side: int
    channels: int
    widths: tuple[int, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return (self.side, self.side, self.channels)

    def layers(self) -> dict[str, Layer]:
        """By name."""
        layers, side, channels = {}, self.side, self.channels
        for i, width in enumerate(self.widths):
            for j in range(3):
                shape = (KERNEL, KERNEL, width if j else channels, width)
                layers[f"block{i}conv{j}"] = Layer(shape, side**2, bias=False, of_data=i == j == 0)
            layers[f"block{i}short"] = Layer((1, 1, channels, width), side**2, bias=False, of_data=i == 0)
            side, channels = side // POOL, width
        return layers | {"head": Layer((channels, self.outputs))}

    def offsets(self) -> dict[str, int]:
        """Offsets of batch norm, by name, and their sizes."""
        return {name: layer.units for name, layer in self.layers().items() if name != "head"}

    def tiny(self) -> "ResNet12":
        """The same in small."""
        return ResNet12(2, 4, self.channels, (3, 3))


@dataclasses.dataclass(frozen=True)
class Transformer:
    """A sequence classifier: vectors → dense → + sinusoidal positions → blocks → mean over places → head.

    A block: x + attention(norm(x)), then x + dense(GELU(dense(norm(x)))). Layer norm has no weights, so that what moves
    are the dense layers alone.

    Attributes:
      outputs: number of classes.
      length, features: of a sequence.
      width: units of a place.
      heads: of attention.
      blocks: how many.
    """

    outputs: int
    length: int
    features: int
    width: int
    heads: int
    blocks: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return (self.length, self.features)

    def layers(self) -> dict[str, Layer]:
        """By name."""
        layers = {"embed": Layer((self.features, self.width), self.length, of_data=True)}
        sizes = {"query": (1, 1), "key": (1, 1), "value": (1, 1), "out": (1, 1), "up": (1, MLP_RATIO)}
        for i in range(self.blocks):
            for name, (inputs, units) in (sizes | {"down": (MLP_RATIO, 1)}).items():
                layers[f"block{i}{name}"] = Layer((inputs * self.width, units * self.width), self.length)
        return layers | {"head": Layer((self.width, self.outputs))}

    def offsets(self) -> dict[str, int]:
        """Offsets of batch norm, by name, and their sizes."""
        return {}

    def tiny(self) -> "Transformer":
        """The same in small."""
        return Transformer(2, 3, 2, 4, 2, 1)


Network = Mlp | Convolutions | ResNet12 | Transformer
