"""The memory of a training, and what needs less."""

import pytest

import mtnets
from mtnets import Exact, OptionError
from mtnets.outer import forecast
from mtnets.outer.plan import make_plan

SMALL = {"meta_steps": 3, "meta_batch": 4, "inner_steps": 6, "devices": 1, "progress": False, "validate_every": 0}


@pytest.fixture(scope="module")
def needs() -> list[mtnets.Need]:
    options = {name: value for name, value in SMALL.items() if name != "progress"}
    return mtnets.memory_needed(mtnets.models.mlp(1, 9, 1), mtnets.maml(0.1), mtnets.tasks.sinusoid(), **options)


def test_fewer_tasks_and_steps_computed_again_need_less(needs: list[mtnets.Need]) -> None:
    assert needs[0][1:] == (4, 0)
    assert {need[1:] for need in needs[1:]} == {(4, 2), (1, 0), (1, 2)}
    assert needs == sorted(needs, reverse=True)
    assert needs[0].bytes > 1.5 * needs[-1].bytes


def test_in_words(needs: list[mtnets.Need]) -> None:
    assert str(needs[0]).endswith("kB with tasks_at_once=4")
    assert str(needs[-1]).endswith("kB with tasks_at_once=1, estimator=Exact(remat_every=2)")


def test_too_little_memory_is_said(needs: list[mtnets.Need], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "available", lambda: needs[0].bytes - 1)
    words = f"A meta-step needs {needs[0]}, and .* are free; .*remat_every=2"
    with pytest.warns(UserWarning, match=words.replace("(", r"\(").replace(")", r"\)")):
        mtnets.meta_train(mtnets.models.mlp(1, 9, 1), mtnets.maml(0.1), mtnets.tasks.sinusoid(), **SMALL)


def test_nothing_is_said_where_it_fits(monkeypatch: pytest.MonkeyPatch, needs: list[mtnets.Need]) -> None:
    for free in (needs[0].bytes, None):
        monkeypatch.setattr(forecast, "available", lambda free=free: free)
        mtnets.meta_train(mtnets.models.mlp(1, 9, 1), mtnets.maml(0.1), mtnets.tasks.sinusoid(), **SMALL)


@pytest.mark.parametrize(("estimator", "every"), [(mtnets.FirstOrder(), None), (Exact(remat_every=3), 3)])
def test_other_estimators_keep_their_options(estimator: mtnets.Estimator, every: int | None) -> None:
    options = {"meta_steps": 1, "meta_batch": 4, "inner_steps": 6}
    plan = make_plan(None, mtnets.maml(0.1, estimator=estimator), mtnets.tasks.sinusoid(), options=options)
    (variant,) = forecast._variants(plan, mtnets.Need(0, 4, every))
    assert variant.program.at_once == 1
    assert variant.method.estimator == estimator


def test_a_training_of_nothing() -> None:
    with pytest.raises(OptionError, match="meta_steps is 0"):
        mtnets.memory_needed(None, mtnets.maml(0.1), mtnets.tasks.sinusoid(), meta_steps=0)
