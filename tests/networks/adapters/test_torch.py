"""PyTorch modules: adapted in JAX, and back into the very same module."""

import dataclasses
import threading

import jax
import numpy as np
import pytest

import mtnets
from mtnets import OptionError, to_state_dict, wrap
from mtnets.learner import AdaptedModel

torch = pytest.importorskip("torch", reason="PyTorch modules need mtnets[torch]")
nn = torch.nn


def adapted_to_sines(network, **options):
    """A model of this network, learned for two meta-steps and adapted to one task."""
    tasks = mtnets.tasks.sinusoid(shots=5)
    learner = mtnets.meta_train(
        wrap(network, (1,), **options),
        mtnets.mt_net(0.05),
        tasks,
        meta_steps=2,
        inner_steps=2,
        validate_every=0,
        progress=False,
    )
    x = np.linspace(-1, 1, 5)[:, None].astype(np.float32)
    return learner.adapt(x, np.sin(x)), x


def predictions(module, x):
    with torch.no_grad():
        return module(torch.tensor(x)).float().numpy()


def test_an_adapted_model_goes_back_and_the_module_is_left_alone() -> None:
    network = nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    adapted, x = adapted_to_sines(network)
    back = adapted.to_torch(network)
    assert network.training
    assert not back.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    np.testing.assert_allclose(predictions(back, x), adapted(x), rtol=1e-5, atol=1e-5)
    network.load_state_dict(to_state_dict(adapted, network))
    np.testing.assert_allclose(predictions(network, x), adapted(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["support", "running", "transductive"])
@pytest.mark.filterwarnings("ignore:This learner was trained with transductive batch norm")
def test_statistics_of_batch_norm_go_back_too(norm) -> None:
    """`to_torch(module)(x)` is `adapted(x)`, whatever batch norm means; weights alone are not enough."""
    network = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    adapted, x = adapted_to_sines(network, norm=norm)
    np.testing.assert_allclose(predictions(adapted.to_torch(network), x), adapted(x), rtol=1e-5, atol=1e-5)
    with pytest.warns(UserWarning, match=r"come without 1.running_mean, 1.running_var"):
        to_state_dict(adapted.params, network)
    held = mtnets.frozen(wrap(network, (1,), norm="support"), ["0"])
    params, state = held.init(jax.random.key(0))
    _, state = held.apply(params, state, x, jax.random.key(0))
    back = AdaptedModel(held, params, state).to_torch(network)
    np.testing.assert_allclose(predictions(back, x), held.apply(params, state, x, None)[0], rtol=1e-5, atol=1e-5)


def test_layers_of_every_kind_are_found() -> None:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.conv = nn.Embedding(20, 8), nn.Conv1d(8, 8, 3, padding=1, groups=2)
            self.up, self.cell = nn.ConvTranspose1d(8, 6, 2), nn.LSTM(6, 4, batch_first=True, bidirectional=True)
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

        def forward(self, x):
            y = self.up(torch.relu(self.conv(self.words(x).mT))).mT
            y, _ = self.cell(y)
            return self.head(self.attention(y, y, y)[0].mean(1))

    layers = {layer.weight: layer for layer in wrap(Net(), (5,), input_dtype=np.int32).layers}
    assert {path: (layer.out_axes, layer.groups, layer.bias) for path, layer in layers.items()} == {
        "words.weight": ((1,), 1, None),
        "conv.weight": ((2,), 2, "conv.bias"),
        "up.weight": ((1,), 1, "up.bias"),
        "cell.weight_ih_l0": ((0,), 1, "cell.bias_ih_l0"),
        "cell.weight_hh_l0": ((0,), 1, "cell.bias_hh_l0"),
        "cell.weight_ih_l0_reverse": ((0,), 1, "cell.bias_ih_l0_reverse"),
        "cell.weight_hh_l0_reverse": ((0,), 1, "cell.bias_hh_l0_reverse"),
        "attention.in_proj_weight": ((0,), 1, "attention.in_proj_bias"),
        "attention.out_proj.weight": ((0,), 1, "attention.out_proj.bias"),
        "head.weight": ((0,), 1, "head.bias"),
    }


class Convolutions(nn.Module):
    """Of 1 to 3 axes, grouped or not, of a single element, used twice, larger than their images."""

    def __init__(self):
        super().__init__()
        self.first, self.grouped, self.point = nn.Conv2d(2, 4, (3, 2)), nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 3, 1)
        self.line, self.volume = nn.Conv1d(3, 3, 3, padding=1, bias=False), nn.Conv3d(1, 2, 2)
        self.large = nn.Conv2d(3, 40, 3)
        self.again = nn.Conv1d(3, 3, 3, padding=1, bias=False)
        self.again.weight = self.line.weight

    def forward(self, x):
        y = self.point(torch.relu(self.grouped(self.first(x))))  # [examples, 3, 4, 5]
        z = self.again(torch.tanh(self.line(y.flatten(2))))
        return torch.cat([part.flatten(1) for part in (z, self.volume(y[:, None]), self.large(y))], 1)


