"""What comes out of adaptation: goes on adapting, through files and exports unchanged, many tasks at once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import mtnets
from mtnets import DataError, OptionError, RunError, load_adapted
from mtnets.trees import leaves_by_path

X = np.linspace(-2, 2, 6)[:, None].astype(np.float32)
Y = np.sin(X)


def learner_for(method, model=None, tasks=None, **settings):
    model = model or mtnets.models.mlp(1, 12, 12, 1, init_std=0.3)
    tasks = tasks or mtnets.tasks.sinusoid(shots=5)
    settings = {"meta_steps": 3, "inner_steps": 2, "validate_every": 0, **settings}
    return mtnets.meta_train(model, method, tasks, progress=False, **settings)


@pytest.fixture(scope="module")
def learner():
    return learner_for(mtnets.mt_net(0.05))


@pytest.fixture(scope="module")
def characters():
    """A classifier of up to four, with support batch norm."""
    tasks = mtnets.tasks.glyphs(ways=4, queries=2, network=mtnets.models.Conv4(4, norm="support"))
    return learner_for(mtnets.mt_net(0.5), tasks.model(), tasks, meta_steps=0)


def examples(ways, seed=0):
    batch = mtnets.tasks.glyphs(ways=ways, shots=2).test.sample(jax.random.key(seed)).support
    return np.asarray(batch.x), np.asarray(batch.y)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, (a.params, a.state), (b.params, b.state))


def test_update_goes_on(learner) -> None:
    """With the same masks, two steps and three more are five (the rule has no memory of its own)."""
    two = learner.adapt(X, Y, inner_steps=2)
    five = two.update(X, Y, inner_steps=3)
    whole = learner.adapt(X, Y, inner_steps=5)
    for a, b in zip(jax.tree.leaves(five.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    same(two.update(X, Y, inner_steps=0), two)
    more = five.update(np.concatenate([X, X + 0.1]), np.concatenate([Y, np.sin(X + 0.1)]))  # any number of examples
    assert more(X).shape == (6, 1)


def test_many_tasks_are_each_alone(learner) -> None:
    keys = jax.random.split(jax.random.key(3), 5)
    xs, ys = np.stack([X + i for i in range(5)]), np.stack([Y * i for i in range(5)])
    many = learner.adapt_many(xs, ys, key=jax.random.key(3), tasks_at_once=2)
    assert len(many) == 5
    predictions = many(xs)
    assert predictions.shape == (5, 6, 1)
    for i, each in enumerate(many):
        alone = learner.adapt(xs[i], ys[i], key=keys[i])
        np.testing.assert_allclose(each(xs[i]), alone(xs[i]), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(predictions[i], alone(xs[i]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(many[-1].update(xs[4], ys[4], inner_steps=0)(X), many[4](X), rtol=1e-6)
    with pytest.raises(IndexError):
        many[5]


@pytest.mark.slow
def test_many_classifiers_with_fewer_classes(characters) -> None:
    (x4, y4), (x2, y2) = examples(4), examples(2)
    x2, y2 = np.concatenate([x2, x2]), np.concatenate([y2, y2])
    many = characters.adapt_many(np.stack([x4, x2]), np.stack([y4, y2]))
    logits = many(np.stack([x4, x2]))
    assert np.isfinite(logits[0]).all()
    assert (np.asarray(logits[1][:, 2:]) == -np.inf).all()
    assert many[0].used is None
    np.testing.assert_array_equal(many[1].used, [True, True, False, False])


@pytest.mark.parametrize("ways", [pytest.param(4, marks=pytest.mark.slow), 2])
def test_a_saved_model_is_the_model(characters, ways, tmp_path) -> None:
    x, y = examples(ways)
    model = characters.adapt(x, y)
    model.save(tmp_path / "model.safetensors")
    again = load_adapted(tmp_path / "model.safetensors")
    same(model, again)
    np.testing.assert_array_equal(model(x), again(x))
    np.testing.assert_array_equal(model(np.uint8(255 * (1 - x))), again(np.uint8(255 * (1 - x))))  # image conversion
    with pytest.raises(RunError, match="knows no learner; adapt anew"):
        again.update(x, y)
    with pytest.raises(RunError, match="knows no learner"):
        again.save_task(tmp_path / "task")


def test_a_saved_model_is_read_without_this_library(learner, tmp_path) -> None:
    model = learner.adapt(X, Y)
    model.save(tmp_path / "model.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    names = [f"params.layers.{i}.{kind}" for i in range(3) for kind in ("bias", "kernel")]
    assert sorted(arrays) == names
    x = X
    for i in range(3):
        x = np.maximum(x, 0) if i else x
        x = x @ arrays[f"params.layers.{i}.kernel"] + arrays[f"params.layers.{i}.bias"]
    np.testing.assert_allclose(x, model(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ways", [pytest.param(4, marks=pytest.mark.slow), 2])
def test_a_task_file_is_the_task(characters, ways, tmp_path) -> None:
    x, y = examples(ways)
    model = characters.adapt(x, y, inner_steps=3)
    model.save_task(tmp_path / "task", precision="full")
    again = characters.with_task(tmp_path / "task")
    same(model, again)
    np.testing.assert_array_equal(model(x), again(x))
    same(model.update(x, y), again.update(x, y))


def test_a_task_file_holds_only_what_moved(tmp_path) -> None:
    model = mtnets.models.mlp(1, 40, 40, 1, init_std=0.3)
    learner = learner_for(mtnets.mt_net(0.05), model)
    sizes = {}
    for name, logit in (("none", -1e9), ("all", 1e9), ("some", 0.0)):
        rule = jax.tree.map(lambda a, logit=logit: jnp.full_like(a, logit), learner.meta.rule)
        each = dataclasses.replace(learner, learned=learner.learned._replace(meta=learner.meta._replace(rule=rule)))
        adapted = each.adapt(X, Y)
        adapted.save_task(tmp_path / name, precision="full")
        same(each.with_task(tmp_path / name), adapted)
        sizes[name] = (tmp_path / name).stat().st_size
        if name == "none":  # nothing moved: the file says so, and changes nothing
            assert safetensors.numpy.load_file(tmp_path / name) == {}
            same(adapted, each.adapt(X, Y, inner_steps=0))
    assert sizes["none"] < 400
    assert sizes["none"] < sizes["some"] < sizes["all"]


def test_half_precision_rounds_how_far_weights_moved(learner, tmp_path) -> None:
    """To 11 bits, and to 2⁻²⁴ of the largest movement of a weight where that is more; what did not move stays."""
    adapted = learner.adapt(X, Y)
    for precision in ("half", "full"):
        adapted.save_task(tmp_path / precision, precision=precision)
    again, start = learner.with_task(tmp_path / "half"), leaves_by_path(learner.meta.params)
    for name, leaf in adapted.moved.items():
        after, before, read = (np.asarray(each, np.float64) for each in (leaf, start[name], again.moved[name]))
        step = np.abs(after - before)
        allowed = step * 2.0**-11 + step.max() * 2.0**-24 + np.abs(after) * np.finfo(np.float32).eps
        assert (np.abs(read - after) <= np.where(step > 0, allowed, 0)).all()
    half, full = (safetensors.numpy.load_file(tmp_path / precision) for precision in ("half", "full"))
    for name, values in full.items():
        same_places = name.startswith("places.")
        other = half[name if same_places else name.replace("values.", "steps.", 1)]
        assert (other.shape, other.dtype) == (values.shape, np.uint8 if same_places else np.float16)
    assert len(half) == len(full)
    assert any((np.asarray(again.moved[name]) != np.asarray(leaf)).any() for name, leaf in adapted.moved.items())
    again.save_task(tmp_path / "again", precision="half")  # what was rounded is not rounded further
    for name, leaf in learner.with_task(tmp_path / "again").moved.items():
        np.testing.assert_allclose(leaf, again.moved[name], rtol=1e-6)
    with pytest.raises(OptionError, match="precision is 'quarter'; it must be one of"):
        adapted.save_task(tmp_path / "task", precision="quarter")


@pytest.mark.parametrize("per_step", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_task_file_knows_its_inner_steps(per_step, tmp_path) -> None:
    """Where offsets differ from step to step, the number of steps is part of the network."""
    model = mtnets.models.mlp(1, 8, 1, norm="support", init_std=0.3)
    learner = learner_for(mtnets.maml(0.05, per_step_offsets=per_step), model)
    adapted = learner.adapt(X, Y, inner_steps=1)
    adapted.save_task(tmp_path / "task", precision="full")
    same(learner.with_task(tmp_path / "task"), adapted)


@pytest.fixture(scope="module")
def patients():
    """Ten rows of five numbers, in units of their own, of each of two tasks."""
    x = 50 * np.random.default_rng(0).normal(size=(2, 10, 5)) + 3
    return x, 7 * x[:, :, 0]


def test_rows_that_a_task_standardises_by_itself(patients, tmp_path) -> None:
    """What goes on, what is read from a file and what is one of many keeps the scale of its own support set."""
    learner = mtnets.load("tabular-regression")
    (x, other), (y, other_y) = patients
    model, second = learner.adapt(x, y), learner.adapt(other, other_y)
    model.save_task(tmp_path / "task", precision="full")
    again = learner.with_task(tmp_path / "task")
    assert again.inputs == model.inputs != second.inputs
    np.testing.assert_array_equal(again(x), model(x))
    np.testing.assert_array_equal(model.update(3 * x[:4], y[:4], inner_steps=0)(x), model(x))
    many = learner.adapt_many(*patients)
    for i, alone in enumerate((model, second)):
        np.testing.assert_allclose(many(patients[0])[i], alone(patients[0][i]), rtol=1e-4)
        np.testing.assert_allclose(many[i](patients[0][i]), alone(patients[0][i]), rtol=1e-4)


def test_exported_program(characters, tmp_path) -> None:
    pytest.importorskip("flatbuffers", reason="StableHLO needs mtnets[export]")
    x, y = examples(2)
    model = characters.adapt(x, y)
    path = model.export(tmp_path / "model.stablehlo", raw=False, platforms=("cpu",))
    assert path == tmp_path / "model.stablehlo"
    run = jax.export.deserialize((tmp_path / "model.stablehlo").read_bytes())
    for count in (1, 4):  # any number of examples
        actual, expected = np.asarray(run.call(jnp.asarray(x[:count]))), np.asarray(model(x[:count]))
        np.testing.assert_allclose(actual[:, :2], expected[:, :2], rtol=1e-4, atol=1e-4)
        assert (actual[:, 2:] < -1e8).all()


def test_onnx(characters, tmp_path) -> None:
    pytest.importorskip("jax2onnx", reason="ONNX needs mtnets[onnx]")
    runtime = pytest.importorskip("onnxruntime")
    x, y = examples(4)
    model = characters.adapt(x, y)
    assert model.export_onnx(tmp_path / "model.onnx", raw=False) == tmp_path / "model.onnx"
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (actual,) = session.run(None, {session.get_inputs()[0].name: x[:count]})
        np.testing.assert_allclose(actual, model(x[:count]), rtol=1e-5, atol=1e-5)


def test_bad_files(learner, characters, tmp_path) -> None:
    adapted = learner.adapt(X, Y)
    assert adapted.save_task(str(tmp_path / "task")) == tmp_path / "task"
    assert adapted.save(str(tmp_path / "model")) == tmp_path / "model"
    assert learner.save(str(tmp_path / "learner")) == tmp_path / "learner"
    with pytest.raises(RunError, match="belongs to another learner"):
        characters.with_task(tmp_path / "task")
    changed = dataclasses.replace(learner, learned=learner.learned._replace(inner_lr=0.04))
    with pytest.raises(RunError, match="belongs to another learner"):
        changed.with_task(tmp_path / "task")
    with pytest.raises(RunError, match="There is no file"):
        learner.with_task(tmp_path / "none")
    with pytest.raises(RunError, match="holds: adapted model; expected: task"):
        learner.with_task(tmp_path / "model")
    with pytest.raises(RunError, match="holds: task; expected: adapted model"):
        load_adapted(tmp_path / "task")
    (tmp_path / "broken").write_bytes((tmp_path / "model").read_bytes()[:-7])
    with pytest.raises(RunError, match="is damaged"):
        load_adapted(tmp_path / "broken")
    other = mtnets.models.mlp(1, 5, 1)
    with pytest.raises(RunError, match=r"has \(12,\) for params.layers.0.bias and the network needs \(5,\)"):
        load_adapted(tmp_path / "model", model=other)


def test_bad_tasks(learner) -> None:
    with pytest.raises(DataError, match=r"must be \[tasks, examples, ...\] alike"):
        learner.adapt_many(X[None], Y)
    with pytest.raises(DataError, match="Task 1: y is nan"):
        learner.adapt_many(np.stack([X, X]), np.stack([Y, Y * np.nan]))
    with pytest.raises(RunError, match="Adaptation failed for task 1"):
        learner.adapt_many(np.stack([X, X]), np.stack([Y, 1e30 * Y]), inner_steps=20)
    many = learner.adapt_many(np.stack([X, X]), np.stack([Y, Y]))
    with pytest.raises(DataError, match="these are 2 tasks"):
        many(X[None])
    with pytest.raises(DataError, match=r"Task 1: x is nan at \(0, 0\)"):
        many(np.stack([X, X * np.nan]))
    with pytest.raises(DataError, match="x is a masked array"):
        many(np.ma.masked_array(np.stack([X, X]), np.stack([X, X]) > 0))
    with pytest.raises(DataError, match="x cannot be read as an array"):
        many([[1], [2, 3]])
    with pytest.raises(TypeError):
        many[1.5]
    with pytest.raises(OptionError, match="inner_steps is -1"):
        learner.adapt_many(X[None], Y[None], inner_steps=-1)
    with pytest.raises(OptionError, match="tasks_at_once is 0; it must be at least 1, or 'auto'"):
        learner.adapt_many(X[None], Y[None], tasks_at_once=0)
