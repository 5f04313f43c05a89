"""What a family says of its network."""

import dataclasses

import jax
import pytest

import mtnets
from mtnets.errors import OptionError
from mtnets.networks.model import outputs_of


def outputs(family, loss) -> int:
    model = family.network(loss)
    return outputs_of(model, *jax.eval_shape(model.init, jax.random.key(0)))


@pytest.mark.parametrize(
    "family",
    [mtnets.tasks.sinusoid(), mtnets.tasks.polynomial(), mtnets.tasks.random_tables(kind="regression", features=3)],
)
def test_the_usual_network_has_the_outputs_that_a_loss_takes(family) -> None:
    assert [outputs(family, loss) for loss in ("mse", "gaussian", "quantile")] == [1, 2, 3]


def test_tasks_of_a_function_too() -> None:
    def make(rng):
        x = rng.normal(size=(4, 2))
        return (x, x), (x, x)

    family = mtnets.tasks.from_function(make, loss="gaussian")
    assert [outputs(family, loss) for loss in ("mse", "gaussian", "quantile")] == [2, 4, 6]


def test_a_network_of_fixed_outputs_is_refused() -> None:
    family = mtnets.tasks.sinusoid()
    fixed = dataclasses.replace(family, model=lambda: mtnets.models.mlp(1, 8, 1))
    assert outputs(fixed, "huber") == 1
    with pytest.raises(OptionError, match=r"The loss gaussian takes 2 outputs for each number to predict.*pass one"):
        fixed.network("gaussian")
    with pytest.raises(OptionError, match="The loss quantile takes 3 outputs"):
        mtnets.tasks.glyphs().network("quantile")