def test_convolutions_are_kept_as_in_jax() -> None:
    """Back in PyTorch they have its layout, by each of the ways there."""
    torch.manual_seed(0)
    network = Convolutions()
    model = wrap(network, (2, 8, 8))
    assert model.layout == "kernels end with inputs and units"  # "line" would have the same shape in PyTorch's
    params, state = model.init(jax.random.key(0))
    shapes = {layer.name: (layer.shape, layer.out_axes, layer.groups) for layer in model.layers}
    assert shapes == {
        "first": ((3, 2, 2, 4), (3,), 1),
        "grouped": ((3, 3, 2, 6), (3,), 2),
        "point": ((1, 1, 6, 3), (3,), 1),
        "line": ((3, 3, 3), (2,), 1),
        "volume": ((2, 2, 2, 1, 2), (4,), 1),
        "large": ((3, 3, 3, 40), (3,), 1),
    }
    x = np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)
    moved = {name: leaf + 0.1 * np.cos(np.arange(leaf.size)).reshape(leaf.shape) for name, leaf in params.items()}
    adapted = AdaptedModel(model, moved, state)
    expected = model.apply(moved, state, x, None)[0]
    np.testing.assert_allclose(predictions(adapted.to_torch(network), x), expected, rtol=1e-4, atol=1e-5)
    exported = {name: torch.tensor(array) for name, array in adapted.state_dict().items()}
    network.load_state_dict({**exported, "again.weight": exported["line.weight"]})
    np.testing.assert_allclose(predictions(network, x), expected, rtol=1e-4, atol=1e-5)
    assert all(tensor.is_contiguous() for tensor in to_state_dict(adapted, network).values())
    with pytest.raises(OptionError, match=r"has \(3, 2, 2, 4\) for first.weight and the weights are \(4, 2, 3, 2\)"):
        to_state_dict(network.state_dict(), network)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices lay out weights themselves")
def test_no_weight_of_a_convolution_is_transposed() -> None:
    model = wrap(nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten()), (8, 6, 6))
    params, state = model.init(jax.random.key(0))

    def loss(params):
        return jax.numpy.square(model.apply(params, state, np.ones((2, 8, 6, 6), np.float32), None)[0]).sum()

    def second(params):
        return loss(jax.tree.map(lambda w, g: w - 0.1 * g, params, jax.grad(loss)(params)))

    program = str(jax.jit(jax.grad(second)).lower(params).compile().as_text())
    assert "[3,3,8,16]" in program
    assert "[16,8,3,3]" not in program


def test_normalised_weights_are_layers() -> None:
    norm = nn.utils.parametrizations.weight_norm
    network = nn.Sequential(norm(nn.Conv1d(1, 4, 3)), nn.ReLU(), nn.Flatten(), norm(nn.Linear(8, 2)))
    model = wrap(network, (1, 4))
    assert [layer.paths for layer in model.layers] == [
        ("0.parametrizations.weight.original1", "0.bias"),
        ("3.parametrizations.weight.original1", "3.bias"),
    ]
    assert [layer.out_axes for layer in model.layers] == [(0,), (0,)]
    assert set(model.loose) == {f"{name}.parametrizations.weight.original0" for name in "03"}
    with pytest.raises(OptionError, match=r"0.parametrizations.weight.original1 .* in a way that no layer of PyTorch"):
        AdaptedModel(model, *model.init(jax.random.key(0))).state_dict()


