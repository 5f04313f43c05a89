"""Networks as programs of their own: they make the same predictions, for any number of examples."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets import OptionError
from mtnets.networks.exports import export_onnx, export_stablehlo

WEIGHT = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)


def network(x):
    return jnp.tanh(x) @ WEIGHT


def inputs(count):
    return np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)


def test_stablehlo(tmp_path) -> None:
    pytest.importorskip("flatbuffers", reason="StableHLO needs mtnets[export]")
    export_stablehlo(network, (3,), jnp.float32, tmp_path / "model.stablehlo", ("cpu", "cuda"))
    program = jax.export.deserialize((tmp_path / "model.stablehlo").read_bytes())
    assert set(program.platforms) == {"cpu", "cuda"}
    for count in (1, 4):
        np.testing.assert_allclose(program.call(inputs(count)), network(inputs(count)), rtol=1e-5, atol=1e-6)


def test_onnx(tmp_path) -> None:
    pytest.importorskip("jax2onnx", reason="ONNX needs mtnets[onnx]")
    runtime = pytest.importorskip("onnxruntime")
    export_onnx(network, (3,), jnp.float32, tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (prediction,) = session.run(None, {session.get_inputs()[0].name: inputs(count)})
        np.testing.assert_allclose(prediction, network(inputs(count)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("export", "package", "extra"), [(export_stablehlo, "flatbuffers", "export"), (export_onnx, "jax2onnx", "onnx")]
)
def test_packages_that_are_not_there_are_named(export, package, extra, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OptionError, match=rf"pip install 'mtnets\[{extra}\]'"):
        export(network, (3,), jnp.float32, tmp_path / "model")
    assert not (tmp_path / "model").exists()
