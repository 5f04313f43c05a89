"""Precision of products, as the traced programs show it; what a GPU makes of them is not seen here."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import mtnets
from mtnets.errors import OptionError
from mtnets.outer.plan import make_plan
from mtnets.precision import DETERMINISTIC, use_deterministic, use_precision


@pytest.fixture
def gpu(monkeypatch) -> None:
    """A program that is traced as for a GPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.fixture
def restored() -> Iterator[None]:
    yield
    jax.config.update("jax_default_matmul_precision", None)


def equations(program: Any) -> Iterator[Any]:
    """All equations of a traced program, those of its parts too."""
    for equation in program.eqns:
        yield equation
        for part in jax.tree.leaves(equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(part, "eqns") or hasattr(part, "jaxpr"):
                yield from equations(getattr(part, "jaxpr", part))


def traced(method: Any, downsample: Any = "stride") -> list[Any]:
    """The equations of meta-steps on glyphs, two tasks at a time."""
    network = mtnets.models.Conv4(filters=4, downsample=downsample)
    tasks = mtnets.tasks.glyphs(ways=3, shots=1, queries=1, network=network)
    options = {"meta_steps": 1, "meta_batch": 2, "devices": 1, "tasks_at_once": 2, "inner_steps": 2}
    plan = make_plan(None, method, tasks, options=options)
    outer = jax.eval_shape(plan.program.init, plan.keys, plan.inner_lr)
    bounds = jnp.int32(0), jnp.int32(1)
    program = jax.make_jaxpr(plan.program.chunk)(
        outer, plan.program.no_metrics(), plan.keys, *bounds, plan.inner_lr, plan.train
    )
    return list(equations(program.jaxpr))


def precisions(program: list[Any]) -> list[Any]:
    """Of the products of numbers, each once."""
    return [e.params["precision"] for e in program if e.primitive.name == "dot_general"]


FULL = (jax.lax.Precision.HIGHEST,) * 2


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    "method", [mtnets.mt_net(head="prototypes"), pytest.param(mtnets.alfa(), marks=pytest.mark.slow)]
)
def test_products_are_in_full_precision(method) -> None:
    found = precisions(traced(method))
    assert len(found) > 20
    assert set(found) == {FULL}


@pytest.mark.usefixtures("gpu", "restored")
def test_jax_may_be_told_otherwise() -> None:
    use_precision("tf32")
    assert FULL not in precisions(traced(mtnets.fomaml()))


def test_on_a_cpu_nothing_is_said() -> None:
    assert set(precisions(traced(mtnets.maml()))) == {None}


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("downsample", ["stride", "pool"])
def test_no_convolution_is_left_for_a_gpu(downsample) -> None:
    """With weights of its own for each task it would be a grouped one, whose groups run one after another."""
    names = {equation.primitive.name for equation in traced(mtnets.mt_net(), downsample)}
    assert "dot_general" in names
    assert not any("conv_general" in name or name.startswith("reduce_window") for name in names)


SCRIPT = """
import jax, os
from mtnets.precision import use_deterministic
use_deterministic(); use_deterministic()
print(os.environ["XLA_FLAGS"], jax.numpy.ones(2).sum())
"""


def test_deterministic_is_said_before_jax_starts() -> None:
    environment = os.environ | {"XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}
    ran = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["--xla_cpu_enable_fast_math=false", DETERMINISTIC, "2.0"]
    jax.devices()
    with pytest.raises(OptionError, match="JAX has started"):
        use_deterministic()
