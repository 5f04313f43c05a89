import copy
import dataclasses
import json
import pickle
import re

import jax
import numpy as np
import pytest

import mtnets
from mtnets.errors import DataError, OptionError, RunError
from mtnets.inner import method_to_json
from mtnets.learner.tensors import read_tensors, write_tensors

FAST = {"meta_steps": 3, "meta_batch": 2, "validate_every": 0, "progress": False}


@pytest.fixture(scope="module")
def sine():
    return mtnets.meta_train(
        mtnets.models.mlp(1, 6, 6, 1), mtnets.mt_net(), mtnets.tasks.sinusoid(shots=5), inner_steps=2, **FAST
    )


def characters(norm):
    network = mtnets.models.Conv4(filters=4, norm=norm)
    return mtnets.meta_train(
        None, mtnets.mt_net(mask="mean"), mtnets.tasks.glyphs(ways=3, network=network), **{**FAST, "meta_steps": 0}
    )


@pytest.fixture(scope="module")
def glyphs():
    return characters("support")


@pytest.fixture(scope="module")
def points():
    x = np.linspace(-2, 2, 5, dtype=np.float32)[:, None]
    return x, np.sin(x)


@pytest.fixture(scope="module")
def drawings(glyphs):
    task = mtnets.tasks.glyphs(ways=3).test.sample(jax.random.key(5))
    return jax.tree.map(np.asarray, task)


def test_an_adapted_model_is_a_plain_network(sine, points):
    """The folded weights, put into a network written by hand, give the same predictions."""
    model = sine.adapt(*points)
    x = np.linspace(-5, 5, 20, dtype=np.float32)[:, None]
    hidden = x
    for i in range(3):
        layer = model.params["layers"][i]
        hidden = hidden @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        hidden = np.maximum(hidden, 0) if i < 2 else hidden
    np.testing.assert_allclose(model(x), hidden, atol=1e-6)
    before, _ = sine.model.init(jax.random.key(0))
    assert jax.tree.map(np.shape, model.params) == jax.tree.map(np.shape, before)


def test_adapt_is_reproducible_and_lowers_the_loss(sine, points):
    x, y = points
    first, again = sine.adapt(x, y), sine.adapt(x, y)
    np.testing.assert_array_equal(first(x), again(x))
    errors = [float(np.mean((sine.adapt(x, y, inner_steps=n)(x) - y) ** 2)) for n in (0, 20)]
    assert errors[1] < errors[0]
    two = sine.adapt(x, y, inner_steps=2)
    np.testing.assert_array_equal(two(x), first(x))  # None means the number of training


def test_another_key_draws_another_mask(sine, points):
    models = [sine.adapt(*points, key=jax.random.key(i)) for i in range(6)]
    assert len({float(np.sum(np.asarray(m(points[0])))) for m in models}) > 1


def test_one_output_may_be_flat(sine, points):
    x, y = points
    np.testing.assert_array_equal(sine.adapt(x[:, 0], y[:, 0])(x[:, 0]), sine.adapt(x, y)(x))


@pytest.mark.parametrize("which", ["sine", pytest.param("glyphs", marks=pytest.mark.slow)])
def test_save_and_load_round_trip(which, request, tmp_path):
    learner = request.getfixturevalue(which)
    learner.save(tmp_path / "a")
    loaded = mtnets.load(tmp_path / "a")
    for x, y in zip(jax.tree.leaves(learner.meta), jax.tree.leaves(loaded.meta), strict=True):
        np.testing.assert_array_equal(x, y)
    assert loaded.method == learner.method
    assert loaded.inputs == learner.inputs
    assert loaded.record == json.loads(json.dumps(dict(learner.record)))
    family = mtnets.tasks.sinusoid() if which == "sine" else mtnets.tasks.glyphs(ways=3)
    results = [mtnets.evaluate(one, family, 20).scores for one in (learner, loaded)]
    np.testing.assert_array_equal(*results)
    assert json.loads((tmp_path / "a" / "learner.json").read_text())["inner_steps"] == learner.inner_steps
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["learner.json", "learner.safetensors"]


