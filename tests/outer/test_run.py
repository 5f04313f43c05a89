"""Run folders: one process at a time, an identity, and what is damaged is named."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import mtnets
from mtnets.errors import OptionError, RunError
from mtnets.files import read_json
from mtnets.outer.settings import settle

SETTINGS = {"meta_steps": 4, "meta_batch": 2, "validation_tasks": 2, "test_tasks": 2, "log_every": 2, "progress": False}


@pytest.fixture(scope="module")
def train() -> Callable[..., mtnets.Learner]:
    tasks, model = mtnets.tasks.sinusoid(shots=2), mtnets.models.mlp(1, 4, 1)
    return lambda out, **more: mtnets.meta_train(model, mtnets.maml(), tasks, out=out, **{**SETTINGS, **more})


@pytest.fixture(scope="module")
def finished(train: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(folder)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_process_keeps_others_out(train: Callable, run: Path) -> None:
    code = (
        "import sys, time, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
        "print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, run / ".lock"], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        for more in ({"resume": True}, {"overwrite": True, "seed": 1}):
            with pytest.raises(RunError, match=r"Another process trains in .*run; wait until it has ended"):
                train(run, **more)
        other.kill()
    train(run, resume=True)


def test_what_a_kill_before_the_configuration_leaves_is_an_empty_folder(train: Callable, tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.json.0123abcd.tmp").write_text("{")
    train(tmp_path, resume=True)
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_checkpoint_of_another_run_is_refused(train: Callable, run: Path, tmp_path: Path) -> None:
    train(tmp_path / "other")
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", run / "checkpoints")
    with pytest.raises(RunError, match=r"checkpoints/4\.safetensors belongs to another run"):
        train(run, resume=True)


def test_a_flipped_bit_in_a_checkpoint_is_noticed(train: Callable, run: Path) -> None:
    path = run / "checkpoints" / "4.safetensors"
    data = path.read_bytes()
    for i in range(0, len(data), len(data) // 12):
        path.write_bytes(data[:i] + bytes([data[i] ^ 4]) + data[i + 1 :])
        with pytest.raises(RunError, match=r"checkpoints/4\.safetensors is damaged .*Remove it to go on"):
            train(run, resume=True)


def test_a_folder_that_is_removed_is_not_written_to(train: Callable, tmp_path: Path) -> None:
    def remove(*_: object) -> None:
        shutil.rmtree(tmp_path / "run")

    with pytest.raises(RunError, match="was removed or emptied during the training"):
        train(tmp_path / "run", validate_every=2, callback=remove)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "line", [b"{}", b"\xff", b"[" * 9999, b'{"step": "two"}', b'{"step": 2, "checksum": "crc32:0"}']
)
def test_a_damaged_line_of_the_log_is_named(train: Callable, run: Path, line: bytes) -> None:
    path = run / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(line + b"\n" + whole)
    with pytest.raises(RunError, match=r"Line 1 of .*metrics.jsonl is damaged .*; take it out to go on"):
        train(run, resume=True)
    path.write_bytes(whole + line)  # which may be cut short
    train(run, resume=True)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"3", b'{"tasks": 1}', b"[" * 9999])
def test_a_damaged_configuration_is_named(train: Callable, run: Path, text: bytes) -> None:
    (run / "config.json").write_bytes(text)
    with pytest.raises(RunError, match=r"config\.json is damaged or not that of a run"):
        train(run, resume=True)


def test_a_damaged_result_is_written_anew(train: Callable, run: Path) -> None:
    before = read_json(run / "result.json")
    for text in ("{", "[]", json.dumps({"test": 1})):
        (run / "result.json").write_text(text)
        train(run, resume=True)
        assert read_json(run / "result.json")["test"] == before["test"]


def test_resuming_nothing_says_so(train: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path, resume=True, progress=True)
    assert "There is no checkpoint to resume from; the training begins anew." in capsys.readouterr().err


def test_a_training_that_has_not_ended_can_be_used_and_says_so(train: Callable, tmp_path: Path) -> None:
    def stop(line: object) -> None:
        raise KeyError(line)

    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.json").write_text("{}")
    with pytest.raises(RunError, match=r"There is no learner in .*begun yet .*resume=True"):
        mtnets.load(begun)
    with pytest.raises(KeyError):
        train(tmp_path / "run", on_log=stop)
    with pytest.warns(UserWarning, match=r"run has not ended: it is at meta-step 2 of 4, and .* of meta-step 2; to go"):
        learner = mtnets.load(tmp_path / "run")
    short = train(None, meta_steps=2, validate_every=0)
    for a, b in zip(jax.tree.leaves(learner.meta), jax.tree.leaves(short.meta), strict=True):
        np.testing.assert_array_equal(a, b)
    train(tmp_path / "run", resume=True)
    assert "reached" not in mtnets.load(tmp_path / "run").record


@pytest.mark.parametrize(("meta_steps", "every"), [(0, 1), (7, 1), (59, 2), (60, 3), (1999, 99), (60_000, 100)])
def test_a_short_training_has_a_curve_too(meta_steps: int, every: int) -> None:
    options = {"meta_steps": meta_steps, "meta_batch": 1, "inner_steps": 1}
    assert settle(options, None).log_every == every
    assert settle({**options, "log_every": 7}, None).log_every == 7


def test_a_longer_run_may_log_less_often(train: Callable, tmp_path: Path) -> None:
    train(tmp_path, meta_steps=2, log_every=None)
    train(tmp_path, meta_steps=4, log_every=2, resume=True)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "post_loss" in line] == [1, 2, 4]
    with pytest.raises(OptionError, match="meta_steps is 'x'"):
        settle({"meta_steps": "x", "meta_batch": 1, "inner_steps": 1}, None)


def test_checkpoints_by_meta_steps(train: Callable, tmp_path: Path) -> None:
    train(tmp_path, meta_steps=7, checkpoint_every=3)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["6.safetensors", "7.safetensors"]
