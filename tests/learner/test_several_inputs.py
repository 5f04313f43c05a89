"""Inputs and targets that are several arrays: networks of every library, tasks of every source, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import Array

import mtnets
from mtnets import Batch, Task
from problems import One

RANDOM = np.random.default_rng(0)
SHAPES = {"image": (4, 4, 1), "age": (2,)}
COUNTS = {"meta_steps": 2, "meta_batch": 2, "inner_steps": 1, "validate_every": 0, "progress": False}


class Two(nnx.Module):
    """A picture and two numbers, by keyword."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.picture, self.head = nnx.Linear(16, 3, rngs=rngs), nnx.Linear(5, 1, rngs=rngs)

    def __call__(self, image: Array, age: Array) -> Array:
        picture = jax.nn.relu(self.picture(image.reshape(len(image), -1)))
        return self.head(jnp.concatenate([picture, age], 1))


class One_(nnx.Module):
    """The same as one dictionary."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.two = Two(rngs)

    def __call__(self, x: dict[str, Array]) -> Array:
        return self.two(**x)


class Linen(linen.Module):
    @linen.compact
    def __call__(self, image: Array, age: Array) -> Array:
        picture = linen.relu(linen.Dense(3)(image.reshape(len(image), -1)))
        return linen.Dense(1)(jnp.concatenate([picture, age], 1))


def inputs(count: int) -> dict[str, np.ndarray]:
    return {name: RANDOM.normal(size=(count, *shape)).astype(np.float32) for name, shape in SHAPES.items()}


def targets(x: dict[str, np.ndarray]) -> np.ndarray:
    return x["image"].mean((1, 2)) + x["age"][:, :1]


def batch(count: int) -> Batch:
    x = inputs(count)
    return Batch(x, targets(x))


def networks() -> dict[str, mtnets.Model]:
    return {
        "keywords": mtnets.wrap(Two, SHAPES),
        "dictionary": mtnets.wrap(One_, SHAPES),
        "linen": mtnets.wrap(Linen(), SHAPES),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keywords", "dictionary", "linen"])
def test_training_and_use(kind, tmp_path) -> None:
    model = networks()[kind]
    assert len(model.layers) == 2
    tasks = One(Task(batch(5), batch(4)))
    learner = mtnets.meta_train(model, mtnets.mt_net(0.01), tasks, loss="mse", **COUNTS)
    assert np.all(np.isfinite(mtnets.evaluate(learner, tasks, 2).losses))
    x = inputs(6)
    adapted = learner.adapt(x, targets(x))
    alone = [np.asarray(adapted({name: part[i : i + 1] for name, part in x.items()})) for i in range(6)]
    np.testing.assert_allclose(adapted(x), np.concatenate(alone), 1e-5, 1e-6)
    learner.save(tmp_path / "learner")
    adapted.save(tmp_path / "adapted.safetensors")
    again = mtnets.load(tmp_path / "learner", model=model).adapt(x, targets(x))
    np.testing.assert_array_equal(again(x), adapted(x))
    np.testing.assert_array_equal(mtnets.load_adapted(tmp_path / "adapted.safetensors", model=model)(x), adapted(x))
    learner = mtnets.meta_train(model, mtnets.maml(0.01), tasks, loss="mse", **COUNTS)
    adapted = learner.adapt(x, targets(x))
    many = learner.adapt_many({name: np.stack([part, part]) for name, part in x.items()}, np.stack([targets(x)] * 2))
    np.testing.assert_allclose(many({name: np.stack([part] * 2) for name, part in x.items()})[1], adapted(x), 1e-4)


def test_a_tuple_is_passed_one_after_the_other() -> None:
    model = mtnets.wrap(Two, tuple(SHAPES.values()))
    x = tuple(inputs(3).values())
    params, state = model.init(jax.random.key(0))
    named, _ = networks()["keywords"].apply(params, state, dict(zip(SHAPES, x, strict=True)), None)
    np.testing.assert_array_equal(model.apply(params, state, x, None)[0], named)


def test_types_differ() -> None:
    class Words(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.table, self.head = nnx.Embed(7, 3, rngs=rngs), nnx.Linear(5, 1, rngs=rngs)

        def __call__(self, word: Array, age: Array) -> Array:
            return self.head(jnp.concatenate([self.table(word), age], 1))

    model = mtnets.wrap(Words, {"word": (), "age": (2,)}, input_dtype={"word": jnp.int32, "age": jnp.float32})
    assert model.inputs["word"].dtype == jnp.int32
    x = {"word": np.array([1, 2, 6], np.int32), "age": np.ones((3, 2), np.float32)}
    tasks = One(Task(Batch(x, np.ones((3, 1), np.float32)), Batch(x, np.ones((3, 1), np.float32))))
    learner = mtnets.meta_train(model, mtnets.maml(0.01), tasks, loss="mse", **COUNTS)
    assert learner.adapt(x, np.ones(3))(x).shape == (3, 1)
    with pytest.raises(mtnets.OptionError, match="input_dtype has 1 types and input_shape 2 shapes"):
        mtnets.wrap(Words, {"word": (), "age": (2,)}, input_dtype={"word": jnp.int32})


def test_padded_tasks_of_a_function_and_several_targets() -> None:
    """Tasks of unequal size, whose targets are a dictionary that a loss of one's own reads."""

    def make(rng: np.random.Generator):
        x = {name: rng.normal(size=(8, *shape)) for name, shape in SHAPES.items()}
        y = {"value": targets(x), "sure": rng.uniform(0.5, 1, 8)}
        cut = int(rng.integers(2, 5))
        support, query = (jax.tree.map(lambda a, p=part: a[p], (x, y)) for part in (slice(0, cut), slice(cut, 8)))
        return support, query

    def weighted(prediction: Array, batch: Batch) -> Array:
        return batch.y["sure"] * ((prediction - batch.y["value"]) ** 2).mean(1)

    tasks = mtnets.tasks.from_function(make, loss=weighted, most=(4, 6))
    task = tasks.train.sample(jax.random.key(0))
    assert task.support.x["image"].shape == (4, 4, 4, 1)
    assert 2 <= task.support.weights.sum() <= 4
    learner = mtnets.meta_train(networks()["keywords"], mtnets.maml(0.01), tasks, **COUNTS)
    x = inputs(3)
    adapted = learner.adapt(x, {"value": targets(x), "sure": np.ones(3)})
    assert adapted(x).shape == (3, 1)


