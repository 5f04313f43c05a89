"""Seeds side by side in folders: each is that of a single run, and they go on together."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import mtnets
from mtnets.errors import OptionError, RunError
from mtnets.files import read_json
from mtnets.outer.checkpoints import latest
from samples import log_without_times

SETTINGS = {"meta_steps": 4, "meta_batch": 2, "validation_tasks": 2, "test_tasks": 2, "log_every": 2, "progress": False}
SEEDS = [3, 4]


@pytest.fixture(scope="module")
def train() -> Callable[..., list[mtnets.Learner]]:
    tasks, model = mtnets.tasks.sinusoid(shots=2), mtnets.models.mlp(1, 4, 1)

    def train(out: Path | None, **more: object) -> list[mtnets.Learner]:
        settings = {**SETTINGS, "seed": SEEDS, "checkpoint_every": 2, **more}
        return mtnets.meta_train(model, mtnets.maml(), tasks, out=out, **settings)

    return train


@pytest.fixture(scope="module")
def finished(train: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(folder)
    return folder


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    """A copy of two finished runs."""
    return Path(shutil.copytree(finished, tmp_path / "runs"))


def arrays(learner: mtnets.Learner) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves((learner.meta, learner.state))]


def test_each_folder_is_that_of_a_single_run(train: Callable, runs: Path, tmp_path: Path) -> None:
    """The same files, and the same learner but for rounding; side by side without folders to the bit."""
    together, alone = train(None), train(tmp_path / "alone", seed=SEEDS[1])
    assert {path.name for path in runs.iterdir()} == {"seed-3", "seed-4"}
    with pytest.raises(RunError, match=r"There is no learner in .*; name one of the folders in it: seed-3, seed-4\."):
        mtnets.load(runs)
    for seed, learner in zip(SEEDS, together, strict=True):
        loaded = mtnets.load(runs / f"seed-{seed}")
        assert loaded.record == learner.record
        assert all(np.array_equal(a, b) for a, b in zip(arrays(loaded), arrays(learner), strict=True))
    files = [sorted(path.name for path in folder.rglob("*")) for folder in (runs / "seed-4", tmp_path / "alone")]
    assert files[0] == files[1]
    for a, b in zip(arrays(mtnets.load(runs / "seed-4")), arrays(alone), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    ours, theirs = (read_json(folder / "result.json") for folder in (runs / "seed-4", tmp_path / "alone"))
    assert ours["config"] == theirs["config"]
    assert ours["machine"]["side_by_side"] == 2
    np.testing.assert_allclose(ours["test"]["inner_steps"][1]["mean"], theirs["test"]["inner_steps"][1]["mean"], 1e-4)
    logs = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (runs / "seed-4", tmp_path / "alone")]
    assert len(logs[0]) == len(logs[1])


def test_one_of_them_goes_on_alone(train: Callable, runs: Path) -> None:
    learner = train(runs / "seed-4", seed=4, meta_steps=6, resume=True)
    assert learner.record["meta_step"] in (4, 6)
    assert latest(runs / "seed-4" / "checkpoints") == 6


@pytest.mark.slow
def test_they_stop_with_checkpoints_and_go_on_to_the_same_bits(train: Callable, runs: Path, tmp_path: Path) -> None:
    def stop(step: int, _: list[mtnets.Learner]) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    out, more = tmp_path / "stopped", {"validate_every": 2}
    with pytest.raises(KeyboardInterrupt, match=r"Stopped at meta-step 2; .*stopped has a checkpoint of it"):
        train(out, callback=stop, **more)
    whole = train(tmp_path / "whole", **more)
    for learner, other in zip(train(out, resume=True, **more), whole, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(arrays(learner), arrays(other), strict=True))
    for seed in SEEDS:
        a, b = (log_without_times(tmp_path / name / f"seed-{seed}") for name in ("stopped", "whole"))
        assert a == b


def test_a_kill_between_two_checkpoints_of_a_meta_step(train: Callable, runs: Path) -> None:
    """One run has a later checkpoint than the other: they go on from the one before it."""
    before = arrays(mtnets.load(runs / "seed-3"))
    (runs / "seed-4" / "checkpoints" / "4.safetensors").unlink()
    assert all(np.array_equal(a, b) for a, b in zip(before, arrays(train(runs, resume=True)[0]), strict=True))
    assert [latest(runs / f"seed-{seed}" / "checkpoints") for seed in SEEDS] == [4, 4]


def test_runs_that_were_not_trained_side_by_side_are_refused(train: Callable, runs: Path) -> None:
    shutil.rmtree(runs / "seed-4" / "checkpoints")
    with pytest.raises(RunError, match=r"no checkpoint of the same meta-step \(seed-3: 4, seed-4: none\); resume them"):
        train(runs, resume=True)
    with pytest.raises(RunError, match="no checkpoint of the same"):
        train(runs, seed=[3, 5], resume=True)


def test_what_is_there_is_kept_or_named(train: Callable, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"seed-4 holds a run already; go on with resume=True"):
        train(runs, seed=[5, 4])
    assert not (runs / "seed-5").exists()
    with pytest.raises(RunError, match=r"seed-3 has training.meta_batch = 2 and this one 1"):
        train(runs, meta_batch=1, resume=True)
    with pytest.raises(RunError, match=r"seed-3 holds a single run, and several seeds have a folder each"):
        train(runs / "seed-3")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        train(runs, seed=0, overwrite=True)
    train(runs, meta_batch=1, overwrite=True)
    assert read_json(runs / "seed-4" / "config.json")["training"]["meta_batch"] == 1


@pytest.mark.slow
def test_rates_have_folders_too(train: Callable, tmp_path: Path) -> None:
    learners = train(tmp_path, seed=[3], inner_lr=[0.01, 0.1], meta_steps=1)
    assert [learner.inner_lr for learner in learners] == [0.01, 0.1]
    assert mtnets.load(tmp_path / "inner-lr-0.1-seed-3").inner_lr == 0.1
    with pytest.raises(OptionError, match=r"The run inner-lr-0\.1-seed-3 was asked for twice"):
        train(tmp_path, seed=[3], inner_lr=[0.1, 0.1])


@pytest.mark.slow
def test_a_run_that_fails_beside_others_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a rate that no float32 can follow, beside one that is usual; alone it is refused, with what to do."""
    monkeypatch.setattr("mtnets.outer.train._cause", lambda *_: "The cause is of no interest here.")
    tasks, model = mtnets.tasks.sinusoid(shots=2), mtnets.models.mlp(1, 4, 1)
    settings = {**SETTINGS, "seed": [3], "validate_every": 0}
    good, bad = mtnets.meta_train(model, mtnets.maml(), tasks, out=tmp_path, inner_lr=[0.01, 1e30], **settings)
    assert (good.record["failed"], bad.record["failed"]) == (None, 0)
    assert read_json(tmp_path / "inner-lr-1e+30-seed-3" / "result.json")["failed"] == 0
    alone = {**settings, "seed": 3, "resume": True}
    with pytest.raises(RunError, match="begin anew with overwrite=True and skip_nonfinite=100"):
        mtnets.meta_train(model, mtnets.maml(1e30), tasks, out=tmp_path / "inner-lr-1e+30-seed-3", **alone)
