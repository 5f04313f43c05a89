"""PyTorch modules: adapted in JAX, and back into the very same module."""

import jax
import numpy as np
import pytest

import mtnets
from mtnets import OptionError, to_state_dict, wrap

torch = pytest.importorskip("torch", reason="PyTorch modules need mtnets[torch]")
pytest.importorskip("torch2jax", reason="PyTorch modules need mtnets[torch]")
nn = torch.nn


def conv_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 13 * 13, 3)
    )


def test_adapted_weights_go_back_into_the_module() -> None:
    network = nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = wrap(network, (1,))
    tasks = mtnets.tasks.sinusoid(shots=5)
    learner = mtnets.meta_train(
        model, mtnets.mt_net(0.05), tasks, meta_steps=2, inner_steps=2, validate_every=0, progress=False
    )
    x = np.linspace(-1, 1, 5)[:, None].astype(np.float32)
    adapted = learner.adapt(x, np.sin(x))
    for name, value in network.state_dict().items():  # the module itself is left alone
        assert torch.equal(value, before[name])
    network.load_state_dict(to_state_dict(adapted.params, network))
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.tensor(x)).numpy(), adapted(x), rtol=1e-5, atol=1e-5)


def test_convolutions_and_support_statistics_go_back_too() -> None:
    network = conv_net()
    model = wrap(network, (1, 28, 28), norm="support")
    assert [layer.name for layer in model.layers] == ["0", "4"]
    params, state = model.init(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(6, 1, 28, 28)).astype(np.float32)
    _, state = model.apply(params, state, x, jax.random.key(0))
    network.load_state_dict(to_state_dict({**params, **state}, network))
    with torch.no_grad():
        expected = network.eval()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(model.apply(params, state, x, None)[0], expected, rtol=1e-4, atol=1e-4)


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


def test_what_cannot_be_traced_is_named() -> None:
    grouped = nn.Sequential(nn.Identity(), nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), nn.Flatten())
    with pytest.raises(OptionError, match=r"cannot trace this PyTorch module, in its layer 1.0 \(Conv2d\).*groups"):
        wrap(grouped, (4, 8, 8))
    with pytest.raises(OptionError, match=r"has \(3, 2\) for weight and the weights are \(2, 2\)"):
        to_state_dict({"weight": np.ones((2, 2))}, nn.Linear(2, 3))
    with pytest.raises(OptionError, match="has nothing for other"):
        to_state_dict({"other": np.ones(2)}, nn.Linear(2, 3))
