"""Weights under PyTorch's names: the equal module, written in PyTorch, makes the same predictions."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import mtnets
from mtnets import OptionError, wrap
from mtnets.networks.models import BatchNorm
from mtnets.networks.state_dict import save_state_dict, state_dict

torch = pytest.importorskip("torch", reason="the equal modules are PyTorch's")
nn = torch.nn


def away(tree, seed=0):
    """A tree of the same shapes, all of it at random, so that nothing is at a special value."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda a: np.float32(random.uniform(0.5, 1.5, a.shape) * random.choice([-1, 1])), tree)


def inputs_of(model, seed=1):
    return np.random.default_rng(seed).normal(size=(3, *model.input_shape)).astype(np.float32)


def same_predictions(model, module, x=None, *, channels_last=True, state=None, rtol=1e-5, **options):
    """The model at random weights and the module with the exported ones."""
    params, own = model.init(jax.random.key(0))
    params, state = away(params), jax.tree.map(np.abs, away(own)) if state is None else state
    exported = state_dict(model, params, state, **options)
    module.load_state_dict({name: torch.tensor(array) for name, array in exported.items()})
    x = inputs_of(model) if x is None else x
    expected = np.asarray(jax.jit(model.apply)(params, state, x, None)[0])
    given = torch.tensor(np.moveaxis(x, -1, 1) if channels_last and x.ndim > 2 else x)
    with torch.no_grad():
        found = module.eval()(given).numpy()
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


