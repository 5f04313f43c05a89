"""The summary of what a method makes of a network."""

import json
import math

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from mtnets import METHODS, OptionError, catalogue, from_nnx, maml, mt_net, summarise, t_net
from mtnets.networks import models
from mtnets.trees import leaves_by_path


class Mixed(nnx.Module):
    """A grouped convolution, normalisation, a weight bent before its use, a stack of layers under a scan, a head."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(4, 6, (3, 3), feature_group_count=2, rngs=rngs)
        self.norm = nnx.LayerNorm(6, rngs=rngs)
        self.bent, self.stack = nnx.Param(jnp.ones((6, 3))), nnx.Param(jnp.ones((2, 3, 3)))
        self.head = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.conv(x)).mean((1, 2)) @ jnp.tanh(self.bent[...])
        x, _ = jax.lax.scan(lambda x, w: (x @ w, None), x, self.stack[...])
        return self.head(x)


@pytest.fixture(scope="module")
def mixed():
    return from_nnx(Mixed, (5, 5, 4), norm="none")


def test_rows(mixed) -> None:
    """Shapes, groups, what moves and what is learned for it; all else stays and is named."""
    summary = summarise(mixed, mt_net(adapts=["conv"]))
    conv, head = summary.rows
    assert (conv.name, conv.shape, conv.units, conv.groups, conv.moves) == ("conv", (3, 3, 2, 6), 6, 2, True)
    assert (conv.parameters, conv.learned, conv.total) == (108 + 6, {"T": 18, "mask": 6}, 138)
    assert (head.name, head.moves, head.learned, head.total) == ("head", False, {}, 8)
    assert summary.others == {"bent": (6, 3), "norm.bias": (6,), "norm.scale": (6,), "stack": (2, 3, 3)}
    assert summary.learned == {"T": 18, "mask": 6}
    assert summary.shared == {}
    assert summary.parameters == sum(leaf.size for leaf in jax.tree.leaves(mixed.init(jax.random.key(0))[0]))
    assert summary.total == summary.parameters + 24
    lines = str(summary).splitlines()
    assert lines[0].split() == ["layer", "shape", "units", "groups", "moves", "numbers", "T", "mask", "in", "all"]
    assert lines[1].split() == ["conv", *"3×3×2×6", "6", "2", "yes", "114", "18", "6", "138"]
    assert len({len(line) for line in lines[:3]}) == 1
    assert "  stack  2 × 3 × 3" in lines
    assert lines[-2] == "Learned by mt_net besides: T 18, mask 6."


def test_metrics_of_every_kind(mixed) -> None:
    """T and, on inputs, S."""
    for kind, expected in (
        ("full", {"T": 2 * 9, "S": 2 * 19**2}),
        ("low-rank", {"T": 2 * 2 * 3 * 2, "S": 2 * 2 * 19 * 2}),
        ("diagonal", {"T": 6, "S": 2 * 19}),
    ):
        assert summarise(mixed, t_net(sides=2, metric=kind, rank=2)).rows[0].learned == expected


def test_without_a_method(mixed) -> None:
    summary = summarise(mixed)
    assert summary.method is None
    assert [row.moves for row in summary.rows] == [None, None]
    assert summary.total == summary.parameters
    assert str(summary).splitlines()[0].split() == ["layer", "shape", "units", "groups", "numbers"]
    assert "besides" not in str(summary)


@pytest.mark.parametrize("norm", ["none", "support"])
def test_numbers_are_those_of_the_catalogue(norm) -> None:
    """For every method: what is in layers, what is in none, and what is learned for all of them together."""
    model = models.mlp(3, 4, 2, norm=norm, warp="residual")
    for entry in catalogue(model, 3):
        method = METHODS[entry.name]()
        if entry.parameters is None:
            with pytest.raises(OptionError):
                summarise(model, method, 3)
            continue
        summary = summarise(model, method, 3)
        assert summary.total == entry.parameters, entry.name
        assert sum(row.total for row in summary.rows) + sum(summary.shared.values()) == summary.total - sum(
            math.prod(shape) for shape in summary.others.values()
        )
        assert {path for path in summary.others if "warps" in path} == {p for p in leaves(model) if "warps" in p}


def leaves(model):
    return leaves_by_path(jax.eval_shape(model.init, jax.random.key(0))[0])


def test_what_is_learned_for_no_layer_in_particular() -> None:
    model = models.mlp(3, 4, 2, norm="support")
    alfa = summarise(model, METHODS["alfa"](), 3)
    assert alfa.shared == {"rate": 6, "decay": 6, "first": 20, "second": 20, "third": 20}
    assert all(not row.learned for row in alfa.rows)
    offsets = summarise(model, t_net(per_step_offsets=True, sides=2), 3)
    assert offsets.shared == {"offsets": 16}
    assert offsets.rows[0].learned == {"T": 16, "S": 16}
    assert "S 41, T 20; for no layer alone offsets 16." in str(offsets)
    rates = summarise(model, t_net(rates="weight")).rows[0].learned
    assert rates == {"T": 16, "rule": 16}
    assert "Learned by maml besides: nothing." in str(summarise(model, maml()))


def test_plain_values(mixed) -> None:
    values = summarise(mixed, mt_net()).to_json()
    assert json.loads(json.dumps(values)) == values
    assert values["layers"][0]["learned"] == {"T": 18, "mask": 6}
    assert values["layers"][0]["total"] == 138
    assert values["others"]["stack"] == [2, 3, 3]
    assert values["total"] == summarise(mixed, mt_net()).total


def test_a_method_that_does_not_fit(mixed) -> None:
    with pytest.raises(OptionError, match="no layer 'tail'; name some of conv, head"):
        summarise(mixed, maml(adapts="tail"))
