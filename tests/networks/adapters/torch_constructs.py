"""PyTorch as people write it: the constructs that are compared with PyTorch itself, and the page that lists them.

Each is a network with the shape of one input. `test_torch_constructs.py` compares output, gradient and second
derivative in float64. `python tests/networks/adapters/torch_constructs.py` writes the table in docs/pytorch.md.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

PAGE = Path(__file__).parents[3] / "docs" / "pytorch.md"
IMAGE, ROWS, WORDS = (3, 8, 8), (6, 8), (6,)  # channels first; [time, features]; indices


def as_kept(network: nn.Module, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A parameter of a module, or its gradient, in the layout that a model has it in."""
    layer = network.get_submodule(name.rpartition(".")[0])
    kernel = type(layer) in (nn.Conv1d, nn.Conv2d, nn.Conv3d) and name.endswith("weight")
    return tensor.movedim((0, 1), (-1, -2)) if kernel else tensor


class Apply(nn.Module):
    """A convolution, one function, and a head."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3, padding=1), function

    def forward(self, x):
        return self.function(self.conv(x)).flatten(1)


class Sequence(nn.Module):
    """A linear layer along time, one function of `[examples, time, features]`, flattened."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.first, self.function = nn.Linear(8, 8), function

    def forward(self, x):
        return self.function(self.first(x)).flatten(1)


class First(nn.Module):
    """The first of what a module returns, flattened."""

    def __init__(self, module: nn.Module, *copies: int) -> None:
        super().__init__()
        self.module, self.copies = module, copies

    def forward(self, x):
        return self.module(x)[0].flatten(1)


class SelfAttention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0].flatten(1)


class Cells(nn.Module):
    """A loop over time, written out."""

    def __init__(self, cell: nn.Module, parts: int) -> None:
        super().__init__()
        self.cell, self.parts = cell, parts

    def forward(self, x):
        state = [x.new_zeros(x.size(0), 5) for _ in range(self.parts)]
        for t in range(x.size(1)):
            new = self.cell(x[:, t], tuple(state) if self.parts > 1 else state[0])
            state = list(new) if self.parts > 1 else [new]
        return state[0]


class Residual(nn.Module):
    """The block of a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6)
        self.short = nn.Sequential(nn.Conv2d(3, 6, 1, 2, bias=False), nn.BatchNorm2d(6))

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.short(x)).flatten(1)


def depthwise_separable() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, groups=3), nn.Conv2d(6, 4, 1), nn.ReLU6(), nn.Flatten())


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(3, 4, 1), nn.Linear(4, 2), nn.Linear(2, 4)

    def forward(self, x):
        x = self.conv(x)
        gate = torch.sigmoid(self.up(F.silu(self.down(x.mean((2, 3))))))
        return (x * gate[:, :, None, None]).flatten(1)


class Attention(nn.Module):
    """Attention by hand, with one projection for queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, 2, 4).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / 2).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, 8)).flatten(1)


class Buffers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale: torch.Tensor
        self.hidden: torch.Tensor
        self.register_buffer("scale", torch.arange(1.0, 5.0))
        self.register_buffer("hidden", torch.arange(1.0, 5.0), persistent=False)
        self.offset = torch.ones(4)  # a plain attribute
        self.first = nn.Linear(5, 4)

    def forward(self, x):
        return self.first(x) * self.scale + self.hidden * self.offset.to(x)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(20, 8), nn.Linear(8, 20)
        self.out.weight = self.table.weight

    def forward(self, x):
        return self.out(self.table(x).mean(1))


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(20, 8, padding_idx=0), nn.Embedding(6, 8)
        self.token = nn.Parameter(torch.ones(1, 1, 8))

    def forward(self, x):
        y = self.words(x) + self.places(torch.arange(x.size(1), device=x.device))
        return torch.cat([self.token.expand(x.size(0), -1, -1), y], 1)[:, 0:3].flatten(1)


