"""Sweeps of tiny trainings: what runs in one program, what is kept, what fails, and what is not possible."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import mtnets
from mtnets.errors import OptionError, RunError
from mtnets.files import read_json
from mtnets.outer.loop import Logged
from mtnets.outer.run import RunFolder
from mtnets.sweeps import Range, runs

SETTINGS = {"meta_steps": 4, "meta_batch": 2, "validation_tasks": 2, "test_tasks": 2, "log_every": 2, "progress": False}
SEED = 3


@pytest.fixture(scope="module")
def sweep() -> Callable[..., mtnets.Sweep]:
    tasks, model = mtnets.tasks.sinusoid(shots=2), mtnets.models.mlp(1, 4, 1)

    def sweep(out: Path, **more: Any) -> mtnets.Sweep:
        settings = {"methods": mtnets.maml(), "seeds": [SEED], "vary": {"inner_lr": [0.01, 1e30]}, **SETTINGS, **more}
        return mtnets.sweep(model, settings.pop("methods"), tasks, out=out, **settings)

    return sweep


@pytest.fixture(scope="module")
def swept(sweep: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of which one run fails."""
    folder = tmp_path_factory.mktemp("sweeps") / "swept"
    sweep(folder)
    return folder


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The folders of the runs of each program that is trained."""
    programs, train_in = [], runs.train_in

    def train(folders: Any, *args: Any, **options: Any) -> Any:
        programs.append([f"{folder.parent.name}/{folder.name}" for folder in folders])
        return train_in(folders, *args, **options)

    monkeypatch.setattr(runs, "train_in", train)
    return programs


def test_runs_side_by_side_are_single_runs_and_one_may_fail(swept: Path) -> None:
    tasks, model = mtnets.tasks.sinusoid(shots=2), mtnets.models.mlp(1, 4, 1)
    alone = mtnets.meta_train(model, mtnets.maml(0.01), tasks, seed=SEED, **SETTINGS)
    learner = mtnets.load(swept / "maml-inner-lr-0.01" / f"seed-{SEED}")
    for a, b in zip(jax.tree.leaves(alone.meta), jax.tree.leaves(learner.meta), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    record = read_json(swept / "sweep.json")
    assert record["chosen"] == "maml inner-lr 0.01"
    good, bad = record["settings"]
    assert (good["failed"], bad["failed"]) == ({}, {str(SEED): 0})
    result = read_json(swept / "maml-inner-lr-0.01" / f"seed-{SEED}" / "result.json")
    assert result["machine"]["side_by_side"] == 2
    assert good["test"]["mean"] == pytest.approx(result["test"]["inner_steps"][-1]["mean"])
    assert good["validation"]["mean"] == pytest.approx(result["validation"])
    assert (swept / "sweep.png").stat().st_size > 0
    assert (swept / "sweep.csv").read_text().startswith("setting,method,inner_lr,seeds,failed,test,")


@pytest.mark.slow
def test_runs_that_have_ended_are_kept_and_others_added(sweep: Callable, swept: Path, trained: list) -> None:
    before = read_json(swept / "sweep.json")
    assert sweep(swept).to_json() == before
    assert trained == []
    result = sweep(swept, vary={"inner_lr": [0.01, 0.1]})
    assert trained == [["maml-inner-lr-0.1/seed-3"]]
    assert len(result.rows) == 2
    sweep(swept, skip_nonfinite=99)  # a run that failed begins anew with more that may be left out
    assert trained[1:] == [["maml-inner-lr-1e+30/seed-3"]]
    with pytest.raises(RunError, match=r"seed-3 has training\.meta_batch = 2 and this one 1"):
        sweep(swept, meta_batch=1)
    with pytest.raises(RunError, match="holds a single run; name another folder for a sweep"):
        sweep(swept / "maml-inner-lr-0.01" / "seed-3")


def test_programs_are_as_few_as_can_be(sweep: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds and inner rates go together; meta-rates and methods need programs of their own."""
    programs = []
    monkeypatch.setattr(runs.Job, "__call__", lambda job, progress: programs.append((job.plan, len(job.folders))))
    more = {"seeds": [3, 4], "vary": {"inner_lr": [0.01, 0.1], "meta_lr": [1e-3, 3e-3]}}
    methods = [mtnets.maml(), mtnets.mt_net()]
    with pytest.raises(RunError, match="has not ended; call the sweep again"):
        sweep(tmp_path, methods=methods, **more)
    assert [count for _, count in programs] == [4, 4, 4, 4]
    assert {plan.seeds for plan, _ in programs} == {(3, 4, 3, 4)}
    assert {plan.inner_lrs for plan, _ in programs} == {(0.01, 0.01, 0.1, 0.1)}
    assert [plan.training.meta_lr for plan, _ in programs] == [1e-3, 3e-3, 1e-3, 3e-3]
    programs.clear()
    with pytest.raises(RunError, match="has not ended"):
        sweep(tmp_path, side_by_side=3, **more)
    assert [count for _, count in programs] == [3, 1, 3, 1]
    programs.clear()
    with pytest.raises(RunError, match="has not ended"):
        sweep(tmp_path / "patient", patience=2, **more)
    assert [count for _, count in programs] == [1] * 8  # each ends at a time of its own