@pytest.mark.parametrize(
    ("method", "network"),
    [
        (mtnets.alfa(), {}),
        (mtnets.meta_curvature(), {"warp": "residual"}),
        (mtnets.maml_plus_plus(), {"norm": "support"}),
        (mtnets.mt_net(sides=2, rates="layer-step", adapts=["layers.0"], inner_clip=1.0, mask="mean"), {}),
        (mtnets.t_net(sides=2, metric="low-rank", rank=2), {}),
        (mtnets.warp_grad(metric="low-rank", rank=3), {"warp": "linear"}),
        (mtnets.mt_net_full(metric="diagonal"), {}),
        (mtnets.imaml(estimator=mtnets.Implicit(2.0, 3), inner_optimiser="momentum"), {"warp": "linear"}),
    ],
    ids=lambda value: value.name if isinstance(value, mtnets.Method) else "",
)
def test_arrays_of_every_kind_are_saved_and_loaded(method, network, tmp_path):
    """Nested, per step, of warp layers; with all options of the method."""
    model = mtnets.models.mlp(1, 4, 1, **network)
    params, state = jax.jit(model.init)(jax.random.key(0))
    meta = jax.jit(lambda params: method.init(model, params, jax.random.key(1), inner_lr=0.1, inner_steps=3))(params)
    random = np.random.default_rng(0)
    meta = jax.tree.map(lambda a: (a + random.normal(size=a.shape)).astype(a.dtype), meta)
    learner = mtnets.Learner(model, method, mtnets.Learned(meta, state, 0.1), 3, "mse")
    learner.save(tmp_path)
    loaded = mtnets.load(tmp_path)
    assert jax.tree.structure(loaded.meta) == jax.tree.structure(meta)
    for x, y in zip(jax.tree.leaves(meta), jax.tree.leaves(loaded.meta), strict=True):
        np.testing.assert_array_equal(x, y)
    assert loaded.method == dataclasses.replace(method, inner_lr=learner.inner_lr)
    assert loaded.model.config == model.config
    assert loaded.model.fixed == model.fixed


