"""Warp layers: where they start, that no task moves them, and the T-net that linear ones make."""

import jax
import numpy as np
import pytest
from flax import nnx

from mtnets import METHODS, from_nnx
from mtnets.networks import models
from mtnets.trees import leaves_by_path
from problems import (
    INNER_LR,
    STEPS,
    adaptation,
    add,
    assert_trees_close,
    gradient_of,
    inner_key,
    pair,
    small_mlp,
    start,
    task_of,
    tasks_for,
)

pytestmark = pytest.mark.usefixtures("float64")
KEY = jax.random.key(5)


def warped(kind):
    return models.mlp(3, 4, 2, warp=kind, init_std=0.5)


def test_linear_warp_layers_make_a_t_net() -> None:
    """MAML on the one is a T-net on the plain network: the same functions after each step, and meta-gradients."""
    plain, model = small_mlp(), warped("linear")
    t_net, state = start(plain, "t_net", spread=0.2)
    maml, _ = start(model, "maml")
    t = {i: {"module": {"kernel": t_net.fold[f"layers.{i}"]}} for i in range(2)}
    params = {"layers": t_net.params["layers"], "warps": t}
    assert jax.tree.structure(params) == jax.tree.structure(maml.params)
    maml = maml._replace(params=params)
    tasks = tasks_for(plain)
    support = task_of(tasks, KEY).support
    args = (state, INNER_LR, support, inner_key(KEY))
    folded, apart = adaptation(plain, "t_net")(t_net, *args), adaptation(model, "maml")(maml, *args)
    for i in range(2):
        for a, b in zip(pair(folded.probed, f"layers.{i}"), pair(apart.probed, f"layers.{i}"), strict=True):
            np.testing.assert_allclose(b @ t_net.fold[f"layers.{i}"], a, rtol=1e-10)
    args = (state, INNER_LR, tasks, KEY[None])
    expected, found = gradient_of(plain, "t_net")(t_net, *args), gradient_of(model, "maml")(maml, *args)
    np.testing.assert_allclose(found.metrics["post_loss"], expected.metrics["post_loss"], rtol=1e-12)
    assert_trees_close(found.gradient.params["layers"], expected.gradient.params["layers"], rtol=1e-9)
    for i in range(2):
        kernel = found.gradient.params["warps"][i]["module"]["kernel"]
        np.testing.assert_allclose(kernel, expected.gradient.fold[f"layers.{i}"], rtol=1e-9)


@pytest.mark.slow
def test_residual_warp_layers_do_not_move() -> None:
    """They start as the identity, stay where they are within a task, and are meta-learned."""
    model = warped("residual")
    assert [layer.name for layer in model.layers] == ["layers.0", "layers.1"]
    meta, state = start(model, "maml")
    x = task_of(tasks_for(small_mlp()), KEY).query.x
    plain = {"layers": meta.params["layers"]}
    np.testing.assert_allclose(
        model.apply(meta.params, state, x, None)[0], small_mlp().apply(plain, {}, x, None)[0], rtol=1e-12
    )
    meta = meta._replace(params=add(meta.params, jax.tree.map(np.ones_like, meta.params), 0.1))
    support = task_of(tasks_for(small_mlp()), KEY).support
    found = leaves_by_path(adaptation(model, "maml")(meta, state, INNER_LR, support, KEY).probed)
    for path, leaf in found.items():
        assert leaf.shape[0] == STEPS + 1
        moved = np.abs(leaf[-1] - leaf[0]).max()
        assert moved == 0 if path.startswith("warps.") else moved > 1e-4, path
    gradient = gradient_of(model, "maml")(meta, state, INNER_LR, tasks_for(small_mlp()), KEY[None]).gradient
    for path, leaf in leaves_by_path(gradient.params).items():
        assert np.abs(leaf).max() > 1e-6, path


def test_modules_of_ones_own_can_be_warps() -> None:
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(3, 4, rngs=rngs)
            self.wall = models.Warp(nnx.Linear(4, 4, rngs=rngs))
            self.walls = nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x):
            return self.walls(self.wall(self.first(x)))

    model = from_nnx(Net, (3,), norm="none")
    assert model.fixed == ("wall",)
    assert [layer.name for layer in model.layers] == ["first", "walls"]


def test_options() -> None:
    built = models.Mlp(hidden=(5,), warp="residual").build(3, 2)
    assert models.model_from_config(built.config).config == built.config
    assert built.config["warp"] == "residual"
    assert built.fixed == ("warps.0", "warps.1")


def test_offsets_per_step_are_those_of_normalisation_alone() -> None:
    """The biases of warp layers belong to no layer that moves either, and stay as they are."""
    model = models.mlp(3, 4, 2, warp="residual", norm="transductive")
    params, _ = model.init(jax.random.key(0))
    method = METHODS["maml_plus_plus"]()
    meta = method.init(model, params, jax.random.key(1), inner_lr=INNER_LR, inner_steps=3)
    assert leaves_by_path(meta.fold).keys() == {"offsets.norms.0.bias"}
    assert "warps.0.module.inside.bias" in leaves_by_path(params)
