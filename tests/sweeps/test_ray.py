"""Trials on a Ray cluster: which settings, and once a cluster of this machine."""

import sys
from pathlib import Path

import numpy as np
import pytest

import mtnets
from mtnets.errors import OptionError
from mtnets.sweeps import Range
from mtnets.sweeps.engines import ray

METHODS = {"maml": mtnets.maml(), "mt-net": mtnets.mt_net()}


def test_random_settings_are_the_same_again_and_more_are_others_too() -> None:
    vary = {"inner_lr": Range(0.001, 1, log=True), "mask": ["sample", "mean"]}
    few, many = (ray._settings(METHODS, vary, {}, trials) for trials in (5, 12))
    assert [setting.label for setting in many[:5]] == [setting.label for setting in few]
    assert len(many) == 12
    assert {setting.title for setting in many} == {"maml", "mt-net"}
    assert all(0.001 <= setting.varied["inner_lr"] <= 1 for setting in many)


def test_lists_give_every_combination() -> None:
    assert len(ray._settings(METHODS, {"inner_lr": [0.1, 0.2], "mask": ["sample", "mean"]}, {}, None)) == 6


@pytest.mark.parametrize(
    ("vary", "trials", "words"),
    [
        ({"inner_lr": Range(0.1, 1)}, None, "inner_lr is varied over a range, which needs a number of trials"),
        ({"inner_lr": [0.1, 1]}, 5, "trials is 5, and without a range every combination is tried"),
    ],
)
def test_trials_are_for_ranges(vary: dict, trials: int | None, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        ray._settings(METHODS, vary, {}, trials)


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r"pip install 'mtnets\[ray\]'"):
        ray.search(None, METHODS, {}, {}, None, False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_a_cluster_of_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    tasks, model = mtnets.tasks.sinusoid(shots=2), mtnets.models.mlp(1, 4, 1)
    settings = {"meta_steps": 4, "meta_batch": 2, "validation_tasks": 2, "test_tasks": 2, "progress": False}
    settings |= {"seeds": [3], "vary": {"inner_lr": [0.01, 0.1]}}
    grid = mtnets.sweep(model, mtnets.maml(), tasks, out=tmp_path / "grid", **settings)
    tuned = mtnets.sweep(model, mtnets.maml(), tasks, out=tmp_path / "ray", engine="ray", **settings)
    for a, b in zip(grid.rows, tuned.rows, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-4)
