"""conv-4, against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mtnets import OptionError
from mtnets.networks import models
from mtnets.networks.models import conv4, model_from_config

IMAGES = np.random.default_rng(0).normal(size=(3, 16, 16, 2)).astype(np.float32)


def naive(params, x, downsample, norm):
    for i in range(4):
        kernel, bias = params["convs"][i]["kernel"], params["convs"][i]["bias"]
        strides = (2, 2) if downsample == "stride" else (1, 1)
        x = jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias
        if norm:
            x = (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-3) + params["norms"][i]["bias"]
        x = jnp.maximum(x, 0)
        if downsample == "pool":
            x = nnx.max_pool(x, (2, 2), (2, 2))
    x = x.mean((1, 2)) if downsample == "stride" else x.reshape(len(x), -1)
    return x @ params["head"]["kernel"] + params["head"]["bias"]


@pytest.mark.parametrize(
    ("downsample", "norm"), [("stride", "transductive"), ("pool", "transductive"), ("pool", "none")]
)
def test_forward(downsample, norm) -> None:
    model = conv4(5, image_size=16, channels=2, filters=3, downsample=downsample, norm=norm)
    params, state = jax.jit(model.init)(jax.random.key(0))
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda a: a + random.normal(scale=0.1, size=a.shape).astype(np.float32), params)
    y, _ = jax.jit(model.apply)(params, state, IMAGES, None)
    assert y.shape == (3, 5)
    expected = jax.jit(naive, static_argnums=(2, 3))(params, IMAGES, downsample, norm != "none")
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_compiled_gradient_is_that_of_its_operations() -> None:
    """A guard against the compiler, which got this one wrong by its own size while max-pooling compared floats."""
    model = conv4(5, image_size=16, channels=2, filters=32, downsample="pool")
    params, state = jax.jit(model.init)(jax.random.key(0))

    def loss(params):
        return jax.nn.log_softmax(model.apply(params, state, IMAGES, None)[0])[:, 0].mean()

    one_by_one, compiled = jax.grad(loss)(params), jax.jit(jax.grad(loss))(params)
    for a, b in zip(jax.tree.leaves(one_by_one), jax.tree.leaves(compiled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_start() -> None:
    """Xavier's scale, heads from N(0, 1) in strided networks; biases from zero."""
    strided, pooled = (
        jax.jit(conv4(20, image_size=32, filters=32, downsample=how).init)(jax.random.key(0))[0]
        for how in ("stride", "pool")
    )
    for params in (strided, pooled):
        limit = np.sqrt(6 / (9 * 32 + 9 * 32))
        kernel = np.asarray(params["convs"][1]["kernel"])
        assert 0.98 * limit < np.abs(kernel).max() <= limit
        assert {float(np.abs(params["convs"][i]["bias"]).max()) for i in range(4)} == {0.0}
        assert np.abs(params["head"]["bias"]).max() == 0
    assert np.std(strided["head"]["kernel"]) == pytest.approx(1, rel=0.1)
    assert strided["head"]["kernel"].shape == (32, 20)
    assert pooled["head"]["kernel"].shape == (4 * 32, 20)
    assert np.abs(pooled["head"]["kernel"]).max() <= np.sqrt(6 / (4 * 32 + 20))


def test_published_sizes() -> None:
    """64 filters for Omniglot; 84 × 84 pixels and 32 filters leave 5 × 5 × 32 = 800 for the head."""
    omniglot = jax.eval_shape(conv4(5).init, jax.random.key(0))[0]
    assert omniglot["head"]["kernel"].shape == (64, 5)
    imagenet = conv4(5, image_size=84, channels=3, filters=32, downsample="pool")
    assert jax.eval_shape(imagenet.init, jax.random.key(0))[0]["head"]["kernel"].shape == (800, 5)
    assert imagenet.input_shape == (84, 84, 3)
    assert imagenet.flattened == {"head": (5, 5, 32)}


@pytest.mark.parametrize("model", [conv4(3, image_size=16, filters=2, norm="none"), models.mlp(2, 3, 1, init_std=0.1)])
def test_a_config_makes_the_model_again(model) -> None:
    again = model_from_config(model.config)
    assert again.config == model.config
    assert (again.input_shape, again.norm) == (model.input_shape, model.norm)
    params, same = (jax.jit(m.init)(jax.random.key(0))[0] for m in (model, again))
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_options() -> None:
    for name in ("ways", "image_size", "channels", "filters"):
        with pytest.raises(OptionError, match=f"{name} is 0"):
            conv4(**({"ways": 5} | {name: 0}))
    with pytest.raises(OptionError, match=r"15 pixels.*16"):
        conv4(5, image_size=15, downsample="pool")
    for option in ({"norm": "batch"}, {"downsample": "max"}):
        with pytest.raises(OptionError, match=next(iter(option.values()))):
            conv4(5, **option)
    with pytest.raises(OptionError, match="'resnet'"):
        model_from_config({"network": "resnet"})


def test_options() -> None:
    built = models.Conv4(filters=3, downsample="pool", norm="support").build(4, 16, 2)
    assert built.config == {
        "network": "conv4",
        "ways": 4,
        "image_size": 16,
        "channels": 2,
        "filters": 3,
        "downsample": "pool",
        "norm": "support",
    }