class Functional(nn.Module):
    """Parameters without layers."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(4))

    def forward(self, x):
        return F.linear(x, self.w, self.b)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 4)

    def forward(self, x):
        y = self.first(x)
        y += 1
        y[:, 1] = y[:, 0] * 2
        y.mul_(0.5).tanh_()
        return y


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Bilinear(5, 5, 4)

    def forward(self, x):
        return self.both(x, x.flip(1))


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT


class Experts(nn.Module):
    """Modules in a list and a dictionary, mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(5, 4) for _ in range(3))
        self.gates = nn.ModuleDict({"gate": nn.Linear(5, 3)})
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(4) * i) for i in (1, 2, 3)])

    def forward(self, x):
        gate = F.softmax(self.gates["gate"](x), -1)
        parts = [expert(x) * scale for expert, scale in zip(self.experts, self.scales, strict=True)]
        return torch.einsum("ne,neo->no", gate, torch.stack(parts, 1))


class TemporalBlock(nn.Module):
    """Bai, Kolter & Koltun (2018): two dilated causal convolutions with weight norm, and a residual."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        norm, self.cut = nn.utils.parametrizations.weight_norm, 2 * dilation
        self.conv1 = norm(nn.Conv1d(inputs, outputs, 3, padding=self.cut, dilation=dilation))
        self.conv2 = norm(nn.Conv1d(outputs, outputs, 3, padding=self.cut, dilation=dilation))
        self.dropout = nn.Dropout(0.2)
        self.short = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x):
        y = self.dropout(F.relu(self.conv1(x)[:, :, : -self.cut].contiguous()))
        y = self.dropout(F.relu(self.conv2(y)[:, :, : -self.cut].contiguous()))
        return F.relu(y + (x if self.short is None else self.short(x)))


class TemporalNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(TemporalBlock(3, 6, 1), TemporalBlock(6, 6, 2))
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.blocks(x)[:, :, -1])


class EEGNet(nn.Module):
    """Lawhern et al. (2018): temporal, depthwise spatial and separable convolutions."""

    def __init__(self, channels: int = 4, samples: int = 64) -> None:
        super().__init__()
        self.block1 = nn.Sequential(
            nn.Conv2d(1, 4, (1, 32), padding="same", bias=False),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 8, (channels, 1), groups=4, bias=False),
            nn.BatchNorm2d(8),
            nn.ELU(),
            nn.AvgPool2d((1, 4)),
            nn.Dropout(0.25),
        )
        self.block2 = nn.Sequential(
            nn.Conv2d(8, 8, (1, 16), padding="same", groups=8, bias=False),
            nn.Conv2d(8, 8, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ELU(),
            nn.AvgPool2d((1, 8)),
            nn.Dropout(0.25),
        )
        self.head = nn.Linear(8 * (samples // 32), 2)

    def forward(self, x):
        return self.head(self.block2(self.block1(x.unsqueeze(1))).flatten(1))


@dataclasses.dataclass(frozen=True)
class Construct:
    """One row of the page.

    Attributes:
      name: as it is written in code.
      build: makes the network.
      shape: of one input.
      kind: heading under which it is listed.
      integers: whether inputs are indices.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    kind: str
    integers: bool = False


def bags() -> nn.Module:
    return nn.Sequential(nn.EmbeddingBag(20, 8, mode="mean"), nn.Linear(8, 3))


def symmetric() -> nn.Module:
    layer = nn.Linear(5, 5)
    nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric())
    return layer


def after_a_convolution(kind: str, functions: dict[str, Any]) -> list[Construct]:
    return [Construct(name, lambda f=f: Apply(f), IMAGE, kind) for name, f in functions.items()]


def modules(
    kind: str, shape: tuple[int, ...], builds: Mapping[str, Callable[[], nn.Module]], **options: Any
) -> list[Construct]:
    return [Construct(name, build, shape, kind, **options) for name, build in builds.items()]


