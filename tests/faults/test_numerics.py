"""The measurements of `numerics.py`, in small; `tests/inner/test_methods.py` has some for all methods."""

import jax
import pytest

from mtnets import METHODS, maml
from tests.faults.numerics import LOSSES, Outcome, extremes, guard_holds, network_for


@pytest.mark.parametrize("loss", LOSSES)
def test_the_guard_leaves_out_a_meta_step(loss) -> None:
    """The training goes on as without it, to the last bit."""
    assert guard_holds(maml(), loss)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", METHODS)
def test_the_guard_for_every_method(name, loss) -> None:
    assert guard_holds(METHODS[name](), loss)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_extremes_are_finite_or_explained(loss) -> None:
    outcome = Outcome(network_for(maml()), maml(), loss)
    for case, (task, inner_lr) in extremes(loss).items():
        outcomes = {outcome.in_training(task, inner_lr), outcome.in_use(task, inner_lr)}
        assert not any("WITHOUT CAUSE" in each for each in outcomes), case
        if case in {"as usual", "constant inputs", "one example, repeated", "alpha = 0", "inputs of size 1e-20"}:
            assert outcomes == {"finite"}, case


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_extremes_of_every_method(name) -> None:
    for loss in LOSSES:
        outcome = Outcome(network_for(METHODS[name]()), METHODS[name](), loss)
        for case, (task, inner_lr) in extremes(loss).items():
            assert "WITHOUT CAUSE" not in outcome.in_training(task, inner_lr) + outcome.in_use(task, inner_lr), case
        jax.clear_caches()
