"""Convolution as patches and pooling as a reshape, against those of JAX and Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mtnets.networks.models.conv import conv, conv_by_patches, max_pool

RANDOM = np.random.default_rng(0)
DIMENSIONS = ("NHWC", "HWIO", "NHWC")
AXES = {1: ("NHC", "HIO", "NHC"), 2: DIMENSIONS, 3: ("NDHWC", "DHWIO", "NDHWC")}
pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "padding", "dilation"),
    [
        ((8, 8), (3, 3), (1, 1), "SAME", None),
        ((7, 9), (3, 3), (2, 2), "SAME", None),
        ((8, 5), (3, 3), (2, 2), "SAME", None),
        ((7, 8), (3, 3), (1, 1), "VALID", None),
        ((8, 7), (3, 3), (2, 2), "VALID", None),
        ((5, 6), (2, 3), (2, 1), "SAME", None),
        ((2, 2), (3, 3), (2, 2), "SAME", None),
        ((6, 7), (3, 2), (1, 2), ((1, 0), (2, 1)), None),
        ((9, 8), (3, 2), (2, 1), ((1, 0), (2, 1)), (2, 3)),
        ((9,), (3,), (2,), ((2, 1),), (3,)),
        ((5, 4, 6), (2, 3, 2), (1, 2, 3), ((1, 0), (1, 1), (0, 2)), (1, 1, 2)),
    ],
)
def test_patches(shape, kernel, strides, padding, dilation) -> None:
    """Value and both gradients."""
    images, weights = RANDOM.normal(size=(2, *shape, 3)), RANDOM.normal(size=(*kernel, 3, 4))

    def reference(images, weights):
        options = {"rhs_dilation": dilation, "dimension_numbers": AXES[len(shape)]}
        return jax.lax.conv_general_dilated(images, weights, strides, padding, **options)

    def patches(images, weights):
        return conv_by_patches(images, weights, strides, padding, dilation)

    def value_and_gradients(f):
        y, pullback = jax.vjp(f, images, weights)
        return y, *pullback(jnp.cos(jnp.arange(y.size, dtype=float)).reshape(y.shape))

    results = jax.jit(lambda: [value_and_gradients(f) for f in (reference, patches)])()
    for expected, found in zip(*results, strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": 2},
        {"padding": "VALID"},
        {"padding": "CIRCULAR"},
        {"kernel_dilation": 2},
        {"feature_group_count": 2},
    ],
    ids=str,
)
def test_within_flax(options) -> None:
    """Whatever Flax passes on, also what patches cannot do."""
    plain, fast = (
        nnx.Conv(2, 4, (3, 3), rngs=nnx.Rngs(0), **options, **extra) for extra in ({}, {"conv_general_dilated": conv})
    )
    x = RANDOM.normal(size=(2, 7, 8, 2))
    np.testing.assert_allclose(fast(x), plain(x), rtol=1e-10, atol=1e-10)


def test_a_cpu_uses_patches() -> None:
    images, weights = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 3))
    program = str(
        jax.make_jaxpr(lambda x, w: conv(x, w, (1, 1), "SAME", dimension_numbers=DIMENSIONS))(images, weights)
    )
    assert ("conv_general_dilated" in program) == (jax.default_backend() != "cpu")


@pytest.mark.parametrize(("shape", "size"), [((4, 6), 2), ((5, 7), 2), ((7, 8), 3), ((3, 3), 3), ((21, 21), 2)])
def test_max_pool(shape, size) -> None:
    """Value and gradient, with rows and columns left over."""
    images = RANDOM.normal(size=(2, *shape, 3))
    expected, pull = jax.vjp(lambda x: nnx.max_pool(x, (size, size), (size, size)), images)
    found, pull_found = jax.vjp(lambda x: max_pool(x, size), images)
    np.testing.assert_array_equal(found, expected)
    cotangent = RANDOM.normal(size=found.shape)
    np.testing.assert_allclose(pull_found(cotangent)[0], pull(cotangent)[0], rtol=1e-12)