def test_groups_of_a_transposed_convolution_share_a_metric() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), nn.Flatten())
    model = wrap(network, (4, 2, 2))
    (layer,) = model.layers
    assert (layer.shape, layer.out_axes, layer.groups) == ((4, 3, 3, 3), (1,), 1)
    random = np.random.default_rng(0)
    x, metric = (random.normal(size=shape).astype(np.float32) for shape in ((2, 4, 2, 2), (3, 3)))
    params, state = model.init(jax.random.key(0))
    y = model.apply(params, state, x, None)[0].reshape(2, 2, 3, -1)
    folded = layer.leaves(layer.matrix(params) @ metric)
    expected = np.einsum("ngup,uv->ngvp", y, metric).reshape(2, -1)
    np.testing.assert_allclose(model.apply(folded, state, x, None)[0], expected, rtol=1e-4, atol=1e-5)


def test_what_has_no_gradient_is_neither_adapted_nor_meta_trained() -> None:
    network = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    network[0].requires_grad_(False)
    network[2].bias.requires_grad_(False)
    model = wrap(network, (1,))
    assert [layer.paths for layer in model.layers] == [("2.weight",), ("4.weight", "4.bias")]
    adapted, _ = adapted_to_sines(network)
    for name, parameter in network.named_parameters():
        moved = not np.array_equal(adapted.params[name], parameter.detach().numpy())
        assert moved == parameter.requires_grad, name
    with pytest.raises(OptionError, match="All parameters of the module have requires_grad=False"):
        wrap(network.requires_grad_(False), (1,))


def test_a_part_in_eval_stays_in_eval() -> None:
    backbone = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    network = nn.Sequential(backbone.eval(), nn.Linear(8, 2))
    model = wrap(network, (3,), norm="none")  # its statistics stay
    params, state = model.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    learned, after = model.apply(params, state, x, jax.random.key(0))
    np.testing.assert_allclose(learned, predictions(network, x), rtol=1e-5, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    live = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)).eval()
    model = wrap(live, (3,))  # as a whole it learns all the same
    params, state = model.init(jax.random.key(0))
    assert not np.allclose(*(model.apply(params, state, x, jax.random.key(i))[0] for i in (0, 1)))