def flat(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(build(), nn.Flatten())


def no_grad(x):
    with torch.no_grad():
        y = x.exp()
    return y * x


def masked(x):
    y = x.clone()
    y[x > 0.5] = 0.0
    return y


def linear_algebra(x):
    square = x @ x.mT + 3 * torch.eye(6).to(x)
    return (
        torch.linalg.inv(square)
        + torch.linalg.solve(square, x[..., :6])
        + torch.linalg.solve(square, x[..., 0])[..., None]
        + torch.linalg.cholesky(square)
        + torch.logdet(square)[:, None, None]
    )


ACTIVATIONS = {
    "torch.relu, F.relu, x.relu()": lambda x: torch.relu(x) + F.relu(x - 1) + (x + 1).relu(),
    "nn.ReLU(inplace=True)": nn.ReLU(inplace=True),
    "F.leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "nn.PReLU": lambda x: F.prelu(x, x.new_full((4,), 0.2)),
    "F.rrelu": F.rrelu,
    "F.elu, F.selu, F.celu": lambda x: F.elu(x, 0.7) + F.selu(x) + F.celu(x, 2.0),
    "F.gelu, exact and tanh": lambda x: F.gelu(x) + F.gelu(x, approximate="tanh"),
    "F.silu, F.mish": lambda x: F.silu(x) + F.mish(x),
    "F.softplus, F.logsigmoid": lambda x: F.softplus(x, beta=2) + F.logsigmoid(x),
    "F.hardswish, F.hardsigmoid, F.hardtanh, F.relu6": lambda x: (
        F.hardswish(x) + F.hardsigmoid(x) + F.hardtanh(x) + F.relu6(4 * x)
    ),
    "F.softsign, F.tanhshrink, F.softshrink, F.hardshrink": lambda x: (
        F.softsign(x) + F.tanhshrink(x) + F.softshrink(x) + F.hardshrink(x)
    ),
    "F.threshold, F.glu": lambda x: F.glu(F.threshold(x, 0.1, -1.0), 1),
    "torch.sigmoid, torch.tanh": lambda x: torch.sigmoid(x) * torch.tanh(x),
    "F.softmax, F.log_softmax, F.softmin": lambda x: F.softmax(x, 1) + F.log_softmax(x, 2) + F.softmin(x, 3),
}
ARITHMETIC = {
    "x.clamp(min=0), torch.clip": lambda x: x.clamp(min=0) + torch.clip(x, -0.5, 0.5),
    "torch.where, masked_fill": lambda x: torch.where(x > 0, x, 0 * x) + x.masked_fill(x > 1, 0.5),
    "torch.add(alpha=…), addcmul, lerp": lambda x: torch.add(x, x, alpha=2).addcmul(x, x).lerp(x, 0.3),
    "x ** 2, x ** 3.0, 2 ** x": lambda x: x**2 + x**3.0 + 2**x,
    "exp, log1p, sqrt, rsqrt, abs": lambda x: x.abs().add(1).sqrt().log1p() * x.square().add(1).rsqrt() + x.exp(),
    "sin, cos, atan2, erf": lambda x: torch.sin(x) * torch.cos(x) + torch.atan2(x, x + 3) + torch.erf(x),
    "torch.maximum, torch.minimum": lambda x: torch.maximum(x, x.flip(1)) - torch.minimum(x, x.flip(2)),
    "remainder, fmod, floor division": lambda x: x % 0.7 + torch.fmod(x, 0.7) + x * (x.detach() // 0.5),
    "nan_to_num, logaddexp, xlogy": lambda x: torch.logaddexp(x, x.nan_to_num()) + torch.xlogy(x, x.abs() + 1),
    "x.detach(), torch.no_grad()": lambda x: x * x.detach() + no_grad(x),
}


REDUCTIONS = {
    "x.mean((2, 3)), x.sum": lambda x: x.mean((2, 3)) + x.sum(dim=(2, 3)),
    "x.max(1), x.amax, x.min": lambda x: x.max(1, keepdim=True)[0] + x.amax(2, keepdim=True) + x.min(3, True).values,
    "x.var, x.std": lambda x: x.var(1, keepdim=True) + x.std((2, 3), unbiased=False, keepdim=True),
    "torch.logsumexp, torch.prod": lambda x: x.logsumexp(1, keepdim=True) + x.prod(2, keepdim=True),
    "cumsum, cumprod, cummax": lambda x: x.cumsum(1) + x.cumprod(2) + x.cummax(1)[0],
    "torch.norm, x.norm(dim), vector_norm": lambda x: (
        x.norm(dim=1) + torch.norm(x, p=1, dim=1) + torch.linalg.vector_norm(x, 3, dim=1)
    ),
    "F.normalize, F.cosine_similarity": lambda x: (
        F.normalize(x, dim=1) + F.cosine_similarity(x, x.flip(2), dim=1)[:, None]
    ),
    "sort, topk, median": lambda x: x.sort(1)[0] + x.topk(4, 1).values + x.median(1, keepdim=True)[0],
    "argmax, one_hot": lambda x: x.flatten(2)[..., 0] * F.one_hot(x.flatten(2).mean(2).argmax(1), 4).to(x),
}
SHAPES = {
    "x.view, x.reshape, x.flatten": lambda x: x.view(x.size(0), -1).reshape(-1, 8, 8, 4).flatten(2),
    "permute, transpose, .T, .mT": lambda x: x.permute(0, 2, 3, 1).transpose(1, 3).mT,
    "unsqueeze, squeeze, expand, repeat": lambda x: (
        x.unsqueeze(1).expand(-1, 2, -1, -1, -1).repeat(1, 1, 1, 1, 2).squeeze()
    ),
    "torch.cat, torch.stack, chunk, split": lambda x: torch.stack(
        [torch.cat(x.chunk(2, 1), 1), torch.cat(x.split(3, 2), 2)], 1
    ),
    "unbind, slices, x[..., ::2]": lambda x: (
        x.unbind(1)[0] + x[:, -1, :, :] + x[..., ::2, :].repeat_interleave(2, 2)[:, 0]
    ),
    "F.pad: constant, reflect, replicate, circular": lambda x: sum(
        F.pad(x, (1, 2, 2, 1), mode=mode) for mode in ("constant", "reflect", "replicate", "circular")
    ),
    "roll, flip, rot90": lambda x: x.roll((1, 2), (2, 3)) + x.flip(3) + x.rot90(1, (2, 3)),
    "x.unfold, F.unfold, F.fold": lambda x: (
        x.unfold(3, 3, 2).sum((-1, -2)) + F.fold(F.unfold(x, 3, padding=1), (8, 8), 3, padding=1).mean(3)
    ),
    "pixel_shuffle, pixel_unshuffle": lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 4),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "tril, triu, diagonal, diag_embed": lambda x: x.tril() + x.triu(1) + torch.diag_embed(x.diagonal(0, 2, 3)),
    "torch.zeros_like, new_ones, arange, linspace": lambda x: (
        x * torch.arange(8, device=x.device)
        + torch.zeros_like(x)
        + x.new_ones(8)
        + torch.linspace(0, 1, 8, dtype=x.dtype)
    ),
}
INDEXING = {
    "gather, index_select, take_along_dim": lambda x: (
        x.gather(1, x.argsort(1)) + x.index_select(1, torch.tensor([3, 1, 0, 2])) + x.take_along_dim(x.argsort(2), 2)
    ),
    "x[:, [2, 0]], fancy indexing": lambda x: (
        x[:, [2, 0]] + x[:, torch.tensor([[1], [0]]), torch.tensor([0, 3])].mean((1, 2), keepdim=True)
    ),
    "scatter, scatter_add, index_add": lambda x: (
        torch.zeros_like(x).scatter(1, x.argsort(1), x)
        + torch.zeros_like(x).scatter_add(2, x.argsort(2), x)
        + x.index_add(1, torch.tensor([0, 0]), x[:, :2])
    ),
    "y[mask] = 0": masked,
}


RESIZING = {
    "F.max_pool2d(x, 2)": lambda x: F.max_pool2d(x, 2),
    "nn.MaxPool2d(3, 2, 1), ceil_mode, dilation": lambda x: (
        F.max_pool2d(x, 3, 2, 1)
        + F.max_pool2d(x, 2, 2, ceil_mode=True)
        + F.max_pool2d(x, 2, 2, 1, dilation=2)[..., :4, :4]
    ),
    "return_indices, nn.MaxUnpool2d": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), [2, 2]),
    "F.avg_pool2d, padding, count_include_pad": lambda x: (
        F.avg_pool2d(x, 2) + F.avg_pool2d(x, 3, 2, 1) + F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    ),
    "F.lp_pool2d": lambda x: F.lp_pool2d(x.abs() + 1, 2, 2),
    "nn.AdaptiveAvgPool2d(1), (3), (5, 3)": lambda x: (
        F.adaptive_avg_pool2d(x, (5, 3)).mean((2, 3), keepdim=True)
        + F.adaptive_avg_pool2d(x, 3)
        + F.adaptive_avg_pool2d(x, 1)
    ),
    "nn.AdaptiveMaxPool2d": lambda x: F.adaptive_max_pool2d(x, (5, 3)),
    "F.interpolate, nearest": lambda x: (
        F.interpolate(x, scale_factor=2) + F.interpolate(x, size=(16, 16), mode="nearest-exact")
    ),
    "F.interpolate, bilinear": lambda x: (
        F.interpolate(x, scale_factor=1.5, mode="bilinear")
        + F.interpolate(x, size=12, mode="bilinear", align_corners=True)
    ),
    "F.interpolate, bicubic": lambda x: F.interpolate(x, size=(5, 11), mode="bicubic"),
    "nn.Upsample, nn.ZeroPad2d": lambda x: nn.ZeroPad2d((1, 0, 2, 1))(nn.Upsample(scale_factor=2)(x)),
    "F.grid_sample, F.affine_grid": lambda x: F.grid_sample(
        x,
        F.affine_grid(
            x.new_tensor([[0.9, 0.1, 0.0], [-0.1, 0.8, 0.1]]).expand(x.size(0), 2, 3), [x.size(0), 4, 5, 5], False
        ),
        align_corners=False,
    ),
}
NORMALISATION = {
    "nn.GroupNorm": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)),
    "nn.LayerNorm": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm([6, 6])),
    "nn.RMSNorm": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.RMSNorm(6)),
    "nn.InstanceNorm2d(affine=True)": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True)),
    "nn.BatchNorm2d": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    "nn.LocalResponseNorm": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.LocalResponseNorm(2)),
    "parametrizations.weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
    "parametrizations.spectral_norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)),
    "nn.Dropout2d, nn.AlphaDropout": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout2d(0.1), nn.AlphaDropout(0.1)),
}
CONVOLUTIONS = {
    "nn.Conv2d(stride, padding)": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
    'nn.Conv2d(padding="same")': lambda: nn.Conv2d(3, 4, (2, 3), padding="same"),
    'nn.Conv2d(padding_mode="reflect")': lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "nn.Conv2d(dilation)": lambda: nn.Conv2d(3, 4, 3, dilation=2),
    "nn.Conv2d, more weights than pixels": lambda: nn.Sequential(
        nn.Conv2d(3, 32, (3, 4), stride=(2, 1), padding=1, dilation=(1, 2)), nn.Tanh(), nn.Conv2d(32, 2, 2)
    ),
    "nn.Conv2d(groups), depthwise": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 4, 3, groups=2)),
    "nn.ConvTranspose2d": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    "nn.ConvTranspose2d(groups, dilation)": lambda: nn.ConvTranspose2d(3, 6, 2, groups=3, dilation=2),
    "F.conv2d with a weight of one's own": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Flatten(1, 2), nn.Conv2d(3, 2, 1)
    ),
}
SEQUENCES = {
    "F.scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "the same, causal": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "the same, with masks": lambda x: (
        F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(6, 6).tril().bool())
        + F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(6, 6).to(x), scale=0.3)
    ),
    "torch.einsum": lambda x: (
        torch.einsum("ntc,nsc->nts", x, x) + torch.einsum("n t c, c d -> n t d", x, torch.ones(8, 6).to(x))
    ),
    "torch.matmul, bmm, baddbmm": lambda x: (
        x @ x.mT + torch.bmm(x, x.mT) + torch.baddbmm(x.new_ones(6, 6), x, x.mT, beta=0.5)
    ),
    "torch.cdist, F.pairwise_distance": lambda x: (
        torch.cdist(x, x.flip(1) + 1) + F.pairwise_distance(x, x + 1)[..., None]
    ),
    "torch.linalg: inv, solve, det, cholesky": linear_algebra,
    "x.size(0) arithmetic, new_zeros": lambda x: torch.cat(
        [x.new_zeros(x.size(0), 1, 8), x.reshape(x.size(0) * 6, 8).view(-1, 6, 8)], 1
    ),
    "torch.meshgrid, torch.tensor constants": lambda x: (
        x * torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")[1].to(x) * torch.tensor(2.0)
    ),
}


