"""Random networks under random methods: a metric is a layer after each layer, and what is written is read back."""

import dataclasses
import functools
import math
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import mtnets
from mtnets.inner import Meta
from mtnets.networks.models.conv import conv
from mtnets.networks.models.norm import batch_norm_factory
from mtnets.trees import leaves_by_path, replace_leaves

pytestmark = pytest.mark.slow  # compiles many networks

EXAMPLES, OUTPUTS, ENTRIES, ALPHA = 4, 2, 7, 0.01
KINDS = ("dense", "1-D", "2-D", "embedding", "attention", "recurrent")
# Without shrinking: every example compiles programs of its own.
FEW = settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Over(nnx.Module):
    """A cell over time, with the same weights at each step."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def __call__(self, x: Any) -> Any:
        carry = self.cell.initialize_carry((len(x), x.shape[-1]), nnx.Rngs(0))
        for t in range(x.shape[1]):
            carry, _ = self.cell(carry, x[:, t])
        return carry


class Network(nnx.Module):
    """Layers, each with batch norm after it if that is asked for; dropout; a head on what is left; and a layer that
    nothing uses."""

    def __init__(self, plan: "Plan", rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([build(rngs=rngs) for build in plan.layers])
        make = batch_norm_factory(plan.norm)
        self.norms: Any = nnx.List([make(size, rngs=rngs) for size in plan.sizes]) if make else None
        self.dropout = nnx.Dropout(plan.dropout, rngs=rngs)
        self.head = nnx.Linear(plan.features, OUTPUTS, rngs=rngs, use_bias=plan.bias, param_dtype=plan.dtype)
        self.idle = nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            x = jnp.tanh(x if self.norms is None else self.norms[i](x))
        return self.head(self.dropout(x.reshape(len(x), -1)))


@dataclasses.dataclass(frozen=True)
class Plan:
    """A network to build.

    Attributes:
      kind: what it is made of.
      shape: of one input.
      layers: what builds each.
      sizes: of the last axis after each.
      features: that enter the head.
      bias: whether layers have one.
      norm: what batch norm means.
      dropout: its rate.
      dtype: of the weights.
    """

    kind: str
    shape: tuple[int, ...]
    layers: tuple[Callable[..., Any], ...]
    sizes: tuple[int, ...]
    features: int
    bias: bool
    norm: Any
    dropout: float
    dtype: Any

    def model(self, network: nnx.Module | None = None) -> mtnets.Model:
        """The network as a model, or another with the same inputs."""
        dtype = jnp.int32 if self.kind == "embedding" else jnp.float32
        return mtnets.from_nnx(network or self.build, self.shape, norm=self.norm, input_dtype=dtype)

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        return Network(self, rngs)

    def inputs(self, dtype: Any) -> np.ndarray:
        random = np.random.default_rng(0)
        if self.kind == "embedding":
            return random.integers(ENTRIES, size=(EXAMPLES, *self.shape)).astype(np.int32)
        return random.normal(size=(EXAMPLES, *self.shape)).astype(dtype)


def convolution(random: Random, channels: int, sides: tuple[int, ...], options: dict[str, Any]) -> Any:
    """What builds it, its channels, and the sides of the images that it makes."""
    groups = random.choice([1, *(n for n in range(1, channels + 1) if channels % n == 0)])
    units = groups * random.randint(1, 4 // groups)
    kernel = tuple(random.randint(1, 3) for _ in sides)
    stride, padding = random.randint(1, 2), random.choice(["SAME", "VALID"])
    if padding == "VALID":
        kernel = tuple(min(k, side) for k, side in zip(kernel, sides, strict=True))
    shape = {"strides": stride, "padding": padding, "feature_group_count": groups}
    shape |= random.choice([{}, {"conv_general_dilated": conv}]) if len(sides) == 2 and groups == 1 else {}

    def build(rngs: nnx.Rngs) -> Any:
        return nnx.Conv(channels, units, kernel, rngs=rngs, **shape, **options)

    less = [k - 1 if padding == "VALID" else 0 for k in kernel]
    return build, units, tuple(math.ceil((side - k) / stride) for side, k in zip(sides, less, strict=True))


def plan_of(random: Random, kind: str, dtype: Any) -> Plan:
    depth, bias = random.randint(1, 3), random.random() < 0.5
    options = {"use_bias": bias, "param_dtype": dtype}
    layers: list[Callable[..., Any]] = []
    sizes: list[int] = []
    if kind in ("1-D", "2-D"):
        sides = tuple(random.randint(3, 5) for _ in range(int(kind[0])))
        channels = random.randint(1, 4)
        shape = (*sides, channels)
        for _ in range(depth):
            build, channels, sides = convolution(random, channels, sides, options)
            layers.append(build)
            sizes.append(channels)
        features = math.prod(sides) * channels
    else:
        time, inputs = random.randint(2, 3), random.randint(1, 3)
        shape = {"dense": (inputs,), "embedding": (time,)}.get(kind, (time, inputs))
        for i in range(depth):
            units = random.choice([2, 4])
            if i == 0 and kind == "embedding":
                build = functools.partial(nnx.Embed, ENTRIES, units, param_dtype=dtype)
            elif i == depth - 1 and kind == "attention":
                build = functools.partial(
                    nnx.MultiHeadAttention, 2, inputs, 4, units, decode=False, dtype=dtype, **options
                )
            elif i == depth - 1 and kind == "recurrent":
                units = inputs
                cell = random.choice([nnx.SimpleCell, nnx.GRUCell])
                build = functools.partial(_recurrent, cell, inputs, dtype)
            else:
                build = functools.partial(nnx.Linear, inputs, units, **options)
            layers.append(build)
            sizes.append(units)
            inputs = units
        features = inputs * (1 if kind in ("dense", "recurrent") else time)
    norm = random.choice(["none", "transductive", "support", "running"])
    dropout = random.choice([0.0, 0.3])
    return Plan(kind, shape, tuple(layers), tuple(sizes), features, bias, norm, dropout, dtype)


def _recurrent(cell: Any, size: int, dtype: Any, rngs: nnx.Rngs) -> Over:
    return Over(cell(size, size, rngs=rngs, dtype=dtype, param_dtype=dtype))


METRICS = ("mt_net", "t_net")
METHODS = (*METRICS, "mt_net", "maml", "meta_sgd", "m_net")


def method_of(random: Random, names: tuple[str, ...]) -> mtnets.Method:
    name = random.choice(names)
    options = {}
    if name in METRICS:
        options["sides"] = random.choice([1, 2])
        options["metric"] = random.choice(["full", "low-rank", "diagonal"])
        options |= {"rank": random.randint(1, 3)} if options["metric"] == "low-rank" else {}
    return mtnets.METHODS[name](ALPHA, inner_clip=10.0, **options)


def learned(model: mtnets.Model, method: mtnets.Method, dtype: Any) -> tuple[Meta, Any]:
    """A start and a state, moved at random, so that no metric is the identity."""
    params, state = model.init(jax.random.key(0))
    meta = method.init(model, params, jax.random.key(1), inner_lr=ALPHA, inner_steps=2)
    random = np.random.default_rng(1)

    def away(tree: Any, scale: float) -> Any:
        return jax.tree.map(lambda a: (np.asarray(a) + scale * random.normal(size=a.shape)).astype(dtype), tree)

    return meta._replace(params=away(params, 0.1), fold=away(meta.fold, 0.3), rule=away(meta.rule, 0.005)), state


# Folding


class After(nnx.Module):
    """A layer and T after it, on the flattening of its outputs."""

    def __init__(self, layer: Any, t: Any) -> None:
        self.layer, self.t = layer, nnx.Variable(t)

    def __call__(self, x: Any, **options: Any) -> Any:
        y = self.layer(x, **options)
        return (y.reshape(-1, len(self.t[...])) @ self.t[...]).reshape(y.shape)


def squares(stored: Any, kind: str) -> np.ndarray:
    """A metric as the square matrices that it is, `[groups, n, n]`."""
    if kind == "low-rank":
        stored = np.eye(stored["U"].shape[-2]) + stored["U"] @ np.swapaxes(stored["V"], -1, -2)
    elif kind == "diagonal":
        stored = stored[..., None] * np.eye(stored.shape[-1])
    return stored.reshape(-1, *stored.shape[-2:])


def place_of(module: Any, path: str) -> tuple[Any, Callable[[Any], None]]:
    """What is at a path of a module, and how to replace it."""
    *above, last = path.split(".")
    place = functools.reduce(
        lambda place, name: place[int(name)] if name.isdigit() else getattr(place, name), above, module
    )
    if last.isdigit():
        return place[int(last)], functools.partial(place.__setitem__, int(last))
    return getattr(place, last), functools.partial(setattr, place, last)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(seed=st.integers(0, 2**32))
def test_a_metric_is_a_layer_after_each_layer(kind, seed) -> None:
    """And one before it, `S [W; b]`, which is in its weights here."""
    random = Random(f"{kind} {seed}")
    plan, method = plan_of(random, kind, np.float64), method_of(random, METRICS)
    model = plan.model()
    meta, state = learned(model, method, np.float64)
    leaves, x = leaves_by_path(meta.params), plan.inputs(np.float64)
    whole = functools.partial(squares, kind=method.metric)  # type: ignore[attr-defined]
    folded = method.fold.apply(model.layers, meta.fold, leaves, 0)
    found, _ = jax.jit(model.apply)(replace_leaves(meta.params, folded), state, x, None)

    module = plan.build(nnx.Rngs(0))
    for path, leaf in leaves.items():
        place_of(module, path)[1](nnx.Param(jnp.asarray(leaf)))
    for layer in model.layers:
        outputs = meta.fold.get("outputs", meta.fold)
        if "inputs" in meta.fold:
            matrix = np.asarray(layer.matrix(leaves)).reshape(layer.rows, layer.groups, -1).transpose(1, 0, 2)
            matrix = whole(meta.fold["inputs"][layer.name]) @ matrix
            for path, leaf in layer.leaves(matrix.transpose(1, 0, 2).reshape(layer.rows, layer.units)).items():
                place_of(module, path)[1](nnx.Param(jnp.asarray(leaf)))
        t = jax.scipy.linalg.block_diag(*whole(outputs[layer.name]))
        inside, replace = place_of(module, layer.name)
        replace(After(inside, t))
    layered = plan.model(module)
    expected, _ = jax.jit(layered.apply)(*layered.init(jax.random.key(0)), x, None)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
    plain, _ = jax.jit(model.apply)(meta.params, state, x, None)
    assert np.abs(plain - found).max() > 1e-6  # the metrics do something


# Files


def same(a: mtnets.AdaptedModel, b: mtnets.AdaptedModel, x: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, (a.params, a.state, a(x)), (b.params, b.state, b(x)))


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(seed=st.integers(0, 2**32))
def test_any_network_adapts_and_what_is_written_is_read_back(kind, seed) -> None:
    random = Random(f"{seed} {kind}")
    plan, method = plan_of(random, kind, np.float32), method_of(random, METHODS)
    model = plan.model()
    weights = {path for path in leaves_by_path(jax.eval_shape(model.init, jax.random.key(0))[0]) if "bias" not in path}
    assert {layer.weight for layer in model.layers} == weights - {"idle.kernel"}  # what nothing uses is in no layer

    meta, state = learned(model, method, np.float32)
    learner = mtnets.Learner(model, method, mtnets.Learned(meta, state, ALPHA), 2, "mse")
    x = plan.inputs(np.float32)
    y = np.random.default_rng(2).normal(size=(EXAMPLES, OUTPUTS)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This learner was trained with transductive batch norm")
        folder = Path(name)
        adapted, still = learner.adapt(x, y), learner.adapt(x, y, inner_steps=0)
        assert np.isfinite(adapted(x)).all()
        np.testing.assert_array_equal(adapted.params["idle"]["kernel"], meta.params["idle"]["kernel"])

        adapted.save(folder / "adapted")
        same(mtnets.load_adapted(folder / "adapted", model=model), adapted, x)

        adapted.save_task(folder / "task", precision="full")
        same(learner.with_task(folder / "task"), adapted, x)

        learner.save(folder / "learner")
        loaded = mtnets.load(folder / "learner", model=model)
        jax.tree.map(np.testing.assert_array_equal, (loaded.meta, loaded.state), (learner.meta, learner.state))
        assert loaded.fingerprint == learner.fingerprint
        same(loaded.with_task(folder / "task"), adapted, x)

        unmoved = [(learner, still)]
        if "mask" in meta.rule:
            closed = jax.tree.map(lambda a: np.full_like(a, -1e9), meta.rule["mask"])
            meta = meta._replace(rule={**meta.rule, "mask": closed})
            held = dataclasses.replace(learner, learned=learner.learned._replace(meta=meta))
            unmoved.append((held, held.adapt(x, y)))
        for each, nothing in unmoved:
            nothing.save_task(folder / "nothing")
            arrays = safetensors.numpy.load_file(folder / "nothing")
            assert not [name for name in arrays if not name.startswith("state.")]  # statistics of the support set
            same(each.with_task(folder / "nothing"), nothing, x)
            jax.tree.map(np.testing.assert_array_equal, nothing.params, still.params)
