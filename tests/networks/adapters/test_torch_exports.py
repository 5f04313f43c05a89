"""PyTorch modules as ONNX: ONNX Runtime predicts what the adapted model and the module itself do."""

import jax
import numpy as np
import pytest

from mtnets import OptionError, wrap
from mtnets.learner import AdaptedModel

torch = pytest.importorskip("torch", reason="PyTorch modules need mtnets[torch]")
pytest.importorskip("jax2onnx", reason="ONNX needs mtnets[onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX needs mtnets[onnx]")
nn = torch.nn

IMAGE = (2, 8, 8)


def pooled(pool, features):
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(features, 3))


class LastOutput(nn.Module):
    def __init__(self, cell, features):
        super().__init__()
        self.cell, self.head = cell, nn.Linear(features, 2)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0].mean(1))


MODULES = {
    "max pooling": (lambda: pooled(nn.MaxPool2d(3, 2, padding=1), 64), IMAGE),
    "max pooling, dilated": (lambda: pooled(nn.MaxPool2d(2, 2, dilation=2), 36), IMAGE),
    "average pooling": (lambda: pooled(nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), 64), IMAGE),
    "adaptive average pooling": (lambda: pooled(nn.AdaptiveAvgPool2d((3, 5)), 60), IMAGE),
    "adaptive max pooling": (lambda: pooled(nn.AdaptiveMaxPool2d((3, 5)), 60), IMAGE),
    "batch norm in eval": (lambda: pooled(nn.BatchNorm2d(4).eval(), 256), IMAGE),
    "group norm": (lambda: pooled(nn.GroupNorm(2, 4), 256), IMAGE),
    "LSTM": (lambda: LastOutput(nn.LSTM(3, 5, batch_first=True), 5), (6, 3)),
    "LSTM in both directions": (lambda: LastOutput(nn.LSTM(3, 5, bidirectional=True, batch_first=True), 10), (6, 3)),
    "attention": (Attention, (5, 8)),
}


def unlearned(model, state=None):
    """The model as its adapted form at the weights that it has."""
    params, own = model.init(jax.random.key(0))
    return AdaptedModel(model, params, own if state is None else state)


def inputs(count, shape):
    return np.random.default_rng(count).normal(size=(count, *shape)).astype(np.float32)


def in_runtime(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_predicts_the_same_in_onnx(name, tmp_path, capfd) -> None:
    torch.manual_seed(0)
    build, shape = MODULES[name]
    module = build()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_mean)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
    adapted = unlearned(wrap(module, shape))
    adapted.export_onnx(tmp_path / "model.onnx")
    assert "onnxruntime" not in capfd.readouterr().err  # its complaints about forms that were passed over
    for count in (1, 4):
        x = inputs(count, shape)
        prediction = in_runtime(tmp_path / "model.onnx", x)
        np.testing.assert_allclose(prediction, adapted(x), rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            expected = module.eval()(torch.tensor(x)).numpy()
        np.testing.assert_allclose(prediction, expected, rtol=1e-4, atol=1e-5)


def test_statistics_of_a_support_set_go_along(tmp_path) -> None:
    torch.manual_seed(0)
    model = wrap(pooled(nn.BatchNorm2d(4), 256), IMAGE, norm="support")
    params, state = model.init(jax.random.key(0))
    _, learned = model.apply(params, state, 3 + inputs(6, IMAGE), jax.random.key(1))
    adapted = unlearned(model, learned)
    adapted.export_onnx(tmp_path / "model.onnx")
    x = inputs(4, IMAGE)
    prediction = in_runtime(tmp_path / "model.onnx", x)
    np.testing.assert_allclose(prediction, adapted(x), rtol=1e-4, atol=1e-5)
    assert not np.allclose(prediction, unlearned(model)(x), atol=0.01)


class Remainder(nn.Linear):
    def forward(self, x):
        return super().forward(x).remainder(0.7)


class Inverse(nn.Linear):
    def forward(self, x):
        y = super().forward(x)
        return torch.linalg.inv(y[:, :, None] * y[:, None] + torch.eye(4))[:, 0]


class Exponential(nn.Linear):
    def forward(self, x):
        y = super().forward(x)
        return torch.linalg.matrix_exp(y[:, :, None] * y[:, None])[:, 0]


@pytest.mark.parametrize(
    ("layer", "operation"), [(Remainder, "operation rem cannot"), (Inverse, "lu"), (Exponential, "primitive '")]
)
def test_an_operation_that_onnx_does_not_have_is_named(layer, operation, tmp_path) -> None:
    adapted = unlearned(wrap(layer(4, 4), (4,)))
    with pytest.raises(OptionError, match=rf"cannot be written as ONNX: .*\b{operation}.* Write StableHLO: ") as error:
        adapted.export_onnx(tmp_path / "model.onnx")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