class Mlp(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


class Conv4(nn.Module):
    """As the built-in network; `Flatten` puts channels first, as PyTorch's images have them."""

    def __init__(self, ways, channels, filters, pixels, *, pool, norm):
        super().__init__()
        sizes = [channels, *[filters] * 4]
        # "SAME" of a strided convolution pads what is missing, more of it after than before
        pad, stride = (nn.Identity(), 1) if pool else (nn.ZeroPad2d((0, 1, 0, 1)), 2)
        make = functools.partial(nn.Conv2d, kernel_size=3, stride=stride, padding=1 if pool else 0)
        self.convs = nn.ModuleList(make(a, b) for a, b in itertools.pairwise(sizes))
        stats = {"track_running_stats": norm == "support"}
        if norm != "none":
            self.norms = nn.ModuleList(nn.BatchNorm2d(filters, eps=1e-3, **stats) for _ in range(4))
        self.head = nn.Linear(filters * pixels**2, ways)
        self.pad, self.pool, self.norm = pad, pool, norm

    def forward(self, x):
        for i, conv in enumerate(self.convs):
            x = conv(self.pad(x))
            x = torch.relu(x if self.norm == "none" else self.norms[i](x))
            x = nn.functional.max_pool2d(x, 2) if self.pool else x
        return self.head(x.flatten(1) if self.pool else x.mean((2, 3)))


def test_an_adapted_mlp(tmp_path) -> None:
    """From adaptation to a file to PyTorch."""
    from safetensors.torch import load_file

    model = mtnets.models.mlp(3, 8, 8, 2, init_std=0.5)
    params, state = model.init(jax.random.key(0))
    method = mtnets.mt_net(0.05)
    meta = method.init(model, params, jax.random.key(1), inner_lr=0.05, inner_steps=2)
    x = inputs_of(model)
    adapted = mtnets.Learner(model, method, mtnets.Learned(meta, state, 0.05), 2, "mse").adapt(x, x[:, :2])
    save_state_dict(tmp_path / "adapted.safetensors", model, adapted.params, adapted.state)
    module = Mlp(3, 8, 8, 2)
    module.load_state_dict(load_file(tmp_path / "adapted.safetensors"))
    with torch.no_grad():
        np.testing.assert_allclose(module(torch.tensor(x)).numpy(), adapted(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["support", "transductive", "none"])
@pytest.mark.parametrize("downsample", ["stride", "pool"])
def test_conv4(downsample, norm) -> None:
    """Strided ones have a mean before the head; pooled ones are flattened, so that the head's inputs are permuted."""
    model = mtnets.models.conv4(3, image_size=32, channels=2, filters=4, downsample=downsample, norm=norm)
    module = Conv4(3, 2, 4, 2 if downsample == "pool" else 1, pool=downsample == "pool", norm=norm)
    same_predictions(model, module, rtol=2e-5)
    if downsample == "pool":
        params, state = model.init(jax.random.key(0))
        head = state_dict(model, params, state)["head.weight"]
        np.testing.assert_array_equal(
            head.reshape(3, 4, 2, 2), params["head"]["kernel"].reshape(2, 2, 4, 3).transpose(3, 2, 0, 1)
        )


class Net(nnx.Module):
    """One layer, flattened."""

    def __init__(self, build, rngs):
        self.layer = build(rngs)

    def __call__(self, x):
        y = self.layer(x)
        return jnp.moveaxis(y, -1, 1).reshape(len(y), -1)  # as PyTorch flattens


class TorchNet(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).flatten(1)


CONVOLUTIONS = {
    "1-D": (lambda r: nnx.Conv(2, 3, 3, strides=2, padding="VALID", rngs=r), lambda: nn.Conv1d(2, 3, 3, 2), (9, 2)),
    "3-D": (
        lambda r: nnx.Conv(2, 3, (2, 1, 3), padding="VALID", use_bias=False, rngs=r),
        lambda: nn.Conv3d(2, 3, (2, 1, 3), bias=False),
        (3, 2, 4, 2),
    ),
    "dilated": (
        lambda r: nnx.Conv(2, 3, (2, 3), kernel_dilation=2, padding="VALID", rngs=r),
        lambda: nn.Conv2d(2, 3, (2, 3), dilation=2),
        (5, 6, 2),
    ),
    "grouped": (
        lambda r: nnx.Conv(4, 6, (2, 3), feature_group_count=2, padding="VALID", rngs=r),
        lambda: nn.Conv2d(4, 6, (2, 3), groups=2),
        (4, 5, 4),
    ),
    "depthwise": (
        lambda r: nnx.Conv(3, 6, (3, 3), feature_group_count=3, rngs=r),
        lambda: nn.Conv2d(3, 6, 3, groups=3, padding=1),
        (4, 5, 3),
    ),
    "transposed": (
        lambda r: nnx.ConvTranspose(2, 3, (2, 3), strides=2, padding="VALID", rngs=r),
        lambda: nn.ConvTranspose2d(2, 3, (2, 3), stride=2),
        (3, 4, 2),
    ),
    "transposed, of a flipped kernel": (
        lambda r: nnx.ConvTranspose(2, 3, (2, 3), strides=2, padding="VALID", transpose_kernel=True, rngs=r),
        lambda: nn.ConvTranspose2d(2, 3, (2, 3), stride=2),
        (3, 4, 2),
    ),
    "dense": (lambda r: nnx.Linear(2, 3, rngs=r), lambda: nn.Conv2d(2, 3, 1), None),
}


@pytest.mark.parametrize("kind", [kind for kind in CONVOLUTIONS if kind != "dense"])
def test_convolutions_of_every_kind(kind) -> None:
    build, module, shape = CONVOLUTIONS[kind]
    same_predictions(wrap(lambda rngs: Net(build, rngs), shape, norm="none"), TorchNet(module()))


def test_equinox_grouped_transposed_convolution() -> None:
    eqx = pytest.importorskip("equinox", reason="the network is Equinox's")
    layer = eqx.nn.ConvTranspose2d(4, 6, (2, 3), stride=2, groups=2, key=jax.random.key(0))
    network = eqx.nn.Sequential([layer, eqx.nn.Lambda(jnp.ravel)])
    module = nn.Sequential(nn.ConvTranspose2d(4, 6, (2, 3), stride=2, groups=2), nn.Flatten())
    named = torch.nn.ModuleDict({"layers": module})
    model = wrap(network, (4, 3, 3))
    named.forward = module.forward
    same_predictions(model, named, channels_last=False)


def test_flattened_images_are_named() -> None:
    class Flat(nnx.Module):
        def __init__(self, rngs):
            self.conv, self.head = nnx.Conv(2, 3, (3, 3), rngs=rngs), nnx.Linear(60, 2, rngs=rngs)

        def __call__(self, x):
            return self.head(self.conv(x).reshape(len(x), -1))

    class TorchFlat(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(60, 2)

        def forward(self, x):
            return self.head(self.conv(x).flatten(1))

    model = wrap(Flat, (4, 5, 2), norm="none")
    same_predictions(model, TorchFlat(), flattened={"head": (4, 5, 3)})
    with pytest.raises(AssertionError):  # the order matters
        same_predictions(model, TorchFlat())
    params, state = model.init(jax.random.key(0))
    with pytest.raises(OptionError, match=r"flattened says \(4, 5, 2\) for head, whose weight is \(2, 60\)"):
        state_dict(model, params, state, flattened={"head": (4, 5, 2)})
    with pytest.raises(OptionError, match="flattened names tail; the layers are conv, head"):
        state_dict(model, params, state, flattened={"tail": (4, 5, 3)})


class Words(nnx.Module):
    """Words in, places added, normalised, pooled, a head."""

    def __init__(self, rngs):
        self.words, self.places = nnx.Embed(7, 4, rngs=rngs), nnx.Param(rngs.params.normal((5, 4)))
        self.norm, self.head = nnx.LayerNorm(4, epsilon=1e-5, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(self.norm(self.words(x) + self.places[...]).mean(1))


class TorchWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(7, 4), nn.Parameter(torch.zeros(5, 4))
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.norm(self.words(x) + self.places).mean(1))


def test_embeddings_and_what_is_in_no_layer() -> None:
    model = wrap(Words, (5,), norm="none", input_dtype=jnp.int32)
    x = np.random.default_rng(0).integers(7, size=(3, 5))
    same_predictions(model, TorchWords(), x, rtol=1e-4)


def test_attention_is_four_linear_layers() -> None:
    class Attention(nnx.Module):
        def __init__(self, rngs):
            self.attention = nnx.MultiHeadAttention(2, 6, decode=False, rngs=rngs)

        def __call__(self, x):
            return self.attention(x).mean(1)

    class TorchAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.ModuleDict({name: nn.Linear(6, 6) for name in ("query", "key", "value", "out")})

        def forward(self, x):
            part = self.attention
            q, k, v = (part[n](x).unflatten(-1, (2, 3)).transpose(1, 2) for n in ("query", "key", "value"))
            y = nn.functional.scaled_dot_product_attention(q, k, v)
            return part["out"](y.transpose(1, 2).flatten(2)).mean(1)

    same_predictions(wrap(Attention, (5, 6), norm="none"), TorchAttention(), channels_last=False, rtol=1e-4)


# The same network of every library: Linear 3 → 4, batch norm, tanh, Linear 4 → 2.


def normed(first, norm, last, eps):
    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(first, nn.Linear(3, 4))
            self.add_module(norm, nn.BatchNorm1d(4, eps=eps))
            self.add_module(last, nn.Linear(4, 2))

        def forward(self, x):
            x = torch.tanh(getattr(self, norm)(getattr(self, first)(x)))
            return getattr(self, last)(x)

    return Module()


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.BatchNorm(use_running_average=not train, momentum=0.0)(linen.Dense(4)(x))
        return linen.Dense(2)(jnp.tanh(x))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
        self.norm = BatchNorm(4, momentum=0.0, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.norm(self.first(x))))


def of_haiku():
    hk = pytest.importorskip("haiku", reason="the network is Haiku's")

    class Inside(hk.Module):
        def __call__(self, x, is_training):
            self.head = hk.Linear(2)
            return self.head(jnp.tanh(hk.BatchNorm(True, True, decay_rate=0.0)(hk.Linear(4)(x), is_training)))

    network = hk.transform_with_state(lambda x, is_training=False: Inside("net")(x, is_training))
    model = wrap(network, (3,), norm="support", learning={"is_training": True})
    module = nn.ModuleDict({"net": normed("linear_1", "batch_norm", "linear", 1e-5)})
    module.forward = module["net"].forward
    return model, module


def test_batch_norm_of_every_library() -> None:
    options = {"learning": {"train": True}, "predicting": {"train": False}}
    same_predictions(wrap(Linen(), (3,), norm="support", **options), normed("Dense_0", "BatchNorm_0", "Dense_1", 1e-5))
    same_predictions(wrap(Nnx, (3,), norm="support"), normed("first", "norm", "last", 1e-3))
    frozen = mtnets.frozen(wrap(Nnx(nnx.Rngs(0)), (3,), norm="support"), ["first"])
    same_predictions(frozen, normed("first", "norm", "last", 1e-3))
    model, module = of_haiku()
    same_predictions(model, module)


def test_a_pytorch_module_gets_its_own_back() -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    model = wrap(module, (2, 4, 4), norm="support")
    exported, own = state_dict(model, *model.init(jax.random.key(0))), module.state_dict()
    assert exported.keys() == own.keys()
    for name, array in exported.items():
        np.testing.assert_array_equal(array, own[name].numpy(), err_msg=name)


def test_names_of_the_user() -> None:
    params = {"w1": np.ones((3, 4), np.float32), "b1": np.ones(4, np.float32), "w2": np.ones((4, 2), np.float32)}
    network = (lambda p, x: jnp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"], params)
    shapes = lambda model: {n: a.shape for n, a in state_dict(model, params).items()}  # noqa: E731
    assert shapes(wrap(network, (3,), layers={"first": ("w1", "b1")})) == {
        "first.weight": (4, 3),
        "first.bias": (4,),
        "w2.weight": (2, 4),
    }
    alone = wrap((lambda p, x: x @ p["w"] + p["b"], {"w": params["w1"], "b": params["b1"]}), (3,))
    assert state_dict(alone, alone.init(jax.random.key(0))[0]).keys() == {"weight", "bias"}  # nn.Linear itself


@pytest.mark.parametrize(
    ("params", "apply", "message"),
    [
        ({"a": (3, 2), "idle": (4, 5)}, lambda p, x: x @ p["a"], r"idle \(4, 5\) is not used"),
        (
            {"a": (3, 2), "b": (4, 2)},
            lambda p, x: x @ p["a"] @ p["b"][1:3],
            r"b \(4, 2\) .* only what is computed from it",
        ),
        (
            {"a": (2, 3, 2)},
            lambda p, x: jnp.einsum("bni,bio->bno", x[None].repeat(2, 0), p["a"])[0],
            "enters dot_general",
        ),
    ],
)
def test_what_has_no_equivalent_is_named(params, apply, message) -> None:
    params = {name: np.ones(shape, np.float32) for name, shape in params.items()}
    with pytest.raises(OptionError, match=message):
        state_dict(wrap((apply, params), (3,)), params)


def test_statistics_by_number_are_refused() -> None:
    eqx = pytest.importorskip("equinox", reason="the network is Equinox's")

    class Network(eqx.Module):
        first: Any
        norm: Any

        def __init__(self, key):
            self.first = eqx.nn.Linear(3, 4, key=key)
            self.norm = eqx.nn.BatchNorm(4, axis_name="batch", momentum=0.0, mode="batch")

        def __call__(self, x, state):
            return self.norm(self.first(x), state)

    model = wrap(eqx.nn.make_with_state(Network)(jax.random.key(0)), (3,), norm="support")
    with pytest.raises(OptionError, match="keeps its statistics by number"):
        state_dict(model, *model.init(jax.random.key(0)))