def test_a_learner_from_before_an_option_has_its_default(tmp_path):
    """A record without how metrics are stored: they were full."""
    method = mtnets.mt_net(0.1)
    old = {name: value for name, value in method_to_json(method).items() if name not in ("metric", "rank")}
    model = mtnets.models.mlp(1, 3, 1)
    params, state = model.init(jax.random.key(0))
    meta = method.init(model, params, jax.random.key(1), inner_lr=0.1, inner_steps=1)
    mtnets.Learner(model, method, mtnets.Learned(meta, state, 0.1), 1, "mse").save(tmp_path)
    file = tmp_path / "learner.safetensors"
    arrays, card = read_tensors(file)
    assert card["method"].keys() - old.keys() == {"metric", "rank"}
    write_tensors(file, arrays, card | {"method": old})
    loaded = mtnets.load(tmp_path)
    assert loaded.method == method
    np.testing.assert_array_equal(loaded.meta.fold["layers.0"], np.eye(3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Mine(mtnets.Method, register=False):
    """An MT-net under another name."""

    def parts(self) -> mtnets.Parts:
        return mtnets.mt_net().parts()


def test_networks_and_methods_of_the_user_are_asked_for(sine, tmp_path):
    unregistered = dataclasses.replace(sine.model)
    dataclasses.replace(sine, model=unregistered).save(tmp_path / "model")
    with pytest.raises(RunError, match=r"not a built-in one.*model="):
        mtnets.load(tmp_path / "model")
    assert mtnets.load(tmp_path / "model", model=unregistered).model is unregistered
    method = _Mine(sine.inner_lr)
    dataclasses.replace(sine, method=method).save(tmp_path / "method")
    with pytest.raises(RunError, match=r"'_mine'.*method="):
        mtnets.load(tmp_path / "method")
    assert mtnets.load(tmp_path / "method", method=method).method is method
    chosen = mtnets.mt_net(sine.inner_lr, adapts=lambda layer: layer.units == 1)
    dataclasses.replace(sine, method=chosen).save(tmp_path / "chosen")
    with pytest.raises(RunError, match=r"has adapts of your own, which is not recorded.*method="):
        mtnets.load(tmp_path / "chosen")


def test_a_network_that_is_not_registered_here(sine, tmp_path):
    sine.save(tmp_path)
    file = tmp_path / "learner.safetensors"
    arrays, card = read_tensors(file)
    write_tensors(file, arrays, card | {"model": {**card["model"], "network": "elsewhere"}})
    with pytest.raises(RunError, match=r"'elsewhere', which is not registered; import the module.*model="):
        mtnets.load(tmp_path)


@pytest.mark.parametrize("which", ["sine", "glyphs"])
def test_it_pickles_and_copies_by_itself(which, request):
    """A copy predicts the same, by the programs that are compiled already."""
    learner = request.getfixturevalue(which)
    for again in (pickle.loads(pickle.dumps(learner)), copy.deepcopy(learner), copy.copy(learner)):
        assert again.inner == learner.inner
        assert hash(again.inner) == hash(learner.inner)
        assert again.method == learner.method
        assert again.fingerprint == learner.fingerprint
        jax.tree.map(np.testing.assert_array_equal, again.learned, learner.learned)
    unregistered = dataclasses.replace(learner, model=dataclasses.replace(learner.model))
    with pytest.raises(RunError, match=r"cannot be pickled.*save\(path\)"):
        pickle.dumps(unregistered)


def test_arrays_of_every_shape_are_saved(tmp_path):
    """Numbers that are no vectors, too."""
    params = {"w": np.ones((2, 2), np.float32), "b": np.zeros(2, np.float32), "t": np.array(1.0, np.float32)}
    model = mtnets.from_functions(lambda p, x: (x @ p["w"] + p["b"]) * p["t"], params, (2,))
    tasks = mtnets.tasks.sinusoid()
    method = mtnets.maml(0.1)
    meta = method.init(model, params, jax.random.key(0), inner_lr=0.1, inner_steps=1)
    mtnets.Learner(model, method, mtnets.Learned(meta, {}, 0.1), 1, tasks.loss).save(tmp_path)
    loaded = mtnets.load(tmp_path, model=model)
    assert loaded.meta.params["t"].shape == ()


def test_damaged_learners_are_named(sine, tmp_path):
    with pytest.raises(RunError, match=r"There is no learner in .*nowhere"):
        mtnets.load(tmp_path / "nowhere")
    sine.save(tmp_path / "a")
    file = tmp_path / "a" / "learner.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"learner\.safetensors is damaged"):
        mtnets.load(tmp_path / "a")
    file.write_bytes(whole)
    arrays, card = read_tensors(file)
    name = "params.layers.1.kernel"
    for changed in ({**arrays, name: np.zeros((2, 2), np.float32)}, {**arrays, "extra": np.zeros(1, np.float32)}):
        write_tensors(file, changed, card)
        with pytest.raises(RunError, match=r"params\.layers\.1\.kernel|extra"):
            mtnets.load(tmp_path / "a")
    for record in (
        {"format": 2},
        card | {"model": {"network": "mlp", "sizes": [1, 2], "depth": 3}},
        card | {"inputs": 3},
        card | {"loss": "hinge"},
    ):
        write_tensors(file, arrays, record)
        with pytest.raises(RunError, match=r"is not a learner that this version of mtnets reads"):
            mtnets.load(tmp_path / "a")


@pytest.mark.slow
def test_a_transductive_learner_warns_and_a_support_one_does_not(glyphs, drawings):
    learner = characters("transductive")
    with pytest.warns(UserWarning, match=r"transductive.*norm='support'"):
        learner.adapt(*drawings.support[:2])
    model = glyphs.adapt(*drawings.support[:2])
    together, alone = model(drawings.query.x), model(drawings.query.x[:1])
    np.testing.assert_allclose(together[:1], alone, rtol=1e-4, atol=1e-4)


def test_fewer_classes_mask_the_unused_outputs(glyphs, drawings):
    keep = drawings.support.y < 2
    model = glyphs.adapt(drawings.support.x[keep], drawings.support.y[keep])
    probabilities = np.asarray(model.probabilities(drawings.query.x))
    assert probabilities.shape == (15, 3)
    assert (probabilities[:, 2] == 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    full = np.asarray(glyphs.adapt(*drawings.support[:2]).probabilities(drawings.query.x))
    assert (full[:, 2] > 0).all()


def test_uint8_images_are_converted_as_in_training(glyphs, drawings):
    ink = np.asarray(drawings.support.x)
    pixels = np.round(255 * (1 - ink)).astype(np.uint8)
    a, b = glyphs.adapt(pixels, drawings.support.y), glyphs.adapt(1 - pixels / np.float32(255), drawings.support.y)
    np.testing.assert_allclose(a(pixels), b(1 - pixels / np.float32(255)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:, :, None], y), r"x has shape \(5, 1, 1\); this learner needs \(examples, 1\)"),
        (lambda x, y: (np.hstack([x, x]), y), r"x has shape \(5, 2\)"),
        (lambda x, y: (x[:0], y[:0]), "at least one example"),
        (lambda x, y: (x[:3], y), "x has 3 examples and y has shape"),
        (lambda x, y: (x, np.hstack([y, y])), r"y has shape \(5, 2\); this learner needs \(5, 1\)"),
        (lambda x, y: (np.where(x > 1, np.nan, x), y), r"x is nan at \(4, 0\)"),
        (lambda x, y: (x, np.where(x > 1, np.inf, y)), r"y is inf at \(4, 0\)"),
        (lambda x, y: (x.astype(str), y), "it must be real numbers"),
        (
            lambda x, y: (np.where(x > 1, 1e300, x.astype(float)), y),
            r"x is 1e\+300 at \(4, 0\); numbers must be",
        ),
        (
            lambda x, y: (x, np.where(x > 1, 1e300, y.astype(float))),
            r"y is 1e\+300 at \(4, 0\); numbers must be",
        ),
        (lambda x, y: (x, np.ma.masked_array(y, y > 0)), "y is a masked array; fill in what is masked"),
        (lambda x, y: (list(np.ma.masked_array(x, x > 0)), y), "x is a masked array; fill in what is masked"),
        (lambda x, y: (x, 1e30 * y), "Adaptation failed"),
    ],
)
def test_bad_examples(sine, points, change, message):
    with pytest.raises((DataError, RunError), match=message):
        sine.adapt(*change(*points))


