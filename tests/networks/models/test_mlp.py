"""The MLP, against its definition."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtnets import OptionError
from mtnets.networks import models
from mtnets.networks.models import mlp

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


@pytest.mark.parametrize("norm", ["none", "transductive"])
def test_forward(norm) -> None:
    model = mlp(3, 5, 4, 2, norm=norm, init_std=0.5)
    params, state = jax.jit(model.init)(jax.random.key(0))
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda a: a + random.normal(scale=0.1, size=a.shape).astype(np.float32), params)
    h = X
    for i in range(3):
        h = h @ params["layers"][i]["kernel"] + params["layers"][i]["bias"]
        if i < 2:
            if norm == "transductive":
                h = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-3) + params["norms"][i]["bias"]
            h = np.maximum(h, 0)
    np.testing.assert_allclose(jax.jit(model.apply)(params, state, X, None)[0], h, rtol=1e-3, atol=1e-5)


def test_start() -> None:
    """Truncated normal 0.01 and zero biases, as in the paper's code."""
    params = jax.jit(mlp(1, 40, 40, 1).init)(jax.random.key(0))[0]
    assert [params["layers"][i]["kernel"].shape for i in range(3)] == [(1, 40), (40, 40), (40, 1)]
    kernel = np.asarray(params["layers"][1]["kernel"])
    # the scale is that of the normal before truncation (TensorFlow) or of what is left of it (Flax)
    assert 0.0085 < kernel.std() < 0.0105
    assert np.abs(kernel).max() <= 0.02 / 0.8796
    for i in range(3):
        assert jnp.abs(params["layers"][i]["bias"]).max() == 0


def test_start_of_pytorch() -> None:
    """Weights and biases uniform in ±1/√inputs, as `torch.nn.Linear` documents."""
    params = jax.jit(mlp(4, 100, 100, 1, init="pytorch").init)(jax.random.key(0))[0]
    for i, inputs in enumerate((4, 100, 100)):
        layer = params["layers"][i]
        for leaf in (layer["kernel"], layer["bias"]):
            drawn = np.sort(np.ravel(leaf)) * np.sqrt(inputs)
            assert np.abs(drawn).max() <= 1
            if drawn.size >= 100:  # the largest distance to the uniform distribution; 1.95 / √n in 1 of 1000
                distance = np.abs((drawn + 1) / 2 - np.arange(drawn.size) / drawn.size).max()
                assert distance < 1.95 / np.sqrt(drawn.size)
        assert len(np.unique(np.concatenate([np.ravel(layer["kernel"]), layer["bias"]]))) > layer["kernel"].size
    with pytest.raises(OptionError, match=r"init_std is 0\.1, which init='pytorch' does not use"):
        mlp(3, 4, 2, init="pytorch", init_std=0.1)
    with pytest.raises(OptionError, match=r"init is 'torch'.*'pytorch'"):
        mlp(3, 4, 2, init="torch")  # pyright: ignore


def test_bad_sizes() -> None:
    for sizes in ((), (3,), (3, 0, 1), (-1, 2)):
        with pytest.raises(OptionError, match=rf"got \({', '.join(map(str, sizes))}"):
            mlp(*sizes)
    with pytest.raises(OptionError, match="batch"):
        mlp(3, 4, 2, norm="batch")
    with pytest.raises(OptionError, match="-1"):
        mlp(3, 4, 2, init_std=-1.0)
    with pytest.raises(OptionError, match=r"warp is 'curved'.*'none', 'linear', 'residual'"):
        mlp(3, 4, 2, warp="curved")


def test_options() -> None:
    built = models.Mlp(hidden=(5, 6), norm="running").build(3, 2)
    assert built.config == {
        "network": "mlp",
        "sizes": [3, 5, 6, 2],
        "norm": "running",
        "init_std": 0.01,
        "warp": "none",
        "init": "truncated-normal",
    }
    assert models.Mlp(init="pytorch").build(3, 2) == mlp(3, 40, 40, 2, init="pytorch")
    assert json.loads(json.dumps(built.config)) == built.config
    assert models.Mlp(hidden=()).build(3, 2).config["sizes"] == [3, 2]