RECURRENT = {
    "nn.LSTM": lambda: nn.LSTM(8, 5, batch_first=True),
    "nn.GRU": lambda: nn.GRU(8, 5, batch_first=True),
    "nn.RNN": lambda: nn.RNN(8, 5, batch_first=True),
    "nn.LSTM(bidirectional, num_layers=2)": lambda: nn.LSTM(8, 5, 2, bidirectional=True, batch_first=True),
    "nn.GRU(bidirectional, num_layers=2)": lambda: nn.GRU(8, 5, 2, bidirectional=True, batch_first=True),
    'nn.RNN(nonlinearity="relu", bias=False)': lambda: nn.RNN(
        8, 5, 2, nonlinearity="relu", bias=False, batch_first=True
    ),
    "nn.LSTM(proj_size)": lambda: nn.LSTM(8, 5, proj_size=3, batch_first=True),
}
CONVOLUTIONS_1D = {
    "nn.Conv1d": lambda: nn.Sequential(nn.Conv1d(3, 4, 3, stride=2), nn.Conv1d(4, 16, 3, padding=1)),
    "nn.ConvTranspose1d": lambda: nn.ConvTranspose1d(3, 4, 3, stride=2),
    "nn.MaxPool1d, nn.AvgPool1d, 1-d interpolation": lambda: nn.Sequential(
        nn.Conv1d(3, 4, 2),
        nn.MaxPool1d(2),
        nn.Upsample(scale_factor=2, mode="linear"),
        nn.AvgPool1d(2),
        nn.AdaptiveAvgPool1d(3),
        nn.AdaptiveMaxPool1d(2),
    ),
}
CONVOLUTIONS_3D = {
    "nn.Conv3d, nn.MaxPool3d": lambda: nn.Sequential(
        nn.Conv3d(2, 3, 2, padding=1), nn.MaxPool3d(2), nn.Conv3d(3, 16, 2)
    ),
    "nn.ConvTranspose3d, nn.AvgPool3d, trilinear": lambda: nn.Sequential(
        nn.ConvTranspose3d(2, 3, 2), nn.AvgPool3d(2, 2, 1), nn.Upsample(size=3, mode="trilinear")
    ),
}
LINEAR = {
    "nn.Linear": lambda: nn.Linear(5, 4),
    "nn.Bilinear": Bilinear,
    "nn.Parameter with F.linear": Functional,
    "register_buffer, plain tensors": Buffers,
    "nn.ModuleList, nn.ModuleDict, nn.ParameterList": Experts,
    "assignments: y += 1, y[:, 1] = …, tanh_": InPlace,
    "nn.BatchNorm1d": lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)),
    "parametrize.register_parametrization": symmetric,
}
EMBEDDINGS = {
    "nn.Embedding, padding_idx, positions": Positions,
    "tied weights": Tied,
}
ATTENTION = {
    "attention by hand": Attention,
    "nn.MultiheadAttention": SelfAttention,
    "nn.MultiheadAttention(bias=False, add_bias_kv)": lambda: SelfAttention(bias=False, add_bias_kv=True),
    "nn.TransformerEncoderLayer": flat(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)),
    "nn.TransformerEncoder, norm first, gelu": flat(
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=True, batch_first=True),
            2,
            enable_nested_tensor=False,
        )
    ),
}
CELLS = {
    "nn.LSTMCell in a loop": lambda: Cells(nn.LSTMCell(8, 5), 2),
    "nn.GRUCell in a loop": lambda: Cells(nn.GRUCell(8, 5), 1),
    "nn.RNNCell in a loop": lambda: Cells(nn.RNNCell(8, 5), 1),
}
BLOCKS = {
    "residual block": Residual,
    "depthwise-separable block": depthwise_separable,
    "squeeze and excitation": SqueezeExcite,
}
CONSTRUCTS = [
    *after_a_convolution("Activations", ACTIVATIONS),
    *after_a_convolution("Arithmetic", ARITHMETIC),
    *after_a_convolution("Reductions", REDUCTIONS),
    *after_a_convolution("Shapes", SHAPES),
    *after_a_convolution("Indexing", INDEXING),
    *after_a_convolution("Pooling and resizing", RESIZING),
    *modules("Normalisation", IMAGE, {name: flat(build) for name, build in NORMALISATION.items()}),
    *modules("Convolutions", IMAGE, {name: flat(build) for name, build in CONVOLUTIONS.items()}),
    *modules("Convolutions", (3, 9), {name: flat(build) for name, build in CONVOLUTIONS_1D.items()}),
    *modules("Convolutions", (2, 4, 5, 4), {name: flat(build) for name, build in CONVOLUTIONS_3D.items()}),
    *modules("Linear layers and parameters", (5,), LINEAR),
    *modules("Embeddings", WORDS, EMBEDDINGS, integers=True),
    *modules("Embeddings", WORDS, {"nn.EmbeddingBag": bags}, integers=True),
    *modules("Attention and matrices", ROWS, {name: lambda f=f: Sequence(f) for name, f in SEQUENCES.items()}),
    *modules("Attention and matrices", ROWS, ATTENTION),
    *modules(
        "Recurrent networks", ROWS, {name: lambda build=build: First(build()) for name, build in RECURRENT.items()}
    ),
    *modules("Recurrent networks", ROWS, CELLS),
    *modules("Blocks and small networks", IMAGE, BLOCKS),
    *modules("Blocks and small networks", (3, 16), {"temporal convolution network": TemporalNetwork}),
    *modules("Blocks and small networks", (4, 64), {"EEGNet": EEGNet}),
]


def table() -> str:
    """The rows of the page."""
    kinds = dict.fromkeys(construct.kind for construct in CONSTRUCTS)
    lines = ["| kind | construct |", "|---|---|"]
    lines += [f"| {kind} | `{each.name}` |" for kind in kinds for each in CONSTRUCTS if each.kind == kind]
    return "\n".join(lines)


def with_table(page: str) -> str:
    """The page with its table written anew."""
    return re.sub(r"\| kind \| construct \|\n(\|.*\n)*", lambda _: table() + "\n", page)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