@pytest.mark.parametrize("momentum", [0.3, None])
def test_running_statistics_are_averaged_as_the_module_says(momentum) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=momentum), nn.Linear(4, 2))
    model = wrap(network, (3,), norm="running")
    params, state = model.init(jax.random.key(0))
    for seed in range(3):
        x = np.random.default_rng(seed).normal(seed, 2.0, size=(6, 3)).astype(np.float32)
        y, state = model.apply(params, state, x, jax.random.key(0))
        np.testing.assert_allclose(y, network(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    for name, value in network.state_dict().items():
        np.testing.assert_allclose({**params, **state}[name], value.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


def test_batch_norm_without_statistics_is_transductive() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2))
    for norm in ("none", "support", "running"):
        with pytest.raises(OptionError, match=r"Batch norm 1 has track_running_stats=False.*norm='transductive'"):
            wrap(network, (3,), norm=norm)
    model = wrap(network, (3,), norm="transductive")
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    expected = predictions(network.eval(), x)
    np.testing.assert_allclose(model.apply(*model.init(jax.random.key(0)), x, None)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_precisions(dtype) -> None:
    """Meta-parameters are float32 and move by less than a step of 16 bits; the module computes as it is."""
    network = nn.Sequential(nn.Linear(3, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 2)).to(getattr(torch, dtype))
    model = wrap(network, (3,))
    params, state = model.init(jax.random.key(0))
    assert {leaf.dtype for leaf in params.values()} == {np.dtype(np.float32)}
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    y = model.apply(params, state, x, None)[0]
    assert y.dtype == np.float32
    with torch.no_grad():
        expected = network(torch.tensor(x).to(getattr(torch, dtype))).float().numpy()
    np.testing.assert_allclose(y, expected, atol={"bfloat16": 2e-2, "float16": 2e-3, "float64": 1e-5}[dtype])
    if dtype != "float64":
        assert not np.allclose(y, predictions(network.float(), x), atol=1e-6)


def test_random_draws_are_new_for_each_key_and_off_in_predictions() -> None:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRU(3, 8, 2, dropout=0.5, batch_first=True), nn.Linear(8, 2)

        def forward(self, x):
            y = self.cell(x)[0][:, -1]
            y = nn.functional.dropout(y, 0.5, self.training)
            return self.head(y + torch.randn_like(y) if self.training else y)

    network = Net()
    model = wrap(network, (4, 3))
    params, state = model.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
    a, b, c = (model.apply(params, state, x, jax.random.key(i))[0] for i in (0, 1, 0))
    np.testing.assert_array_equal(a, c)
    assert not np.allclose(a, b)
    expected = predictions(network.eval(), x)
    np.testing.assert_allclose(model.apply(params, state, x, None)[0], expected, rtol=1e-4, atol=1e-5)
    p = 0.25
    dropped = wrap(nn.Sequential(nn.Linear(1, 400), nn.Dropout(p)), (1,))
    y = np.asarray(dropped.apply(*dropped.init(jax.random.key(0)), np.ones((50, 1), np.float32), jax.random.key(1))[0])
    assert abs((y == 0).mean() - p) < 0.02


def test_the_size_of_the_batch_may_matter() -> None:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.few, self.many = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.few(x) if x.shape[0] < 5 else self.many(x)

    network = Net()
    model = wrap(network, (3,))
    for n in (1, 4, 7):
        x = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        y = model.apply(*model.init(jax.random.key(0)), x, None)[0]
        np.testing.assert_allclose(y, predictions(network, x), rtol=1e-5, atol=1e-6)


def test_tied_weights_are_one_parameter() -> None:
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(torch.tanh(self.first(x)))

    network = Tied()
    model = wrap(network, (4,))
    params, state = model.init(jax.random.key(0))
    assert sorted(params) == ["first.bias", "first.weight", "second.bias"]
    x = np.ones((2, 4), np.float32)
    doubled = {name: 2 * leaf for name, leaf in params.items()}
    network.load_state_dict(to_state_dict(doubled, network))
    with torch.no_grad():
        expected = network(torch.tensor(x)).numpy()
    np.testing.assert_allclose(model.apply(doubled, state, x, None)[0], expected, rtol=1e-5, atol=1e-6)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        if x.sum() > 0:
            x = -x
        return self.layer(x)


class Nonzero(Branches):
    def forward(self, x):
        return self.layer(x)[x[:, 0].nonzero()[:, 0]]


class Noise(Branches):
    def forward(self, x):
        return self.layer(x + torch.randn_like(x))


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):  # straight through
        return gradient


class Straight(Branches):
    def forward(self, x):
        return Sign.apply(self.layer(x))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Straight, r"in its layer 1 \(Straight\), line \d+ of test_torch.py .*Sign is a torch.autograd.Function"),
        (Branches, r"in its layer 1 \(Branches\), line \d+ of test_torch.py \(if x.sum\(\) > 0"),
        (Nonzero, r"in its layer 1 \(Nonzero\), line \d+ of test_torch.py \(return self.layer\(x\)\[.*nonzero"),
        (
            Noise,
            r"in its layer 1 \(Noise\), line \d+ of test_torch.py .*randn_like.* draws random numbers for a predict",
        ),
    ],
)
def test_what_cannot_be_run_is_named(layer, message) -> None:
    with pytest.raises(OptionError, match=message):
        wrap(nn.Sequential(nn.Identity(), layer()), (3,))


class Returns(nn.Linear):
    """Returns what a function makes of its outputs."""

    def __init__(self, function):
        super().__init__(3, 2)
        self.function = function

    def forward(self, x):
        return self.function(super().forward(x))


@dataclasses.dataclass
class Output:
    logits: object


