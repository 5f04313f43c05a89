"""How many tasks run at the same time, chosen by trying."""

from pathlib import Path

import jax
import numpy as np
import pytest

import mtnets
from mtnets.files import read_json
from mtnets.outer import batching
from mtnets.outer.loop import begin
from mtnets.outer.plan import make_plan

OPTIONS = {"meta_steps": 2, "meta_batch": 12, "inner_steps": 1, "devices": 1, "validate_every": 0}


def plan(at_once: int | str):
    model, method = mtnets.models.mlp(1, 4, 1), mtnets.maml(0.1)
    return make_plan(model, method, mtnets.tasks.sinusoid(), options=OPTIONS | {"tasks_at_once": at_once})


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tasks at once are the fastest."""
    seconds = {1: 0.02, 3: 0.01, 12: 0.03}
    monkeypatch.setattr(batching, "TRIAL_SECONDS", 0.0)
    measured = batching._seconds

    def pretend(phases, position):
        assert measured(phases, position) > 0
        return seconds[phases.plan.training.tasks_at_once]

    monkeypatch.setattr(batching, "_seconds", pretend)


def test_the_fastest_is_taken_and_said(pretended: None) -> None:
    lines: list[str] = []
    start = plan("measured")
    phases = batching.fastest(start, begin(start), lines.append)
    assert phases.plan.training.tasks_at_once == phases.plan.program.at_once == 3
    assert lines == [
        "tasks at once, and what a meta-step takes: 1: 20 ms, 3: 10 ms, 12: 30 ms; the run takes 3",
    ]


def test_what_does_not_fit_is_not_tried(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "available", lambda: 0)
    lines: list[str] = []
    start = plan("measured")
    assert batching.fastest(start, begin(start), lines.append).plan.training.tasks_at_once == 1
    assert "3:" not in lines[0]


def test_a_run_keeps_its_choice(pretended: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(steps: int, at_once: int | str, out: str | None, **more):
        options = OPTIONS | {"tasks_at_once": at_once, "meta_steps": steps, "test_tasks": 2, "progress": False}
        folder = None if out is None else tmp_path / out
        model, method = mtnets.models.mlp(1, 4, 1), mtnets.maml(0.1)
        return mtnets.meta_train(model, method, mtnets.tasks.sinusoid(), out=folder, **options, **more)

    learner = train(2, "measured", "run")
    assert learner.record["training"]["tasks_at_once"] == 3
    assert read_json(tmp_path / "run" / "config.json")["training"]["tasks_at_once"] == 3
    assert read_json(tmp_path / "run" / "result.json")["machine"]["tasks_at_once"] == 3
    monkeypatch.setattr(batching, "_seconds", None)  # it is not measured again
    longer, alone = train(3, "measured", "run", resume=True), train(3, 3, None)
    for a, b in zip(jax.tree.leaves(longer.meta), jax.tree.leaves(alone.meta), strict=True):
        np.testing.assert_array_equal(a, b)
    assert train(0, "measured", None).record["training"]["tasks_at_once"] == 12
