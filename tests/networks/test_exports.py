"""Networks as programs of their own: they make the same predictions, for any number of examples."""

import hashlib
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from mtnets import OptionError
from mtnets.files import read_json
from mtnets.networks.exports import Program, export_onnx, export_stablehlo
from mtnets.networks.models.conv import max_pool

WEIGHT = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)


def network(x):
    return jnp.tanh(x) @ WEIGHT


def inputs(count):
    return np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)


def counting(x):
    """Asks how many examples there are."""
    return jnp.tanh(x).reshape(len(x), -1) @ WEIGHT


@pytest.mark.parametrize("network", [network, counting])
def test_stablehlo(network, tmp_path) -> None:
    pytest.importorskip("flatbuffers", reason="StableHLO needs mtnets[export]")
    export_stablehlo(Program.of(network, (3,)), tmp_path / "model.stablehlo", ("cpu", "cuda"))
    program = jax.export.deserialize((tmp_path / "model.stablehlo").read_bytes())
    assert set(program.platforms) == {"cpu", "cuda"}
    for count in (1, 4):
        np.testing.assert_allclose(program.call(inputs(count)), network(inputs(count)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", [network, counting])
def test_onnx(network, tmp_path) -> None:
    pytest.importorskip("jax2onnx", reason="ONNX needs mtnets[onnx]")
    runtime = pytest.importorskip("onnxruntime")
    export_onnx(Program.of(network, (3,)), tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (prediction,) = session.run(None, {session.get_inputs()[0].name: inputs(count)})
        np.testing.assert_allclose(prediction, network(inputs(count)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("export", "package", "extra"),
    [
        (export_stablehlo, "flatbuffers", "export"),
        (export_onnx, "jax2onnx", "onnx"),
    ],
)
def test_packages_that_are_not_there_are_named(export, package, extra, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OptionError, match=rf"pip install 'mtnets\[{extra}\]'"):
        export(Program.of(network, (3,)), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def pooled(pool):
    weight = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)

    def network(x):
        x = pool(jax.nn.relu(x))
        return x.reshape(len(x), -1)[:, :4] @ weight

    return network


def of_equinox(name, *args):
    def pool(x):
        eqx = pytest.importorskip("equinox")
        return jax.vmap(getattr(eqx.nn, name)(*args))(x)

    return pool


POOLS = {
    "max": lambda x: nnx.max_pool(x, (2, 2), (2, 2)),
    "overlapping": lambda x: linen.max_pool(x, (3, 3), (2, 2), "SAME"),
    "average": lambda x: nnx.avg_pool(x, (3, 3), (2, 2), "SAME"),
    "one axis": lambda x: linen.avg_pool(x, (2, 1), (2, 1), count_include_pad=False),
    "dilated": lambda x: jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID", window_dilation=(1, 2, 2, 1)
    ),
    "own": max_pool,
    "equinox": of_equinox("MaxPool2d", 2, 2),
    "adaptive average": of_equinox("AdaptiveAvgPool2d", (4, 2)),
    "adaptive max": of_equinox("AdaptiveMaxPool2d", (4, 2)),
}


@pytest.mark.parametrize("pool", POOLS)
def test_pooling_in_onnx(pool, tmp_path) -> None:
    pytest.importorskip("jax2onnx", reason="ONNX needs mtnets[onnx]")
    runtime = pytest.importorskip("onnxruntime")
    network = pooled(POOLS[pool])
    export_onnx(Program.of(network, (6, 6, 2)), tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype(np.float32)
    (prediction,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(prediction, network(x), rtol=1e-5, atol=1e-5)


def backwards(x):
    """Means of each place and those after it, and the last of them."""

    def step(mean, place):
        mean = (mean + place) / 2
        return mean, mean

    first, means = jax.lax.scan(step, x[:, 0], x.T, reverse=True)
    return means.T + first[:, None]


def test_loops_that_run_backwards_in_onnx(tmp_path) -> None:
    pytest.importorskip("jax2onnx", reason="ONNX needs mtnets[onnx]")
    runtime = pytest.importorskip("onnxruntime")
    export_onnx(Program.of(backwards, (3,)), tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (prediction,) = session.run(None, {session.get_inputs()[0].name: inputs(4)})
    np.testing.assert_allclose(prediction, backwards(inputs(4)), rtol=1e-5, atol=1e-6)


def test_the_operation_that_onnx_does_not_have_is_named(tmp_path) -> None:
    pytest.importorskip("jax2onnx", reason="ONNX needs mtnets[onnx]")
    with pytest.raises(OptionError, match=r"cannot be written as ONNX: its operation rem cannot be converted \(.*\)"):
        export_onnx(Program.of(lambda x: jnp.remainder(x, 0.7), (3,)), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


CARD = {"about": "rows", "inputs": ["a b", "c"]}


def by_name(**inputs):
    """Two outputs of two inputs, one of which has a name that is no word of Python."""
    total = inputs["a b"] + inputs["c"].astype(jnp.float32)[:, None]
    return {"sum": total, "label": total.argmax(1).astype(jnp.int32)}


BY_NAME = Program(
    by_name,
    ((), {"a b": jax.ShapeDtypeStruct((3,), jnp.float32), "c": jax.ShapeDtypeStruct((), jnp.uint8)}),
    card=CARD,
)
ARRAYS = {"a b": inputs(4), "c": np.arange(4, dtype=np.uint8)}


def test_stablehlo_by_name_with_a_card(tmp_path) -> None:
    pytest.importorskip("flatbuffers", reason="StableHLO needs mtnets[export]")
    export_stablehlo(BY_NAME, tmp_path / "model", ("cpu",))
    data = (tmp_path / "model").read_bytes()
    jax.tree.map(np.testing.assert_array_equal, jax.export.deserialize(data).call(**ARRAYS), by_name(**ARRAYS))
    card = read_json(tmp_path / "model.json")
    assert card == CARD | {"program": f"sha256:{hashlib.sha256(data).hexdigest()}"}


def test_onnx_by_name_with_a_card(tmp_path) -> None:
    pytest.importorskip("jax2onnx", reason="ONNX needs mtnets[onnx]")
    runtime = pytest.importorskip("onnxruntime")
    export_onnx(BY_NAME, tmp_path / "model")
    session = runtime.InferenceSession(str(tmp_path / "model"), providers=["CPUExecutionProvider"])
    assert {each.name: (each.type, each.shape) for each in session.get_inputs()} == {
        "a b": ("tensor(float)", ["examples", 3]),
        "c": ("tensor(uint8)", ["examples"]),
    }
    outputs = dict(zip(["label", "sum"], session.run(["label", "sum"], ARRAYS), strict=True))
    jax.tree.map(np.testing.assert_array_equal, outputs, by_name(**ARRAYS))
    metadata = session.get_modelmeta().custom_metadata_map
    assert (metadata["about"], json.loads(metadata["inputs"])) == ("rows", ["a b", "c"])


EXPORTS = [(export_stablehlo, "flatbuffers"), (export_onnx, "onnxruntime")]


@pytest.mark.parametrize(("export", "package"), EXPORTS)
def test_a_program_that_differs_is_not_written(export, package, tmp_path) -> None:
    pytest.importorskip(package)
    pytest.importorskip("jax2onnx" if export is export_onnx else package)
    with pytest.raises(OptionError, match="its predictions differ from the network's by"):
        export(Program.of(network, (3,), reference=lambda x: network(x) + 0.1, card=CARD), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_examples_that_depend_on_each_other(tmp_path) -> None:
    """They are not taken one by one: a program for each alone would be another network."""
    pytest.importorskip("flatbuffers", reason="StableHLO needs mtnets[export]")
    with pytest.raises(OptionError, match=r"StableHLO: it asks how many .* x.shape\[0\] does and len"):
        export_stablehlo(Program.of(lambda x: x - x.sum(0) / len(x), (3,), alone=False), tmp_path / "model")
    export_stablehlo(Program.of(lambda x: x - x.mean(0), (3,), alone=False), tmp_path / "model")


def test_without_a_runtime_nothing_is_compared(tmp_path, monkeypatch) -> None:
    pytest.importorskip("jax2onnx", reason="ONNX needs mtnets[onnx]")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.warns(UserWarning, match=r"in ONNX cannot be run here, .* pip install onnxruntime"):
        export_onnx(Program.of(network, (3,)), tmp_path / "model")
    assert (tmp_path / "model").exists()


def test_programs_for_other_machines_are_not_compared(tmp_path) -> None:
    pytest.importorskip("flatbuffers", reason="StableHLO needs mtnets[export]")
    with pytest.warns(UserWarning, match="StableHLO cannot be run here"):
        export_stablehlo(Program.of(network, (3,)), tmp_path / "model", ("tpu",))