def test_bad_query_and_steps(sine, points):
    model = sine.adapt(*points)
    with pytest.raises(DataError, match=re.escape("x has shape (5, 2)")):
        model(np.zeros((5, 2)))
    with pytest.raises(DataError, match=r"x is 1e\+300 at \(0, 0\)"):
        model(np.full((5, 1), 1e300))
    for steps in (-1, 1.5, 2**31):
        with pytest.raises(OptionError, match=f"inner_steps is {steps}"):
            sine.adapt(*points, inner_steps=steps)
    for key in (3, np.zeros(3), jax.random.split(jax.random.key(0))):
        with pytest.raises(OptionError, match=r"key is .*; it must be one random key"):
            sine.adapt(*points, key=key)


def test_predictions_that_are_not_finite_are_refused(sine, points):
    """Inputs that are finite may still be too large for a network."""
    model = sine.adapt(*points)
    far = dataclasses.replace(model, params=jax.tree.map(lambda leaf: 1e9 * leaf, model.params))
    with pytest.raises(DataError, match=r"The prediction for example 1 is .*, for inputs up to 3e\+38; correct"):
        far(np.array([[0.0], [3e38]]))


def test_a_start_must_be_weights_of_this_learner(sine, points, tmp_path):
    model = sine.adapt(*points)
    name, weight = next(iter(model.moved.items()))
    again = sine.adapt(*points, inner_steps=0, start={n: np.asarray(w, np.float64) for n, w in model.moved.items()})
    np.testing.assert_array_equal(again(points[0]), model(points[0]))
    model.save(tmp_path / "model")
    for start, words in (
        (mtnets.load_adapted(tmp_path / "model"), "start was read from a file of its own and does not say"),
        (model.params, "start has layers, which no task of this learner moves; it must have layers.0"),
        ({name: np.zeros((3, 3))}, r"start has \[3, 3\] for layers.0"),
        ({name: weight * 1j}, "has type complex64; it must be real numbers"),
        ({name: weight * np.nan}, "is nan at"),
        (3, "start is 3; it must be of type AdaptedModel or a mapping or None"),
    ):
        with pytest.raises(mtnets.MtnetsError, match=words):
            sine.adapt(*points, start=start)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], "labels from 0 to 3; this learner tells 3 classes apart"),
        ([-1, 1, 2], "labels from -1 to 2"),
        ([0.0, 1.0, 2.0], "labels must be integers"),
        (["a", "b", "c"], r"labels must be integers, one each; of names: numpy.unique\(y, return_inverse=True\)"),
        (np.arange(3).astype("m8[s]"), "labels must be integers"),
        ([[0], [1], [2]], "labels must be integers, one each"),
    ],
)
def test_bad_labels(glyphs, drawings, labels, message):
    with pytest.raises(DataError, match=message):
        glyphs.adapt(drawings.support.x, np.asarray(labels))