@pytest.mark.slow
def test_runs_whose_patience_is_over_are_kept(sweep: Callable, tmp_path: Path, trained: list) -> None:
    more = {"seeds": [3, 4], "vary": {}, "patience": 1, "min_delta": 1e9, "validate_every": 1}
    sweep(tmp_path, **more)
    assert trained == [["maml/seed-3"], ["maml/seed-4"]]
    assert read_json(tmp_path / "maml" / "seed-4" / "result.json")["meta_steps"] == 2
    sweep(tmp_path, **more)
    assert len(trained) == 2


def test_a_sweep_that_is_stopped_goes_on(
    sweep: Callable, swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list
) -> None:
    record = RunFolder.record

    def stop(self: RunFolder, event: object, seconds: float) -> None:
        record(self, event, seconds)
        if isinstance(event, Logged):
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(RunFolder, "record", record)

    monkeypatch.setattr(RunFolder, "record", stop)
    with pytest.raises(KeyboardInterrupt, match="The sweep was stopped; called again, it goes on from its last check"):
        sweep(tmp_path)
    assert sweep(tmp_path).rows[0].over_tasks == sweep(swept).rows[0].over_tasks
    assert len(trained) == 2
    assert len((tmp_path / "maml-inner-lr-0.01" / "seed-3" / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_run_that_fails_alone_is_a_row(
    sweep: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list
) -> None:
    monkeypatch.setattr("mtnets.outer.train._cause", lambda *_: "The cause is of no interest here.")
    result = sweep(tmp_path, vary={"inner_lr": [1e30]})
    assert result.rows[0].failed == {SEED: 0}
    assert result.chosen is None
    assert "meta-step 0 is not finite" in read_json(tmp_path / "maml-inner-lr-1e+30" / "seed-3" / "failure.json")["why"]
    assert sweep(tmp_path, vary={"inner_lr": [1e30]}).rows[0].failed == {SEED: 0}
    assert len(trained) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [1, 1]}, r"seeds is \[1, 1\], with 1 twice"),
        ({"seeds": [-1]}, r"seeds is \[-1\]; it must be"),
        ({"workers": 0}, "workers is 0; it must be at least 1"),
        ({"side_by_side": 0}, "side_by_side is 0; it must be at least 1"),
        ({"engine": "greedy"}, "engine is 'greedy'; it must be one of 'grid', 'optuna', 'ray'"),
        ({"trials": 3}, "trials is 3, and a grid tries every combination"),
        ({"engine": "optuna"}, "The engine optuna needs a number of trials"),
        ({"engine": "optuna", "trials": 0}, "trials is 0; it must be at least 1"),
        ({"validate_every": 0}, "validate_every is 0, and a sweep chooses by validation"),
        ({"vary": {"meta_lr": ["x"]}}, "meta_lr is 'x'; it must be a number"),
        ({"vary": {"meta_batch": [2, 4]}}, "meta_batch is 2 and varied too"),
        ({"vary": {"meta_lr": Range(0.1, 1)}}, "a grid needs values"),
        ({"vary": {"meta_lr": [0.1, -1.0]}}, "meta_lr is -1.0"),
    ],
)
def test_what_is_not_possible_is_said_before_anything_is_trained(
    sweep: Callable, tmp_path: Path, more: dict, words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        sweep(tmp_path / "none", **more)
    assert not (tmp_path / "none").exists()


def test_a_file_is_no_folder_for_a_sweep(sweep: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="a folder on the way to it is a file"):
        sweep(tmp_path / "file")


@pytest.mark.slow
def test_several_processes_give_what_one_gives(sweep: Callable, tmp_path: Path) -> None:
    more = {"vary": {"meta_lr": [1e-3, 3e-3]}, "seeds": [3, 4]}
    one, two = sweep(tmp_path / "one", **more), sweep(tmp_path / "two", workers=2, **more)
    for a, b in zip(one.rows, two.rows, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-4)
    with pytest.raises(OptionError, match="cannot be sent to other processes"):
        sweep(tmp_path / "three", workers=2, loss=lambda prediction, batch: (prediction - batch.y)[:, 0] ** 2)
    with pytest.raises(RunError, match=r"Another process trains in"), RunFolderLock(tmp_path / "four"):
        sweep(tmp_path / "four", workers=2, **more)


class RunFolderLock:
    """Holds the folder of a run, as a process that trains in it does."""

    def __init__(self, folder: Path) -> None:
        import filelock

        path = folder / "maml-meta-lr-0.001" / "seed-3"
        path.mkdir(parents=True)
        self._lock = filelock.FileLock(path / ".lock")

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