@pytest.fixture(scope="module")
def learner() -> mtnets.Learner:
    model, tasks = mtnets.wrap(Two, SHAPES), One(Task(batch(3), batch(3)))
    return mtnets.meta_train(model, mtnets.maml(0.01), tasks, loss="mse", **COUNTS)


class TestBadInput:
    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (np.ones((3, 2)), r"x is of shape \(3, 2\); this learner needs {'age': \[examples, 2\]"),
            ({"image": np.ones((3, 4, 4, 1))}, "x is a dictionary of image; this learner needs"),
            ({"image": np.ones((3, 4, 4)), "age": np.ones((3, 2))}, r"x\['image'\] has shape \(3, 4, 4\)"),
            ({"image": np.ones((2, 4, 4, 1)), "age": np.ones((3, 2))}, "with as many examples each"),
            ({"image": np.ones((3, 4, 4, 1)), "age": np.full((3, 2), np.nan)}, r"x\['age'\] is nan at \(0, 0\)"),
            ({"image": np.ones((3, 4, 4, 1)), "age": [["a", "b"]] * 3}, r"x\['age'\]"),
        ],
    )
    def test_in_use(self, learner, x, message) -> None:
        with pytest.raises(mtnets.DataError, match=message):
            learner.adapt(x, np.ones((3, 1)))

    def test_tasks_of_other_inputs(self, learner) -> None:
        x = RANDOM.normal(size=(3, 2)).astype(np.float32)
        other = One(Task(Batch(x, x[:, :1]), Batch(x, x[:, :1])))
        with pytest.raises(mtnets.DataError, match=r"have inputs \[2\] and the network takes {'age'"):
            mtnets.evaluate(learner, other, 2)

    def test_targets_of_several_arrays_need_a_loss_of_their_own(self) -> None:
        x = inputs(3)
        part = Batch(x, {"value": targets(x)})
        with pytest.raises(mtnets.DataError, match="targets that are a dict, and the loss mse reads one array"):
            mtnets.meta_train(networks()["keywords"], mtnets.maml(0.01), One(Task(part, part)), loss="mse", **COUNTS)

    @pytest.mark.parametrize("shape", [{}, {"a": 3}, {"a": (0,)}, {1: (3,)}, ((3,), "b"), {"a": None}])
    def test_shapes_that_are_none(self, shape) -> None:
        with pytest.raises(mtnets.OptionError, match="input_shape"):
            mtnets.wrap(Two, shape)


@pytest.mark.parametrize("form", ["keywords", "positions", "dictionary"])
def test_pytorch(form) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch modules need torch")

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.picture, self.head = torch.nn.Linear(16, 3), torch.nn.Linear(5, 1)

        def both(self, image, age):
            return self.head(torch.cat([torch.relu(self.picture(image.flatten(1))), age], 1))

    class Keywords(Module):
        def forward(self, image, age):
            return self.both(image, age)

    class Dictionary(Module):
        def forward(self, x):
            return self.both(x["image"], x["age"])

    module = Dictionary() if form == "dictionary" else Keywords()
    x = inputs(4)
    tensors = {name: torch.tensor(part) for name, part in x.items()}
    shapes = tuple(SHAPES.values()) if form == "positions" else SHAPES
    model = mtnets.wrap(module, shapes)
    params, state = model.init(jax.random.key(0))
    given = tuple(x[name] for name in SHAPES) if form == "positions" else x
    expected = module(tensors) if form == "dictionary" else module(**tensors)
    found, _ = model.apply(params, state, given, None)
    np.testing.assert_allclose(found, expected.detach().numpy(), 1e-5, 1e-6)


def test_exports_take_the_same_inputs(learner, tmp_path) -> None:
    pytest.importorskip("flatbuffers", reason="writing StableHLO needs flatbuffers")
    x = inputs(3)
    adapted = learner.adapt(x, targets(x))
    adapted.export(tmp_path / "network.stablehlo", platforms=("cpu",))
    program = jax.export.deserialize(bytearray((tmp_path / "network.stablehlo").read_bytes()))
    np.testing.assert_allclose(program.call(**x)["prediction"], adapted(x), 1e-5, 1e-6)


def test_onnx_takes_the_same_inputs(learner, tmp_path) -> None:
    pytest.importorskip("jax2onnx", reason="writing ONNX needs jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="running ONNX needs onnxruntime")
    x = inputs(3)
    adapted = learner.adapt(x, targets(x))
    adapted.export_onnx(tmp_path / "network.onnx", raw=False)
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    found = session.run(None, dict(zip(names, (x[name] for name in sorted(x)), strict=True)))[0]
    np.testing.assert_allclose(found, adapted(x), 1e-4, 1e-5)
