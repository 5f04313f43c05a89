"""The networks in PyTorch: `forward(network, params, x)` with channels first, as `networks_jax` has them.

Weights are in PyTorch's layout (`to_torch`, `from_torch`), operations are those of `torch.nn.functional`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.peers.networks import POOL, Convolutions, Mlp, Network, ResNet12, Transformer
from benchmarks.peers.networks_jax import BATCH_NORM_EPSILON, LAYER_NORM_EPSILON, LEAK, positions

Params = Mapping[str, Tensor]


def to_torch(value: NDArray[Any]) -> Tensor:
    """A weight or T in PyTorch's layout: `[units, inputs]`, `[filters, channels, height, width]`."""
    axes = {2: (1, 0), 4: (3, 2, 0, 1)}.get(value.ndim)
    return torch.from_numpy(np.array(value if axes is None else value.transpose(axes), order="C"))


def from_torch(value: Tensor) -> NDArray[Any]:
    """The inverse of `to_torch`."""
    axes = {2: (1, 0), 4: (2, 3, 1, 0)}.get(value.ndim)
    array = value.detach().numpy()
    return array if axes is None else array.transpose(axes)


def inputs_to_torch(x: NDArray[Any]) -> Tensor:
    """Inputs `[tasks, examples, ...]`; images get their channels first."""
    return torch.from_numpy(np.array(np.moveaxis(x, -1, 2) if x.ndim == 5 else x, order="C"))


def forward(network: Network, params: Params, x: Tensor) -> Tensor:
    """Outputs `[examples, outputs]` for inputs `[examples, ...]`."""
    match network:
        case Mlp():
            return _mlp(network, params, x)
        case Convolutions():
            return _convolutions(network, params, x)
        case ResNet12():
            return _resnet(network, params, x)
        case Transformer():
            return _transformer(network, params, x)


def _mlp(network: Mlp, params: Params, x: Tensor) -> Tensor:
    last = len(network.sizes) - 2
    for i in range(last):
        x = F.relu(_dense(params, f"dense{i}", x))
    return _dense(params, f"dense{last}", x)


def _convolutions(network: Convolutions, params: Params, x: Tensor) -> Tensor:
    stride = 1 if network.pool else 2
    for i in range(network.blocks):
        x = F.relu(_batch_norm(params, f"norm{i}", _conv(params, f"conv{i}", x, stride)))
        x = F.max_pool2d(x, POOL) if network.pool else x
    # weights of the head are of pixels with their channels last
    return _dense(params, "head", x.permute(0, 2, 3, 1).flatten(1) if network.pool else x.mean((2, 3)))


def _resnet(network: ResNet12, params: Params, x: Tensor) -> Tensor:
    def convolved(name: str, x: Tensor) -> Tensor:
        return _batch_norm(params, name, _conv(params, name, x, 1))

    for i in range(len(network.widths)):
        short = convolved(f"block{i}short", x)
        for j in range(2):
            x = F.leaky_relu(convolved(f"block{i}conv{j}", x), LEAK)
        x = F.max_pool2d(F.leaky_relu(convolved(f"block{i}conv2", x) + short, LEAK), POOL)
    return _dense(params, "head", x.mean((2, 3)))


def _transformer(network: Transformer, params: Params, x: Tensor) -> Tensor:
    x = _dense(params, "embed", x) + torch.from_numpy(positions(network.length, network.width))
    for i in range(network.blocks):
        y = _layer_norm(x)
        shape = (*y.shape[:-1], network.heads, network.width // network.heads)
        query, key, value = (_dense(params, f"block{i}{name}", y).reshape(shape) for name in ("query", "key", "value"))
        # not scaled_dot_product_attention, whose fused form on CPUs has no second derivative
        scores = torch.einsum("nqhd,nkhd->nhqk", query, key) / math.sqrt(shape[-1])
        y = torch.einsum("nhqk,nkhd->nqhd", scores.softmax(-1), value).reshape(x.shape)
        x = x + _dense(params, f"block{i}out", y)
        up = F.gelu(_dense(params, f"block{i}up", _layer_norm(x)), approximate="tanh")
        x = x + _dense(params, f"block{i}down", up)
    return _dense(params, "head", _layer_norm(x).mean(1))


def _dense(params: Params, name: str, x: Tensor) -> Tensor:
    y, metric = F.linear(x, params[f"{name}.weight"], params.get(f"{name}.bias")), params.get(f"{name}.metric")
    return y if metric is None else F.linear(y, metric)


def _conv(params: Params, name: str, x: Tensor, stride: int) -> Tensor:
    weight, metric = params[f"{name}.weight"], params.get(f"{name}.metric")
    # JAX's "SAME": what does not divide evenly is added after the last row and column
    missing = [max((-(-side // stride) - 1) * stride + weight.shape[-1] - side, 0) for side in (x.shape[3], x.shape[2])]
    pads = [pad for total in missing for pad in (total // 2, total - total // 2)]
    even = pads[0] == pads[1] and pads[2] == pads[3]
    y = F.conv2d(
        x if even else F.pad(x, pads),
        weight,
        params.get(f"{name}.bias"),
        stride=stride,
        padding=(pads[2], pads[0]) if even else 0,
    )
    return y if metric is None else F.conv2d(y, metric[:, :, None, None])


def _batch_norm(params: Params, name: str, x: Tensor) -> Tensor:
    """With statistics of the batch."""
    offset = params[f"{name}.offset"]
    return F.batch_norm(x, None, None, torch.ones_like(offset), offset, training=True, eps=BATCH_NORM_EPSILON)


def _layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, [x.shape[-1]], eps=LAYER_NORM_EPSILON)
