"""The search with Optuna, of trainings that are made up: it goes on where it was stopped."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import mtnets
from mtnets.errors import OptionError, RunError
from mtnets.sweeps import Range, Setting
from mtnets.sweeps.engines.optuna import search

METHODS = {"maml": mtnets.maml(), "mt-net": mtnets.mt_net()}
VARY = {"inner_lr": Range(0.001, 1, log=True), "mask": ["sample", "mean"], "meta_batch": Range(1, 4)}


class Made:
    """A study without trainings, in which a rate of 0.1 is best."""

    def __init__(self, folder: Path, stop_after: int = 100) -> None:
        self.folder, self.seeds, self.workers = folder, (0, 1), 1
        self.trained: list[str] = []
        self._stop_after = stop_after

    def train(self, settings: Sequence[Setting], *_: int) -> None:
        if len(self.trained) == self._stop_after:
            raise KeyboardInterrupt
        self.trained += [setting.label for setting in settings]

    def row(self, setting: Setting) -> Any:
        rate = setting.varied["inner_lr"]
        loss = float("nan") if rate > 0.5 else (rate - 0.1) ** 2
        return type("Row", (), {"validation": loss})


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(KeyboardInterrupt):
        search(Made(tmp_path, stop_after=3), METHODS, VARY, {}, 20, False)
    study = Made(tmp_path)
    settings = search(study, METHODS, VARY, {"meta_steps": 5}, 20, False)
    assert len(study.trained) == 17  # what was stopped among them
    assert len(settings) == len({setting.label for setting in settings}) <= 20
    assert {setting.title for setting in settings} == {"maml", "mt-net"}
    for setting in settings:
        assert setting.method.inner_lr == setting.varied["inner_lr"]
        assert setting.training == {"meta_steps": 5, "meta_batch": setting.varied["meta_batch"]}
        assert ("mask" in setting.varied) == (setting.title == "mt-net")
    best = min(settings, key=lambda setting: abs(setting.varied["inner_lr"] - 0.1))
    assert abs(best.varied["inner_lr"] - 0.1) < 0.05
    again = Made(tmp_path)
    assert [s.label for s in search(again, METHODS, VARY, {}, 20, False)] == [s.label for s in settings]
    assert again.trained == []
    with pytest.raises(RunError, match=r"The search in .* is over .* and this one over .*; go on with the same"):
        search(again, METHODS, {"inner_lr": Range(0.01, 1)}, {}, 20, False)


def test_nothing_to_search_over(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(OptionError, match="There is nothing to search over"):
        search(Made(tmp_path), {"maml": mtnets.maml()}, {}, {}, 3, False)


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(OptionError, match=r"pip install 'mtnets\[optuna\]'"):
        search(Made(tmp_path), METHODS, VARY, {}, 3, False)
