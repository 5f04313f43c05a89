"""Layers are found by what the network computes, in the order in which it computes it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from mtnets import t_net
from mtnets.errors import OptionError
from mtnets.inner import criterion
from mtnets.inner.folds import metric
from mtnets.inner.loop import Inner, starting_point
from mtnets.inner.task import Batch
from mtnets.networks.adapters.nnx import model_of
from mtnets.networks.layers import Layer, find_layers, structure_of
from mtnets.networks.models.conv import conv
from mtnets.trees import leaves_by_path, path_of, replace_leaves
from problems import adapt_at, small_conv4, small_mlp

X = jnp.ones((5, 3))


def mean_squared_error(prediction, batch):
    return jnp.mean(jnp.square(prediction - batch.y))


def dense(params, x):
    return x @ params["kernel"] + params["bias"]


def found(forward, params):
    """(name, weight, bias) of each layer."""
    return [(layer.name, layer.weight, layer.bias) for layer in find_layers(forward, params)]


def dense_params(inputs, outputs):
    return {"kernel": jnp.ones((inputs, outputs)), "bias": jnp.ones(outputs)}


def of_module(module, x):
    """Layers of an NNX module."""
    graph, params, rest = nnx.split(module, nnx.Param, ...)

    def forward(pure):
        state = jax.tree.map(lambda leaf: leaf, params)
        nnx.replace_by_pure_dict(state, pure)
        return nnx.merge(graph, state, rest)(x)

    return find_layers(forward, nnx.to_pure_dict(params))


THREE = {"zebra": dense_params(3, 4), "apple": dense_params(4, 5), "mango": dense_params(5, 2)}
ZEBRA, APPLE, MANGO = ((name, f"{name}.kernel", f"{name}.bias") for name in THREE)


def three(params, x):
    return dense(params["mango"], jnp.tanh(dense(params["apple"], jnp.tanh(dense(params["zebra"], x)))))


def test_order_is_that_of_use_not_of_names_or_creation() -> None:
    assert list(THREE) != sorted(THREE)
    for order in (THREE, {name: THREE[name] for name in sorted(THREE)}):
        assert found(lambda p: three(p, X), order) == [ZEBRA, APPLE, MANGO]

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a_last, self.z_first = nnx.Linear(4, 2, rngs=rngs), nnx.Linear(3, 4, rngs=rngs)

        def __call__(self, x):
            return self.a_last(self.z_first(x))

    assert [layer.name for layer in of_module(Net(nnx.Rngs(0)), X)] == ["z_first", "a_last"]


def test_more_than_nine_layers_stay_in_order() -> None:
    names = [f"layer{i}" for i in range(12)]  # layer10 sorts before layer2
    params = {name: dense_params(3, 3) for name in names}

    def forward(p):
        return functools.reduce(lambda x, name: dense(p[name], x), names, X)

    assert [layer.name for layer in find_layers(forward, params)] == names


def test_leaves_in_one_container() -> None:
    params = {"w1": jnp.ones((3, 4)), "b1": jnp.ones(4), "w2": jnp.ones((4, 4)), "b2": jnp.ones(4)}

    def forward(p):
        return jnp.tanh(X @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    assert found(forward, params) == [("w1", "w1", "b1"), ("w2", "w2", "b2")]
    assert found(lambda p: forward(p["net"]), {"net": params}) == [
        ("net.w1", "net.w1", "net.b1"),
        ("net.w2", "net.w2", "net.b2"),
    ]
    no_first_bias = {name: params[name] for name in ("w1", "w2", "b2")}

    def without_first_bias(p):
        return jnp.tanh(X @ p["w1"]) @ p["w2"] + p["b2"]

    assert found(without_first_bias, no_first_bias) == [("w1", "w1", None), ("w2", "w2", "b2")]
    listed = [jnp.ones((3, 4)), jnp.ones(4), jnp.ones((4, 2)), jnp.ones(2)]
    assert found(lambda p: jnp.tanh(X @ p[0] + p[1]) @ p[2] + p[3], listed) == [("0", "0", "1"), ("2", "2", "3")]


def test_norm_scales_and_offsets_are_no_layers() -> None:
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a, self.b = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, use_bias=False, rngs=rngs)
            self.batch, self.layer = nnx.BatchNorm(4, use_running_average=True, rngs=rngs), nnx.LayerNorm(4, rngs=rngs)

        def __call__(self, x):
            return self.b(self.layer(self.batch(self.a(x))))

    layers = of_module(Net(nnx.Rngs(0)), X)
    assert [(layer.name, layer.bias) for layer in layers] == [("a", "a.bias"), ("b", None)]


def test_norm_scales_beside_a_weight_are_not_its_bias() -> None:
    """In a flat dict the scale has the shape of a bias, but it multiplies."""
    params = {"w": jnp.ones((3, 4)), "scale": jnp.ones(4), "offset": jnp.ones(4), "head": jnp.ones((4, 2))}

    def forward(p):
        h = X @ p["w"]
        h = (h - h.mean(0)) * p["scale"] + p["offset"]
        return h @ p["head"]

    assert found(forward, params) == [("w", "w", None), ("head", "head", None)]


def _custom_jvp(f):
    g = jax.custom_jvp(f)
    g.defjvp(lambda primals, tangents: jax.jvp(f, primals, tangents))
    return g


def _custom_vjp(f):
    g = jax.custom_vjp(f)
    g.defvjp(lambda *a: (f(*a), a), lambda a, ct: jax.vjp(f, *a)[1](ct))
    return g


WRAPPERS = {
    "jit": jax.jit,
    "nested jit": lambda f: jax.jit(jax.jit(f)),
    "checkpoint": jax.checkpoint,
    "cond": lambda f: lambda p, x: jax.lax.cond(x.sum() > 0, f, lambda p, x: 2 * f(p, x), p, x),
    "switch": lambda f: lambda p, x: jax.lax.switch(2, [f, f, f], p, x),
    "scan over examples": lambda f: lambda p, x: jax.lax.scan(lambda c, row: (c, f(p, row[None])), 0, x)[1],
    "scan with a carry": lambda f: lambda p, x: jax.lax.scan(lambda c, _: (c, f(c[0], c[1])), (p, x), None, 2)[1],
    "while": lambda f: lambda p, x: jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, f(p, x)), (0, f(p, x))),
    "vmap": lambda f: lambda p, x: jax.vmap(f, (None, 0))(p, x[:, None]),
    "custom_jvp": _custom_jvp,
    "custom_vjp": _custom_vjp,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_inside_programs(wrapper: str) -> None:
    wrapped = WRAPPERS[wrapper](three)
    assert found(lambda p: wrapped(p, X), THREE) == [ZEBRA, APPLE, MANGO]


def test_weights_closed_over_by_a_loop_with_a_bound() -> None:
    """The operands of condition and body do not line up."""

    def forward(p, bound=3):
        limit = jnp.asarray(bound) + X.sum().astype(int)

        def body(c):
            return (c[0] + 1, dense(p["a"], c[1]))

        return jax.lax.while_loop(lambda c: c[0] < limit, body, (0, X))[1]

    assert found(forward, {"a": dense_params(3, 3)}) == [("a", "a.kernel", "a.bias")]


def test_weights_rearranged_inside_a_program() -> None:
    """What a sub-program returns may still be a leaf."""
    for wrap in (jax.jit, jax.checkpoint):
        cast = wrap(lambda w: w.reshape(12).reshape(3, 4).astype(jnp.bfloat16).astype(jnp.float32))

        def forward(p, cast=cast):
            return X @ cast(p["a"]["kernel"]) + p["a"]["bias"]

        assert found(forward, {"a": dense_params(3, 4)}) == [("a", "a.kernel", "a.bias")]


def test_convolutions() -> None:
    params = {"z": {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.ones(4)}, "a": {"kernel": jnp.ones((3, 3, 4, 5))}}
    images = jnp.ones((1, 8, 8, 2))
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    for convolve in (jax.lax.conv_general_dilated, conv):

        def forward(p, convolve=convolve):
            return convolve(
                convolve(images, p["z"]["kernel"], (1, 1), "SAME", **options) + p["z"]["bias"],
                p["a"]["kernel"],
                (2, 2),
                "VALID",
                **options,
            )

        layers = find_layers(forward, params)
        assert [(layer.name, layer.bias, layer.units, layer.out_axes) for layer in layers] == [
            ("z", "z.bias", 4, (3,)),
            ("a", None, 5, (3,)),
        ]


@pytest.mark.usefixtures("float64")
def test_a_bias_lines_up_with_the_features() -> None:
    """`[features, 1, 1]` where channels are first, as in Equinox; elsewhere it is no bias."""

    def convolve(p, spec):
        images = jnp.arange(128.0).reshape(2, 4, 4, 4)
        return jax.lax.conv_general_dilated(images, p["w"], (1, 1), "SAME", dimension_numbers=spec) + p["b"]

    first, last = ("NCHW", "OIHW", "NCHW"), ("NHWC", "HWIO", "NHWC")
    kernels = {first: (4, 4, 3, 3), last: (3, 3, 4, 4)}
    for spec, shape, is_bias in (
        (first, (4, 1, 1), True),
        (first, (1, 4, 1, 1), True),
        (last, (4,), True),
        (last, (1, 1, 4), True),
        (last, (4, 1), False),
        (last, (4, 1, 1), False),
        (first, (1, 4, 1), False),
    ):
        random = np.random.default_rng(0)
        leaves = {"w": random.normal(size=kernels[spec]), "b": random.normal(size=shape)}
        forward = functools.partial(convolve, spec=spec)
        (layer,) = find_layers(forward, leaves)
        assert (layer.bias == "b") == is_bias, (spec, shape)
        if is_bias:
            t = random.normal(size=(4, 4))
            folded = forward(metric().apply([layer], {layer.name: t}, leaves, 0))
            expected = jnp.einsum("nhwc,cd->nhwd" if spec is last else "nchw,cd->ndhw", forward(leaves), t)
            np.testing.assert_allclose(folded, expected, rtol=1e-10, atol=1e-10)
    (layer,) = find_layers(lambda p: X @ p["w"] + p["b"], {"w": jnp.ones((3, 4)), "b": jnp.ones((1, 4))})
    assert (layer.bias, layer.bias_shape) == ("b", (1, 4))


def test_built_in_networks() -> None:
    assert [layer.name for layer in small_mlp().layers] == ["layers.0", "layers.1"]
    layers = small_conv4().layers
    assert [layer.name for layer in layers] == ["convs.0", "convs.1", "convs.2", "convs.3", "head"]
    assert [layer.bias for layer in layers] == [f"{layer.name}.bias" for layer in layers]
    assert [layer.shape for layer in layers] == [(3, 3, 1, 3), *[(3, 3, 3, 3)] * 3, (3, 2)]


def test_embeddings() -> None:
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.words, self.head = nnx.Embed(7, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x):
            return self.head(self.words(x).mean(1))

    layers = of_module(Net(nnx.Rngs(0)), jnp.zeros((5, 6), int))
    assert [(layer.name, layer.shape, layer.units, layer.bias) for layer in layers] == [
        ("words", (7, 4), 4, None),
        ("head", (4, 2), 2, "head.bias"),
    ]


def test_attention_has_projections_with_several_output_axes() -> None:
    attention = nnx.MultiHeadAttention(num_heads=2, in_features=6, decode=False, rngs=nnx.Rngs(0))
    layers = {layer.name: layer for layer in of_module(attention, jnp.ones((1, 5, 6)))}
    assert list(layers)[-1] == "out"
    for name in ("query", "key", "value"):
        assert layers[name].shape == (6, 2, 3)
        assert (layers[name].out_axes, layers[name].units) == ((1, 2), 6)
        assert layers[name].bias == f"{name}.bias"
    assert (layers["out"].shape, layers["out"].out_axes) == ((2, 3, 6), (2,))


def test_output_axes_without_a_bias_are_those_that_the_product_keeps() -> None:
    linear = nnx.LinearGeneral(6, (2, 3), use_bias=False, rngs=nnx.Rngs(0))
    (layer,) = of_module(linear, jnp.ones((5, 6)))
    assert layer.out_axes == (1, 2)


def test_what_is_unused_is_left_out() -> None:
    params = THREE | {"idle": dense_params(3, 3), "temperature": jnp.ones(())}
    assert found(lambda p: three(p, X) * p["temperature"], params) == [ZEBRA, APPLE, MANGO]


def test_a_weight_used_twice_is_one_layer() -> None:
    params = {"a": dense_params(3, 3)}
    assert found(lambda p: dense(p["a"], jnp.tanh(dense(p["a"], X))), params) == [("a", "a.kernel", "a.bias")]


# Every kind of linear layer: how it is built, the shape of one input, its output axes.
FLOAT64 = {"param_dtype": jnp.float64}
KINDS = {
    "linear": (lambda rngs: nnx.Linear(3, 4, rngs=rngs, **FLOAT64), (3,), (1,)),
    "several outputs": (lambda rngs: nnx.LinearGeneral(3, (2, 4), rngs=rngs, **FLOAT64), (3,), (1, 2)),
    "several inputs": (lambda rngs: nnx.LinearGeneral((3, 2), 4, axis=(-2, -1), rngs=rngs, **FLOAT64), (3, 2), (2,)),
    "outputs around an input": (
        lambda rngs: nnx.Einsum("nta,hab->nthb", (2, 3, 4), (2, 4), rngs=rngs, **FLOAT64),
        (5, 3),
        (0, 2),
    ),
    "batched": (lambda rngs: nnx.Einsum("nha,hab->nhb", (2, 3, 4), rngs=rngs, **FLOAT64), (2, 3), (2,)),
    "1-D": (lambda rngs: nnx.Conv(2, 3, (3,), strides=2, rngs=rngs, **FLOAT64), (7, 2), (2,)),
    "2-D": (lambda rngs: nnx.Conv(2, 3, (3, 3), rngs=rngs, **FLOAT64), (5, 5, 2), (3,)),
    "3-D": (lambda rngs: nnx.Conv(2, 3, (2, 2, 2), padding="VALID", rngs=rngs, **FLOAT64), (3, 4, 3, 2), (4,)),
    "as patches": (
        lambda rngs: nnx.Conv(2, 3, (3, 3), conv_general_dilated=conv, rngs=rngs, **FLOAT64),
        (5, 5, 2),
        (3,),
    ),
    "transposed": (lambda rngs: nnx.ConvTranspose(2, 3, (3, 3), strides=2, rngs=rngs, **FLOAT64), (3, 3, 2), (3,)),
    "transposed, of a flipped kernel": (
        lambda rngs: nnx.ConvTranspose(2, 3, (3, 3), strides=2, transpose_kernel=True, rngs=rngs, **FLOAT64),
        (3, 3, 2),
        (2,),
    ),
    "grouped": (lambda rngs: nnx.Conv(4, 6, (3, 3), feature_group_count=2, rngs=rngs, **FLOAT64), (5, 5, 4), (3,)),
    "depthwise": (lambda rngs: nnx.Conv(4, 8, (3, 3), feature_group_count=4, rngs=rngs, **FLOAT64), (5, 5, 4), (3,)),
    "table": (lambda rngs: nnx.Embed(7, 4, rngs=rngs, **FLOAT64), (6,), (1,)),
}


class After(nnx.Module):
    """A layer and T after it, on the flattening of its outputs."""

    def __init__(self, layer, t):
        self.layer, self.t = layer, nnx.Variable(t)

    def __call__(self, x, **options):
        y = self.layer(x, **options)
        return (y.reshape(-1, len(self.t[...])) @ self.t[...]).reshape(y.shape)


class Net(nnx.Module):
    def __init__(self, layer):
        self.layer = layer

    def __call__(self, x):
        return self.layer(x)


def inputs_of(shape, integer=False):
    random = np.random.default_rng(0)
    return random.integers(7, size=(2, *shape)) if integer else random.normal(size=(2, *shape))


def folded_and_layered(net, x):
    """Outputs of a network with random metrics: in its weights, and as layers of their own; and its layers."""

    def run(net, fold=dict):
        model = model_of(net, x.shape[1:], norm="none", input_dtype=x.dtype)
        params, state = model.init(jax.random.key(0))
        params = replace_leaves(params, fold(leaves_by_path(params)))
        return model.apply(params, state, x, None)[0]

    layers = model_of(net, x.shape[1:], norm="none", input_dtype=x.dtype).layers
    metrics, random = {}, np.random.default_rng(1)
    for layer in layers:
        n = layer.units // layer.groups
        metrics[layer.name] = random.normal(size=(n, n) if layer.groups == 1 else (layer.groups, n, n))

    folded = run(net, lambda leaves: metric().apply(layers, metrics, leaves, 0))
    for name, t in metrics.items():
        *container, last = name.split(".")
        place = functools.reduce(getattr, container, net)
        whole = t if t.ndim == 2 else jax.scipy.linalg.block_diag(*t)
        setattr(place, last, After(getattr(place, last), jnp.asarray(whole)))
    return folded, run(net), layers


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", KINDS)
def test_folding_is_a_layer_after_every_kind_of_layer(kind) -> None:
    build, shape, axes = KINDS[kind]
    net, x = Net(build(nnx.Rngs(0))), inputs_of(shape, integer=kind == "table")
    folded, layered, (layer,) = folded_and_layered(net, x)
    assert layer.out_axes == axes
    assert layer.name == "layer"
    assert (layer.bias is None) == (kind in {"table", "batched"})
    np.testing.assert_allclose(folded, layered, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("cell", [nnx.SimpleCell, nnx.OptimizedLSTMCell, nnx.LSTMCell, nnx.GRUCell])
def test_recurrent_cells_have_metrics_at_every_step(cell) -> None:
    """One for each weight, which a scan over time uses again and again."""
    net = nnx.RNN(cell(3, 4, dtype=jnp.float64, rngs=nnx.Rngs(0), **FLOAT64))
    folded, layered, layers = folded_and_layered(net, inputs_of((5, 3)))
    assert len(layers) == (8 if cell is nnx.LSTMCell else 2)
    np.testing.assert_allclose(folded, layered, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("float64")
def test_attention_has_metrics_on_its_projections() -> None:
    net = nnx.MultiHeadAttention(2, 6, decode=False, rngs=nnx.Rngs(0), **FLOAT64)
    folded, layered, layers = folded_and_layered(net, inputs_of((5, 6)))
    assert {layer.name: layer.units for layer in layers} == dict.fromkeys(("query", "key", "value", "out"), 6)
    np.testing.assert_allclose(folded, layered, rtol=1e-10, atol=1e-10)


def test_axes_are_followed_through_rearranging() -> None:
    """Merged, moved, squeezed and flipped; the bias may be flat where the outputs are not."""
    images, options = jnp.ones((1, 5, 5, 4)), {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}

    def depthwise(p):
        kernel = p["kernel"].reshape(3, 3, 1, 12)  # of [3, 3, 4, 3]: three outputs for each input
        y = jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", feature_group_count=4, **options)
        return y + p["bias"]

    (layer,) = find_layers(depthwise, {"kernel": jnp.ones((3, 3, 4, 3)), "bias": jnp.ones(12)})
    assert (layer.out_axes, layer.groups, layer.bias, layer.rows) == ((2, 3), 4, "bias", 10)
    leaves = {"kernel": np.arange(108.0).reshape(3, 3, 4, 3), "bias": -np.arange(12.0)}
    for path, leaf in layer.leaves(layer.matrix(leaves)).items():
        np.testing.assert_array_equal(leaf, leaves[path])

    cases = [
        ((4, 3), lambda w: w.T, (0,)),
        ((4, 5, 3), lambda w: w.reshape(20, 3).T, (0, 1)),
        ((3, 4, 5), lambda w: w.reshape(3, 20), (1, 2)),
        ((3, 1, 4), lambda w: w.reshape(3, 4), (2,)),
        ((3, 1, 4), lambda w: w[:, None].squeeze((1, 2)), (2,)),
        ((4, 3), lambda w: jnp.flip(w).T, (0,)),
        ((3, 1), lambda w: w.reshape(3), (1,)),
        ((1, 3), lambda w: w.reshape(3), ()),
        ((3, 4), lambda w: jnp.broadcast_to(w, (5, 3, 4)), (1,)),
        ((2, 6), lambda w: w.reshape(3, 4), (1,)),  # split: the last axis
    ]
    for shape, rearrange, axes in cases:
        (layer,) = find_layers(lambda p, f=rearrange: X @ f(p["w"]), {"w": jnp.ones(shape)})
        assert layer.out_axes == axes, shape


def test_the_outputs_of_a_table_are_in_its_entries() -> None:
    at = jnp.array([0, 2])
    for shape, look_up, axes in (
        ((7, 4), lambda w: w[at], (1,)),
        ((4, 7), lambda w: jnp.take(w, at, axis=1), (0,)),
        ((7, 2, 4), lambda w: w[at], (2,)),
    ):
        (layer,) = find_layers(lambda p, f=look_up: f(p["w"]), {"w": jnp.ones(shape)})
        assert layer.out_axes == axes


# Weights used more than once


class Recurrent(nnx.Module):
    """A cell over time, by scan or by a loop in Python, and a linear layer on its last state."""

    def __init__(self, rngs, *, scan):
        self.cell, self.head = nnx.SimpleCell(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
        self.scan = scan

    def __call__(self, x):
        carry = jnp.zeros((len(x), 4))
        if self.scan:
            scan = nnx.scan(
                lambda cell, carry, x: cell(carry, x), in_axes=(None, nnx.Carry, 1), out_axes=(nnx.Carry, 1)
            )
            carry, _ = scan(self.cell, carry, x)
        else:
            for t in range(x.shape[1]):
                carry, _ = self.cell(carry, x[:, t])
        return self.head(carry)


class Tied(nnx.Module):
    """Words in, logits of words out by the same table."""

    def __init__(self, rngs):
        self.words, self.inside = nnx.Embed(5, 3, rngs=rngs), nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, x):
        return self.words.attend(jnp.tanh(self.inside(self.words(x).mean(1))))


class Shared(nnx.Module):
    """Two modules with one weight."""

    def __init__(self, rngs):
        self.a, self.b = nnx.Linear(3, 3, rngs=rngs), nnx.Linear(3, 3, use_bias=False, rngs=rngs)
        self.b.kernel = self.a.kernel

    def __call__(self, x):
        return self.b(jnp.tanh(self.a(x)))


def adapted_by(build, method, x, y, **options):
    """A network before and after an inner step of a method with metrics that are not the identity, and these."""
    model = model_of(build, x.shape[1:], norm="none", **options)
    params, state = model.init(jax.random.key(0))
    meta = method.init(model, params, jax.random.key(1), inner_lr=0.1, inner_steps=1)
    random = np.random.default_rng(0)
    meta = meta._replace(fold=jax.tree.map(lambda t: t + 0.3 * random.normal(size=t.shape), meta.fold))
    inner = Inner(model, method, criterion("mse"), 1)
    folded = starting_point(inner, meta).folded
    after = jax.jit(functools.partial(adapt_at, inner))(meta, state, 0.1, Batch(x, y), jax.random.key(2)).params
    return model, {**leaves_by_path(params), **folded}, leaves_by_path(after), meta.fold


def test_a_recurrent_network_adapts_alike_by_scan_and_by_loop() -> None:
    x, y = np.float32(inputs_of((6, 3))), np.ones((2, 2), np.float32)
    results = []
    for scan in (True, False):
        model, before, after, metrics = adapted_by(functools.partial(Recurrent, scan=scan), t_net(), x, y)
        assert [layer.name for layer in model.layers] == ["cell.dense_i", "cell.dense_h", "head"]
        assert metrics.keys() == {layer.name for layer in model.layers}
        assert all(np.abs(after[path] - before[path]).max() > 1e-4 for path in before)
        results.append(after)
    for path, leaf in results[0].items():
        np.testing.assert_allclose(leaf, results[1][path], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", [Tied, Shared])
def test_a_weight_in_two_places_has_one_metric_and_the_gradient_of_both(build) -> None:
    """A step is −α G TᵀT with G the sum of the gradients of two weights that are not tied."""
    tied = build is Tied
    x = inputs_of((4,), integer=True) % 5 if tied else np.float32(inputs_of((3,)))
    y = np.ones((2, 5 if tied else 3), np.float32)
    options = {"input_dtype": jnp.int32} if tied else {}
    model, before, after, metrics = adapted_by(build, t_net(), x, y, **options)
    path, other = ("words.embedding", "inside.kernel") if tied else ("a.kernel", None)
    assert [layer.weight for layer in model.layers] == [path, other] if tied else [path]
    assert len(metrics) == len(model.layers)
    bias = before["inside.bias" if tied else "a.bias"]

    def untied(first, second):
        if tied:
            return mean_squared_error(jnp.tanh(first[x].mean(1) @ before[other] + bias) @ second.T, Batch(x, y))
        return mean_squared_error(jnp.tanh(x @ first + bias) @ second, Batch(x, y))

    gradient = sum(jax.grad(untied, (0, 1))(before[path], before[path]))
    t = metrics["words" if tied else "a"]
    np.testing.assert_allclose(after[path] - before[path], -0.1 * gradient @ t.T @ t, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("change", [lambda v, g: v * g, lambda v, g: v / g, lambda v, g: g * (v / jnp.linalg.norm(v))])
def test_a_weight_that_other_weights_scale_is_a_layer(change) -> None:
    params = {"g": jnp.ones((1, 3)), "v": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    structure = structure_of(lambda p: jnp.ones((4, 2)) @ change(p["v"], p["g"]) + p["b"], params)
    assert [(layer.paths, layer.out_axes) for layer in structure.layers] == [(("v", "b"), (1,))]
    assert set(structure.loose) == {"g"}
    assert not structure.normalising


def test_a_weight_under_a_mask_is_none() -> None:
    params, mask = {"w": jnp.ones((2, 3)), "head": jnp.ones((3, 1))}, jnp.asarray([[1.0, 0.0, 1.0]] * 2)
    structure = structure_of(lambda p: jnp.ones((4, 2)) @ (p["w"] * mask) @ p["head"], params)
    assert [layer.weight for layer in structure.layers] == ["head"]


def test_networks_without_layers() -> None:
    with pytest.raises(OptionError, match=r"scale \(3,\).*rank ≥ 2"):
        find_layers(lambda p: X * p["scale"], {"scale": jnp.ones(3)})
    with pytest.raises(OptionError, match="no parameters"):
        find_layers(lambda p: X, {})
    with pytest.raises(OptionError, match="table"):
        find_layers(lambda p: X + p["table"], {"table": jnp.ones((5, 3))})


def test_paths() -> None:
    tree = {"a": [jnp.zeros(1), (jnp.ones(1),)], "b": {0: jnp.zeros(2)}}
    assert list(leaves_by_path(tree)) == ["a.0", "a.1.0", "b.0"]
    assert path_of(jax.tree.leaves_with_path(tree)[1][0]) == "a.1.0"
    replaced = replace_leaves(tree, {"a.1.0": jnp.full(1, 5.0)})
    assert float(replaced["a"][1][0][0]) == 5
    assert replaced["b"][0] is tree["b"][0]


def test_a_layer_is_a_matrix_of_all_inputs_and_the_bias() -> None:
    layer = Layer("a", "a.w", "a.b", (2, 3, 4), (2,))
    leaves = {"a.w": np.arange(24.0).reshape(2, 3, 4), "a.b": np.full(4, -1.0)}
    matrix = np.asarray(layer.matrix(leaves))
    assert matrix.shape == (7, 4)
    np.testing.assert_array_equal(matrix[:6], leaves["a.w"].reshape(6, 4))
    np.testing.assert_array_equal(matrix[6], -1)
    x = np.arange(12.0).reshape(2, 2, 3)
    expected = np.einsum("nij,ijk->nk", x, leaves["a.w"]) - 1
    np.testing.assert_array_equal(np.c_[x.reshape(2, 6), [1, 1]] @ matrix, expected)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data())
def test_matrix_and_back(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4)))
    axes = data.draw(st.permutations(range(len(shape))))
    out_axes = tuple(axes[: data.draw(st.integers(1, len(shape) - 1))])
    bias = data.draw(st.sampled_from(["b", None]))
    layer = Layer("a", "w", bias, shape, out_axes)
    leaves = {"w": np.arange(np.prod(shape), dtype=np.float32).reshape(shape)}
    if bias:
        leaves["b"] = -1 - np.arange(layer.units, dtype=np.float32).reshape(layer.out_shape)
    matrix = layer.matrix(leaves)
    assert matrix.shape == (layer.rows, layer.units) == (np.prod(shape) // layer.units + bool(bias), layer.units)
    back = layer.leaves(matrix)
    assert back.keys() == leaves.keys()
    for path, leaf in leaves.items():
        np.testing.assert_array_equal(back[path], leaf)
    # a column is an output unit: its weights and its bias
    unit = tuple(np.unravel_index(layer.units - 1, layer.out_shape))
    column = np.moveaxis(leaves["w"], out_axes, range(-len(out_axes), 0))[(..., *unit)].ravel()
    np.testing.assert_array_equal(matrix[: len(column), -1], column)


# --- biases in another container, and leaves in no layer


def lists(p, x):
    return jnp.tanh(x @ p["w"][0] + p["b"][0]) @ p["w"][1] + p["b"][1]


def test_biases_in_another_container() -> None:
    params = {"w": [jnp.ones((3, 4)), jnp.ones((4, 4))], "b": [jnp.zeros(4), jnp.zeros(4)]}
    structure = structure_of(lambda p: lists(p, X), params)
    assert [(layer.weight, layer.bias) for layer in structure.layers] == [("w.0", "b.0"), ("w.1", "b.1")]
    assert structure.loose == {}


def test_a_bias_belongs_to_the_product_that_it_is_added_to() -> None:
    """Not to the weight of its container that was used last."""

    def crossed(p):
        first, second = X @ p["a"], X @ p["b"]
        return (second + p["of_b"]) * (first + p["of_a"])

    params = {"a": jnp.ones((3, 2)), "b": jnp.ones((3, 2)), "of_a": jnp.ones(2), "of_b": jnp.ones(2)}
    assert found(crossed, params) == [("a", "a", "of_a"), ("b", "b", "of_b")]


@pytest.mark.parametrize(
    "forward",
    [
        lambda p: (X @ p["w"]) * p["loose"]["s"] + p["loose"]["b"],
        lambda p: jnp.tanh(X @ p["w"]) * p["loose"]["s"] + p["loose"]["b"],
        lambda p: (X @ p["w"]).T + p["loose"]["b"][:, None] + p["loose"]["s"][:, None],
    ],
)
def test_what_is_added_to_something_else_is_loose(forward) -> None:
    params = {"w": jnp.ones((3, 2)), "loose": {"b": jnp.ones(2), "s": jnp.ones(2)}}
    structure = structure_of(forward, params)
    assert structure.loose == {"loose.b": (2,), "loose.s": (2,)}
    assert structure.normalising == set()


def test_scales_and_offsets_of_normalisation_are_told_apart() -> None:
    def forward(p):
        x = X @ p["w"]
        by_division = (x - x.mean(0)) / jnp.std(x, 0) * p["scale"] + p["offset"]
        var = x.var(0)
        folded = (x - x.mean(0)) * (jax.lax.rsqrt(var + 1e-5) * p["gain"]) + p["shift"]
        return jnp.tanh(by_division + folded) * p["temperature"]

    names = ["scale", "offset", "gain", "shift", "temperature"]
    structure = structure_of(forward, {"w": jnp.ones((3, 2)), **{name: jnp.ones(2) for name in names}})
    assert set(structure.loose) == set(names)
    assert structure.normalising == set(names) - {"temperature"}
