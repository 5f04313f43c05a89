"""The fold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mtnets import METHODS, OptionError, from_nnx
from mtnets.layers import Layer
from mtnets.metric import identity, metric

LAYERS = (Layer("a", "a.w", "a.b", (2, 3, 4), (2,)), Layer("b", "b.w", None, (5, 2, 3), (1, 2)))
RANDOM = np.random.default_rng(0)
WEIGHTS = {"a.w": RANDOM.normal(size=(2, 3, 4)), "a.b": RANDOM.normal(size=4), "b.w": RANDOM.normal(size=(5, 2, 3))}
METRICS = {"a": RANDOM.normal(size=(4, 4)), "b": RANDOM.normal(size=(6, 6))}


@pytest.mark.usefixtures("float64")
def test_metric_after_a_layer_is_a_metric_on_its_weights() -> None:
    """`(x W + b) T = x (W T) + b T`, on the flattening of several output axes."""
    folded = metric().apply(LAYERS, METRICS, WEIGHTS)
    assert {path: leaf.shape for path, leaf in folded.items()} == {path: leaf.shape for path, leaf in WEIGHTS.items()}
    x = RANDOM.normal(size=(7, 2, 3))
    layered = (np.einsum("nij,ijk->nk", x, WEIGHTS["a.w"]) + WEIGHTS["a.b"]) @ METRICS["a"]
    np.testing.assert_allclose(np.einsum("nij,ijk->nk", x, folded["a.w"]) + folded["a.b"], layered, rtol=1e-12)
    x = RANDOM.normal(size=(7, 5))
    layered = (np.einsum("ni,ijk->njk", x, WEIGHTS["b.w"]).reshape(7, 6) @ METRICS["b"]).reshape(7, 2, 3)
    np.testing.assert_allclose(np.einsum("ni,ijk->njk", x, folded["b.w"]), layered, rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_gradient_through_the_fold() -> None:
    """`G Tᵀ` on W."""
    gradient = {path: RANDOM.normal(size=leaf.shape) for path, leaf in WEIGHTS.items()}
    _, pullback = jax.vjp(lambda weights: metric().apply(LAYERS, METRICS, weights), WEIGHTS)
    (found,) = pullback(jax.tree.map(jnp.asarray, gradient))
    for layer in LAYERS:
        expected = np.asarray(layer.matrix(gradient)) @ METRICS[layer.name].T
        np.testing.assert_allclose(layer.matrix(found), expected, rtol=1e-12)


def test_both_folds_start_by_changing_nothing() -> None:
    weights = {path: jnp.asarray(leaf, jnp.float32) for path, leaf in WEIGHTS.items()}
    for fold in (identity(), metric()):
        folded = fold.apply(LAYERS, fold.init(LAYERS, weights), weights)
        assert folded.keys() == weights.keys()
        for path, leaf in weights.items():
            np.testing.assert_array_equal(folded[path], leaf)
            assert folded[path].dtype == leaf.dtype
    assert metric().init(LAYERS, weights)["b"].shape == (6, 6)


def test_the_fold_has_full_precision() -> None:
    """On a GPU the default would round to TF32."""
    weights = {path: jnp.asarray(leaf, jnp.float32) for path, leaf in WEIGHTS.items()}
    arrays = metric().init(LAYERS, weights)
    products = [
        eqn.params["precision"]
        for eqn in jax.make_jaxpr(lambda w: metric().apply(LAYERS, arrays, w))(weights).eqns
        if eqn.primitive.name == "dot_general"
    ]
    assert len(products) == len(LAYERS)
    for precision in products:
        assert precision == (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)


def test_grouped_convolutions_are_refused() -> None:
    """A full T would mix groups that the convolution keeps apart."""
    model = from_nnx(lambda rngs: nnx.Conv(4, 6, (3, 3), feature_group_count=2, rngs=rngs), (5, 5, 4), norm="none")
    params, _ = model.init(jax.random.key(0))
    assert model.layers[0].groups == 2
    with pytest.raises(OptionError, match=r"2 groups.*m_net"):
        METHODS["mt_net"]().init(jax.random.key(0), model.layers, params, 0.1)
    METHODS["m_net"]().init(jax.random.key(0), model.layers, params, 0.1)
