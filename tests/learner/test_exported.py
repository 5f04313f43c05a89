"""Exported programs take what a user has and return what it means; their cards say how. Nothing is trained here."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtnets
from mtnets import OptionError
from mtnets.files import read_json
from mtnets.learner import AdaptedModel
from mtnets.learner.exported import program_of
from mtnets.networks.exports.compared import EXACT, _difference
from mtnets.tasks import Images, StandardisedRows, TableInputs
from mtnets.tasks.inputs.columns import CategoryColumn, NumberColumn

RANDOM = np.random.default_rng(0)
LABELS, NUMBERS = mtnets.losses.CrossEntropy(), mtnets.losses.Squared()
TABLE = TableInputs(
    (NumberColumn("age in years", 50.0, 10.0, missing=True), CategoryColumn("colour", ("blue", "red"))),
    NumberColumn("price", 1000.0, 50.0),
    "shop",
)
CLASSES = TableInputs(TABLE.columns, CategoryColumn("kind", ("cheap", "dear")), "shop")
ROWS = StandardisedRows(5, scales_targets=True).with_scale(
    100 + 20 * RANDOM.normal(size=(6, 3)), 7 + RANDOM.normal(size=(6, 1))
)


def adapted(shape, outputs, inputs=mtnets.tasks.AS_THEY_ARE, loss=NUMBERS, **more):
    """A linear network with random weights, as if it were adapted."""
    sizes = shape if isinstance(shape, tuple) else (shape,)
    network = mtnets.wrap(
        (
            lambda p, x: x.reshape(x.shape[0], -1) @ p["w"] + p["b"],
            {"w": RANDOM.normal(size=(int(np.prod(sizes)), outputs)), "b": RANDOM.normal(size=outputs)},
        ),
        sizes,
    )
    return AdaptedModel(network, *network.init(jax.random.key(0)), inputs=inputs, loss=loss, **more)


def pictures(**more):
    used = jnp.array([True, False, True, False])
    return adapted((6, 6, 1), 4, Images(6, 1, invert=True), LABELS, used=used, **more)


MODELS = {
    "numbers": lambda: adapted(3, 2),
    "pixels": pictures,
    "pixels, channels first": lambda: adapted((3, 6, 6), 4, Images(6, 3), LABELS),
    "table": lambda: adapted(4, 1, TABLE),
    "table of classes": lambda: adapted(4, 3, CLASSES, LABELS),
    "rows": lambda: adapted(5, 1, ROWS),
    "mean and variance": lambda: adapted(5, 2, ROWS, mtnets.losses.Gaussian()),
    "loss of the user's own": lambda: adapted(3, 2, loss=None),
}


@pytest.mark.parametrize("name", MODELS)
def test_programs_predict_what_models_do(name) -> None:
    """The function that is written, on examples of its own kind; its outputs are those that the card lists."""
    program = program_of(MODELS[name](), raw=True, classes=None)
    run = jax.jit(program.function)
    assert _difference(run, program, 6) < EXACT
    args, named = program.made_up(6)
    assert args == ()
    outputs = run(**named)
    assert [each["name"] for each in program.card["inputs"]] == list(named)
    for each in program.card["inputs"]:
        assert (named[each["name"]].dtype.name, ["examples", *named[each["name"]].shape[1:]]) == (
            each["type"],
            each["shape"],
        )
    for each in program.card["outputs"]:
        assert outputs[each["name"]].shape == (6, *each["shape"][1:])
        assert outputs[each["name"]].dtype == each["type"]


def test_pixels_become_classes() -> None:
    model = pictures()
    program = program_of(model, raw=True, classes=["alpha", "beta", "gamma"])
    x = RANDOM.integers(0, 256, (6, 6, 6, 1), np.uint8)
    outputs = jax.jit(program.function)(pixels=x)
    np.testing.assert_allclose(outputs["probabilities"], model.probabilities(x), atol=1e-6)
    np.testing.assert_array_equal(outputs["probabilities"][:, 1::2], 0)
    np.testing.assert_array_equal(outputs["label"], model(x).argmax(-1))
    assert program.card["classes"] == ["alpha", "beta", "gamma"]
    assert program.card["examples"] == "any number, each alone"
    assert re.match(
        "pixels 0 … 255 of grey images, dark on light.* others are made grey, then resized by Pillow's LANCZOS$",
        program.card["inputs"][0]["about"],
    )


def test_cells_become_numbers_of_the_table() -> None:
    model = adapted(4, 1, TABLE)
    program = program_of(model, raw=True, classes=None)
    frame = {"age in years": [30.0, None, 71.5], "colour": ["red", "blue", "green"]}
    cells = {"age in years": np.float32([30, np.nan, 71.5]), "colour": np.int32([1, 0, -1])}
    np.testing.assert_allclose(jax.jit(program.function)(**cells)["prediction"], model(frame), rtol=1e-5)
    assert program.card["inputs"][1]["values"] == ["blue", "red"]
    assert program.card["outputs"][0]["about"].startswith("price: ")
    assert program_of(adapted(4, 2, CLASSES, LABELS), raw=True, classes=None).card["classes"] == ["cheap", "dear"]


def test_rows_are_as_wide_as_those_of_the_support_set() -> None:
    model = adapted(5, 1, ROWS)
    x = np.float32(100 + 20 * RANDOM.normal(size=(4, 3)))
    program = program_of(model, raw=True, classes=None)
    np.testing.assert_allclose(jax.jit(program.function)(rows=x)["prediction"], model(x), rtol=1e-5)


def test_the_bare_network_stays_available() -> None:
    model = pictures()
    program = program_of(model, raw=False, classes=None)
    x = RANDOM.uniform(size=(3, 6, 6, 1)).astype(np.float32)
    logits = np.asarray(program.function(x))
    np.testing.assert_allclose(logits[:, ::2], model(x)[:, ::2], rtol=1e-5, atol=1e-5)
    assert (logits[:, 1::2] < -1e8).all()
    assert [each["about"] for each in program.card["outputs"]] == ["logits"]


def test_files(tmp_path) -> None:
    pytest.importorskip("flatbuffers", reason="StableHLO needs mtnets[export]")
    model, path = adapted(4, 1, TABLE), tmp_path / "prices.stablehlo"
    model.export(path, platforms=("cpu",))
    run = jax.export.deserialize(bytearray(path.read_bytes()))
    cells = {"age in years": np.float32([30, np.nan]), "colour": np.int32([1, -1])}
    expected = model({"age in years": [30.0, None], "colour": ["red", None]})
    np.testing.assert_allclose(run.call(**cells)["prediction"], expected, rtol=1e-5)
    assert [each["name"] for each in read_json(f"{path}.json")["inputs"]] == list(cells)


@pytest.mark.parametrize("name", MODELS)
def test_onnx(name, tmp_path) -> None:
    """Writing compares the program with the model."""
    pytest.importorskip("jax2onnx", reason="ONNX needs mtnets[onnx]")
    runtime = pytest.importorskip("onnxruntime")
    MODELS[name]().export_onnx(tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    for kind, given in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        assert {each["name"] for each in json.loads(metadata[kind])} == {each.name for each in given}


def test_a_licence_goes_along() -> None:
    learner = mtnets.load("sine-10shot")
    model = AdaptedModel(learner.model, learner.meta.params, learner.state, learner=learner, loss=learner.loss)
    card = program_of(model, raw=True, classes=None).card
    assert (card["licence"], card["learner"]) == ("MIT", learner.fingerprint)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (pictures, {"classes": ["a", "b"]}, r"it must be 3 different names, of the labels 0 to 2"),
        (pictures, {"classes": ["a", "b", "b"]}, r"it must be 3 different names"),
        (pictures, {"classes": "abc"}, r"classes is 'abc'"),
        (pictures, {"classes": ["a", "b", "c"], "raw": False}, r"the bare network returns logits"),
        (MODELS["numbers"], {"classes": ["a"]}, r"are none, since it predicts numbers"),
        (MODELS["table of classes"], {"classes": ["a", "b"]}, r"are those of the table: cheap, dear"),
        (pictures, {"raw": "yes"}, r"raw is 'yes'"),
        (pictures, {"classes": [1, 2, 3]}, r"classes is \[1, 2, 3\]"),
    ],
)
def test_options_that_do_not_fit_get_a_sentence(model, options, words, tmp_path) -> None:
    for export in ("export", "export_onnx"):
        with pytest.raises(OptionError, match=words):
            getattr(model(), export)(tmp_path / "model", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_column_with_the_name_of_an_output_gets_a_sentence() -> None:
    inputs = TableInputs((NumberColumn("prediction", 0.0, 1.0),), TABLE.target, "shop")
    with pytest.raises(OptionError, match="'prediction' is an input and would be an output too; rename that column"):
        program_of(adapted(1, 1, inputs), raw=True, classes=None)


@pytest.mark.parametrize("norm", ["none", "transductive"])
def test_pooled_networks_take_any_number_of_images(norm) -> None:
    """Also where no example may be taken alone."""
    model = mtnets.models.conv4(3, image_size=16, filters=2, downsample="pool", norm=norm)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    (examples,) = jax.export.symbolic_shape("examples")
    x = jax.ShapeDtypeStruct((examples, 16, 16, 1), jnp.float32)
    assert jax.eval_shape(lambda *args: model.apply(*args, None)[0], params, state, x).shape == (examples, 3)
