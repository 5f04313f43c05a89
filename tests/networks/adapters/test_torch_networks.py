"""Whole networks of torchvision, timm and transformers: output, gradient and second derivative are PyTorch's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets import wrap

torch = pytest.importorskip("torch", reason="PyTorch modules need mtnets[torch]")

from networks.adapters.torch_constructs import as_kept  # noqa: E402


class Logits(torch.nn.Module):
    """Of the last word, of a language model that returns more."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, words):
        return self.model(input_ids=words, use_cache=False).logits[:, -1]


def of_torchvision(name, **options):
    models = pytest.importorskip("torchvision.models")
    return getattr(models, name)(num_classes=5, **options), (3, 32, 32), np.float32


def vit():
    timm = pytest.importorskip("timm")
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 5}
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, **options), (3, 32, 32), np.float32


def gpt2():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=30, n_positions=16)
    return Logits(transformers.GPT2LMHeadModel(config)), (8,), np.int32


NETWORKS = {
    "ResNet-18": lambda: of_torchvision("resnet18"),
    "MobileNetV2": lambda: of_torchvision("mobilenet_v2"),
    "MobileNetV3": lambda: of_torchvision("mobilenet_v3_small"),
    "ViT": vit,
    "GPT-2": gpt2,
}


class HardSigmoid(torch.nn.Module):
    """By its definition: PyTorch's own has no second derivative."""

    def forward(self, x):
        return torch.clamp(x + 3, 0, 6) / 6


def with_second_derivatives(network):
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.Hardsigmoid):
                setattr(module, name, HardSigmoid())
    return network


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.filterwarnings("default")  # of these libraries
@pytest.mark.parametrize("name", NETWORKS)
def test_as_in_pytorch(name) -> None:
    torch.manual_seed(0)
    network, shape, dtype = NETWORKS[name]()
    network = network.double()
    random = np.random.default_rng(0)
    x = random.normal(size=(2, *shape)) if dtype == np.float32 else random.integers(0, 30, (2, *shape))
    norms = any(isinstance(each, torch.nn.BatchNorm2d) for each in network.modules())
    model = wrap(
        network, shape, norm="running" if norms else "none", input_dtype=np.int32 if dtype == np.int32 else np.float64
    )
    params, state = model.init(jax.random.key(0))

    def loss(params):
        y, _ = model.apply(params, state, jnp.asarray(x), None)
        return jnp.square(y).sum(), y

    def slope(params):
        gradient, y = jax.grad(loss, has_aux=True)(params)
        return sum(jnp.square(g).sum() for g in gradient.values()), (y, gradient)

    second, (y, first) = jax.jit(jax.grad(slope, has_aux=True))(params)
    network = with_second_derivatives(network).eval()
    weights = dict(network.named_parameters())
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = network(torch.tensor(x))
        gradients = torch.autograd.grad(expected.square().sum(), list(weights.values()), create_graph=True)
        curvature = torch.autograd.grad(sum(g.square().sum() for g in gradients), list(weights.values()))
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-10)
    for ours, theirs in ((first, gradients), (second, curvature)):
        for leaf, tensor in zip(weights, theirs, strict=True):
            b = as_kept(network, leaf, tensor).detach().numpy()
            np.testing.assert_allclose(ours[leaf], b, rtol=1e-8, atol=1e-10 * max(1, np.abs(b).max()), err_msg=leaf)