ONE = r"it must return one array \[examples, outputs\]"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda y: (y, y), "returns 2 arrays; it must return one"),
        (lambda y: {"logits": y, "loss": y.sum()}, "returns 2 arrays; it must return one"),
        (lambda y: (), "returns 0 arrays; it must return one"),
        (lambda y: y.sum(), rf"returns \[\]; {ONE}"),
        (lambda y: y[:, 0], rf"returns \[3\]; {ONE}"),
        (lambda y: y[:, :0], rf"returns \[3, 0\]; {ONE}"),
        (lambda y: None, f"returns None; {ONE}"),
        (lambda y: 1.5, f"returns 1.5; {ONE}"),
        (lambda y: "text", f"returns 'text'; {ONE}"),
        (Output, f"returns Output; {ONE}"),
        (lambda y: y.argmax(1, keepdim=True), "returns numbers of int32, which have no gradient; .* floating point"),
        (lambda y: y > 0, "returns numbers of bool, which have no gradient"),
        (lambda y: y.reshape(7, 2), r"cannot take inputs \[examples, 3\] of float32, line .*\[7, 2\].* is invalid"),
    ],
)
def test_outputs_of_another_form_are_named(function, message) -> None:
    with pytest.raises(OptionError, match=message) as error:
        wrap(Returns(function), (3,))
    assert "\n" not in str(error.value)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x, y):
        return self.layer(x) + y


class WithoutForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)


class Locked(Branches):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (
            lambda: nn.Linear(4, 2),
            {},
            r"cannot take inputs \[examples, 3\] of float32: RuntimeError: .*Say other inputs",
        ),
        (
            lambda: nn.Embedding(9, 2),
            {},
            r"cannot take inputs \[examples, 3\] of float32: .*(input_shape, input_dtype)",
        ),
        (TwoInputs, {}, "cannot take inputs .* missing 1 required positional argument: 'y'"),
        (WithoutForward, {}, 'cannot take inputs .* is missing the required "forward" function'),
        (lambda: nn.ModuleList([nn.Linear(3, 2)]), {}, 'ModuleList.* is missing the required "forward" function'),
        (Locked, {}, "cannot be copied: .*lock.* Take out of it what copy.deepcopy cannot copy"),
        (lambda: nn.Linear(3, 2, device="meta"), {}, "weight is on the device meta, where it has no numbers"),
        (lambda: nn.Linear(3, 2, dtype=torch.complex64), {}, r"The parameter weight is torch.complex64; .* floating"),
        (lambda: nn.Linear(3, 2), {"input_dtype": complex}, "input_dtype is .*complex.*; it must be a type of numbers"),
    ],
)
def test_modules_and_inputs_that_do_not_fit_are_named(build, options, message) -> None:
    with pytest.raises(OptionError, match=message) as error:
        wrap(build(), (3,), **options)
    assert "\n" not in str(error.value)


def test_weights_of_another_module_are_refused() -> None:
    with pytest.raises(OptionError, match=r"has \(3, 2\) for weight and the weights are \(2, 2\)"):
        to_state_dict({"weight": np.ones((2, 2))}, nn.Linear(2, 3))
    with pytest.raises(OptionError, match="has nothing for other"):
        to_state_dict({"other": np.ones(2)}, nn.Linear(2, 3))
    with pytest.raises(OptionError, match=r"has \(2, 3\) for weight and the weights are \(\)"):
        to_state_dict({"weight": 1.0}, nn.Linear(3, 2))
    with pytest.raises(OptionError, match="adapted is int; it must be an adapted model, or arrays by their names"):
        to_state_dict(3, nn.Linear(3, 2))
    with pytest.raises(OptionError, match=r"network is str; it must be a torch\.nn\.Module"):
        to_state_dict({}, "network")
    with pytest.raises(OptionError, match="has lazy layers"):
        wrap(nn.LazyLinear(3), (2,))


def test_nothing_is_printed(capfd) -> None:
    wrap(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), (3,), norm="running")
    with pytest.raises(OptionError):
        wrap(Branches(), (3,))
    assert capfd.readouterr() == ("", "")
