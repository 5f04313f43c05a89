"""The fold."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets import OptionError
from mtnets.inner.folds import identity, metric, step_offsets
from mtnets.inner.seams import Setting
from mtnets.networks.layers import Layer
from problems import assert_trees_close, gradient_of, small_mlp, start, tasks_for

KINDS = {
    "full": metric,
    "low-rank": lambda sides=1: metric(sides, "low-rank", 3),
    "diagonal": lambda sides=1: metric(sides, "diagonal"),
}
LAYERS = (Layer("a", "a.w", "a.b", (2, 3, 4), (2,)), Layer("b", "b.w", None, (5, 2, 3), (1, 2)))
RANDOM = np.random.default_rng(0)
WEIGHTS = {"a.w": RANDOM.normal(size=(2, 3, 4)), "a.b": RANDOM.normal(size=4), "b.w": RANDOM.normal(size=(5, 2, 3))}
METRICS = {"a": RANDOM.normal(size=(4, 4)), "b": RANDOM.normal(size=(6, 6))}
INPUTS = {"a": RANDOM.normal(size=(7, 7)), "b": RANDOM.normal(size=(5, 5))}  # the bias of a is its seventh input
OFFSETS = {"norm.bias": jnp.arange(4.0), "norm.scale": jnp.ones(4)}

# convolutions of two groups and of one for each input, which have two outputs
GROUPED = Layer("c", "c.w", "c.b", (3, 3, 2, 6), (3,), 2), Layer("d", "d.w", "d.b", (3, 3, 1, 8), (3,), 4)
GROUPED_WEIGHTS = {path: RANDOM.normal(size=s) for path, s in {"c.w": (3, 3, 2, 6), "d.w": (3, 3, 1, 8)}.items()}
GROUPED_WEIGHTS |= {"c.b": RANDOM.normal(size=6), "d.b": RANDOM.normal(size=8)}

every_kind = pytest.mark.parametrize("kind", KINDS)
both_sides = pytest.mark.parametrize("sides", [1, 2])


def setting_of(weights, layers=LAYERS):
    return Setting(layers, weights, OFFSETS, 0.1, 2, jax.random.key(0))


def away(kind, sides, layers, weights):
    """Arrays of a metric that is not the identity."""
    return jax.tree.map(lambda a: RANDOM.normal(size=a.shape), shapes_of(KINDS[kind](sides), layers, weights))


def shapes_of(fold, layers, weights):
    """The arrays of a fold, not computed."""
    return jax.eval_shape(lambda: fold.init(setting_of(weights, layers)))


def whole(kind: str, arrays: Any) -> Any:
    """The matrices themselves, `[..., n, n]`, of arrays of a metric, as those of a full one."""
    if isinstance(arrays, dict) and not arrays.keys() <= {"U", "V"}:
        return {name: whole(kind, array) for name, array in arrays.items()}
    if kind == "low-rank":
        return np.eye(arrays["U"].shape[-2]) + arrays["U"] @ arrays["V"].mT
    return jnp.asarray(arrays)[..., None] * np.eye(np.shape(arrays)[-1]) if kind == "diagonal" else arrays


def blocks(matrices):
    """A block-diagonal matrix of `[groups, n, n]`."""
    groups, n, _ = matrices.shape
    result = np.zeros((groups, n, groups, n))
    result[range(groups), :, range(groups)] = matrices
    return result.reshape(groups * n, groups * n)


@pytest.mark.usefixtures("float64")
def test_metric_after_a_layer_is_a_metric_on_its_weights() -> None:
    """`(x W + b) T = x (W T) + b T`, on the flattening of several output axes."""
    folded = metric().apply(LAYERS, METRICS, WEIGHTS, 0)
    assert {path: leaf.shape for path, leaf in folded.items()} == {path: leaf.shape for path, leaf in WEIGHTS.items()}
    x = RANDOM.normal(size=(7, 2, 3))
    layered = (np.einsum("nij,ijk->nk", x, WEIGHTS["a.w"]) + WEIGHTS["a.b"]) @ METRICS["a"]
    np.testing.assert_allclose(np.einsum("nij,ijk->nk", x, folded["a.w"]) + folded["a.b"], layered, rtol=1e-12)
    x = RANDOM.normal(size=(7, 5))
    layered = (np.einsum("ni,ijk->njk", x, WEIGHTS["b.w"]).reshape(7, 6) @ METRICS["b"]).reshape(7, 2, 3)
    np.testing.assert_allclose(np.einsum("ni,ijk->njk", x, folded["b.w"]), layered, rtol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sides", [1, 2])
def test_gradient_through_the_fold(sides) -> None:
    """`G Tᵀ` on W; `Sᵀ G Tᵀ` with a metric on inputs too."""
    arrays = METRICS if sides == 1 else {"outputs": METRICS, "inputs": INPUTS}
    gradient = {path: RANDOM.normal(size=leaf.shape) for path, leaf in WEIGHTS.items()}
    folded, pullback = jax.vjp(lambda weights: metric(sides).apply(LAYERS, arrays, weights, 0), WEIGHTS)
    (actual,) = pullback(jax.tree.map(jnp.asarray, gradient))
    for layer in LAYERS:
        s = INPUTS[layer.name] if sides == 2 else np.eye(layer.rows)
        weights, g = (np.asarray(layer.matrix(leaves)) for leaves in (WEIGHTS, gradient))
        np.testing.assert_allclose(layer.matrix(folded), s @ weights @ METRICS[layer.name], rtol=1e-12)
        np.testing.assert_allclose(layer.matrix(actual), s.T @ g @ METRICS[layer.name].T, rtol=1e-12)


def test_all_folds_start_by_changing_nothing() -> None:
    weights = {path: jnp.asarray(leaf, jnp.float32) for path, leaf in WEIGHTS.items()}
    setting = setting_of(weights)
    others = [make(sides) for make in KINDS.values() for sides in (1, 2)]
    for fold in (identity(), step_offsets(metric()), *others):
        arrays = jax.jit(lambda fold=fold: fold.init(setting))()
        for step in range(4):
            folded = fold.apply(LAYERS, arrays, weights, step)
            expected = weights | OFFSETS if "norm.bias" in folded else weights
            assert folded.keys() == expected.keys()
            for path, leaf in expected.items():
                np.testing.assert_array_equal(folded[path], leaf)
                assert folded[path].dtype == leaf.dtype
    assert metric().init(setting)["b"].shape == (6, 6)
    assert metric(2).init(setting)["inputs"]["a"].shape == (7, 7)
    assert not identity().learns
    assert all(fold.learns for fold in (metric(), metric(2), step_offsets(identity())))


def test_offsets_of_each_step() -> None:
    """Two inner steps have three: before each and at the end, where they stay."""
    fold = step_offsets(identity())
    arrays = fold.init(setting_of(WEIGHTS))
    assert arrays["offsets"]["norm.bias"].shape == (3, 4)
    arrays["offsets"]["norm.bias"] += 10 * np.arange(3)[:, None]
    for step, now in ((0, 0), (1, 1), (2, 2), (3, 2), (9, 2)):
        folded = fold.apply(LAYERS, arrays, WEIGHTS, jnp.int32(step))
        np.testing.assert_array_equal(folded["norm.bias"], np.arange(4) + 10 * now)
        np.testing.assert_array_equal(folded["a.w"], WEIGHTS["a.w"])


def test_the_fold_has_full_precision() -> None:
    """On a GPU the default would round to TF32."""
    weights = {path: jnp.asarray(leaf, jnp.float32) for path, leaf in WEIGHTS.items()}
    for sides in (1, 2):
        fold = metric(sides)
        arrays = fold.init(setting_of(weights))
        products = [
            eqn.params["precision"]
            for eqn in jax.make_jaxpr(lambda w, fold=fold, arrays=arrays: fold.apply(LAYERS, arrays, w, 0))(
                weights
            ).eqns
            if eqn.primitive.name == "dot_general"
        ]
        assert len(products) == sides * len(LAYERS)
        for precision in products:
            assert precision == (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["low-rank", "diagonal"])
@both_sides
def test_every_kind_is_its_matrix(kind, sides) -> None:
    """Weights, and gradients of W and of whatever the matrix is stored as, are those of a full metric; with groups, of
    each of them."""
    stored, full = KINDS[kind](sides), metric(sides)
    for layers, weights in ((LAYERS, WEIGHTS), (GROUPED, GROUPED_WEIGHTS)):
        arrays = away(kind, sides, layers, weights)
        direction = {path: RANDOM.normal(size=leaf.shape) for path, leaf in weights.items()}

        @jax.jit
        def both(arrays, weights, layers=layers, direction=direction):
            def product(fold, arrays, weights):
                folded = fold.apply(layers, arrays, weights, 0)
                return sum(jnp.vdot(folded[path], direction[path]) for path in folded), folded

            return (
                jax.grad(lambda a, w: product(stored, a, w), (0, 1), has_aux=True)(arrays, weights),
                jax.grad(lambda a, w: product(full, whole(kind, a), w), (0, 1), has_aux=True)(arrays, weights),
            )

        assert_trees_close(*both(arrays, weights), rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_a_low_rank_metric_of_full_rank_is_any_metric() -> None:
    arrays = {name: {"U": t - np.eye(len(t)), "V": np.eye(len(t))} for name, t in METRICS.items()}
    folded, expected = (
        fold.apply(LAYERS, a, WEIGHTS, 0) for fold, a in ((KINDS["low-rank"](), arrays), (metric(), METRICS))
    )
    for path, leaf in expected.items():
        np.testing.assert_allclose(folded[path], leaf, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("float64")
@every_kind
@pytest.mark.parametrize("layer", GROUPED, ids=["groups", "depthwise"])
def test_a_metric_after_a_grouped_convolution(kind, layer) -> None:
    """It is a 1×1 convolution by a block-diagonal matrix, after the convolution and its bias; a metric on inputs is one
    on what each group sees, `[patch, 1] S [W; b] T`."""
    channels = layer.shape[2] * layer.groups
    images, weights = RANDOM.normal(size=(2, 6, 6, channels)), GROUPED_WEIGHTS

    def run(leaves):
        options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": layer.groups}
        return (
            jax.lax.conv_general_dilated(images, leaves[layer.weight], (1, 1), "VALID", **options) + leaves[layer.bias]
        )

    arrays = away(kind, 1, (layer,), weights)
    folded = run(KINDS[kind](1).apply((layer,), arrays, weights, 0))
    t = blocks(whole(kind, arrays)[layer.name])
    mixed = jax.lax.conv_general_dilated(
        run(weights), jnp.asarray(t)[None, None], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(folded, mixed, rtol=1e-10, atol=1e-12)

    arrays = away(kind, 2, (layer,), weights)
    folded = run(KINDS[kind](2).apply((layer,), arrays, weights, 0))
    matrices = {side: stored[layer.name] for side, stored in whole(kind, arrays).items()}
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), (1, 2))  # [n, y, x, channels, 3, 3]
    inputs, units = layer.shape[2], layer.units // layer.groups
    for group in range(layer.groups):
        seen = np.moveaxis(windows[..., group * inputs : (group + 1) * inputs, :, :], 3, -1).reshape(2, 4, 4, -1)
        seen = np.concatenate([seen, np.ones((2, 4, 4, 1))], -1)
        outputs = slice(group * units, (group + 1) * units)
        matrix = np.asarray(layer.matrix(weights))[:, outputs]
        expected = seen @ matrices["inputs"][group] @ matrix @ matrices["outputs"][group]
        np.testing.assert_allclose(folded[..., outputs], expected, rtol=1e-10, atol=1e-12)


def test_what_is_stored() -> None:
    """units² numbers, 2 · rank · units, or units; in layers of few units no higher a rank; groups apart."""
    weights = {path: jnp.asarray(leaf, jnp.float32) for path, leaf in (WEIGHTS | GROUPED_WEIGHTS).items()}

    def shapes(fold):
        return jax.tree.map(lambda a: a.shape, shapes_of(fold, LAYERS + GROUPED, weights))

    assert shapes(metric()) == {"a": (4, 4), "b": (6, 6), "c": (2, 3, 3), "d": (4, 2, 2)}
    low = {"a": (4, 3), "b": (6, 3), "c": (2, 3, 3), "d": (4, 2, 2)}
    assert shapes(metric(kind="low-rank", rank=3)) == {name: {"U": s, "V": s} for name, s in low.items()}
    both = shapes(metric(2, "diagonal"))
    assert both["outputs"] == {"a": (4,), "b": (6,), "c": (2, 3), "d": (4, 2)}
    assert both["inputs"] == {"a": (7,), "b": (5,), "c": (2, 19), "d": (4, 10)}
    started = jax.jit(lambda: metric(2, "low-rank", 3).init(setting_of(weights, LAYERS + GROUPED)))()
    columns = [m["U"][..., 0].ravel() for side in started.values() for m in side.values()]
    assert len({float(column[0]) for column in columns}) == len(columns)  # each drawn apart
    length = float(jnp.linalg.norm(metric(kind="low-rank").init(wide())["w"]["U"][:, 0]))
    assert 0.8 < length < 1.2


def wide(units=256):
    layer = Layer("w", "w.w", None, (3, units), (1,))
    return setting_of({"w.w": jnp.ones((3, units))}, (layer,))


@pytest.mark.parametrize("kind", ["low-rank", "diagonal"])
def test_a_wide_metric_is_never_put_together(kind) -> None:
    """Neither in the fold nor in its gradient is there an array of units² numbers."""
    setting, fold = wide(), metric(2, kind, 2)

    def loss(arrays, weights):
        return sum(leaf.sum() for leaf in fold.apply(setting.layers, arrays, weights, 0).values())

    program = jax.make_jaxpr(jax.grad(loss, (0, 1)))(fold.init(setting), setting.weights)
    assert max(math.prod(var.aval.shape) for eqn in program.eqns for var in eqn.outvars) <= 3 * 256


@pytest.mark.usefixtures("float64")
@every_kind
@both_sides
def test_spectra(kind, sides) -> None:
    """The singular values of the matrices themselves."""
    layers, weights = LAYERS + GROUPED, WEIGHTS | GROUPED_WEIGHTS
    fold, arrays = KINDS[kind](sides), away(kind, sides, layers, weights)
    actual = fold.spectra(layers, arrays)
    matrices = whole(kind, arrays)
    matrices = matrices if sides == 1 else {f"{s}.{n}": m for s, named in matrices.items() for n, m in named.items()}
    assert actual.keys() == matrices.keys()
    for name, m in matrices.items():
        expected = np.linalg.svd(m if m.ndim == 2 else blocks(m), compute_uv=False)
        np.testing.assert_allclose(actual[name], expected, rtol=1e-9, atol=1e-12)
    offsets = step_offsets(fold).spectra(layers, {"offsets": OFFSETS, "fold": arrays})
    assert offsets.keys() == actual.keys()
    broken = jax.tree.map(lambda a: a * np.nan, arrays)
    assert fold.spectra(layers, broken) == {} == identity().spectra(layers, {})


@pytest.mark.usefixtures("float64")
def test_the_first_meta_gradient_of_a_low_rank_metric() -> None:
    """V learns at once; U, along which V is still zero, from the second meta-step."""
    options = {"metric": "low-rank", "rank": 2}
    meta, state = start(small_mlp(), "t_net", **options)
    keys = jax.random.split(jax.random.key(0), 2)
    gradient = gradient_of(small_mlp(), "t_net", **options)(meta, state, 0.3, tasks_for(small_mlp()), keys).gradient
    for name in meta.fold:
        assert np.abs(gradient.fold[name]["V"]).max() > 1e-4
        np.testing.assert_array_equal(gradient.fold[name]["U"], 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3,), "sides is 3; a metric has 1"),
        ((1, "triangular"), "metric is 'triangular'; choose one of full, low-rank, diagonal"),
        ((1, "low-rank", 0), "rank is 0; .* a whole number of columns above 0"),
        ((1, "full", 2.5), r"rank is 2\.5"),
    ],
)
def test_bad_options(arguments, message) -> None:
    with pytest.raises(OptionError, match=message):
        metric(*arguments)
