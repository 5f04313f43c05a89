"""Programs that draw curves: each gets the numbers of every line, where it is installed."""

import builtins
import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from mtnets.cli.options import RunOptions
from mtnets.errors import OptionError
from mtnets.interop.loggers import LOGGERS, Logger, numbers

LINES = [
    {"step": 2, "seconds": 1.5, "pre_loss": 4.0, "post_loss": 0.5, "moving": {"layers.0": 0.25}, "skipped": 0},
    {"step": 2, "seconds": 1.6, "validation": [0.75]},
    {"step": 4, "seconds": 2.5, "pre_loss": 3.0, "post_loss": 0.25, "moving": {"layers.0": 0.5}, "skipped": 0},
]


def test_numbers_of_a_line() -> None:
    assert dict(numbers(LINES[0])) == {
        "seconds": 1.5, "pre_loss": 4.0, "post_loss": 0.5, "moving/layers.0": 0.25, "skipped": 0
    }  # fmt: skip
    assert dict(numbers(LINES[1])) == {"seconds": 1.6, "validation": 0.75}
    assert dict(numbers({"step": 1, "validation": [0.5, 0.75]})) == {"validation/0": 0.5, "validation/1": 0.75}


def test_nothing_is_opened_before_the_first_line() -> None:
    """A folder that holds something is not one for a new run."""
    done: list[Any] = []

    def begin() -> Any:
        done.append("begun")
        return lambda values, step: done.append((step, values)), lambda: done.append("ended")

    with Logger(begin):
        pass
    assert not done
    with Logger(begin) as log:
        log(LINES[1])
        log(LINES[1])
    assert done == ["begun", *[(2, {"seconds": 1.6, "validation": 0.75})] * 2, "ended"]


def test_the_command_line_has_all_of_them() -> None:
    choices, _ = get_args(get_type_hints(RunOptions)["log"])
    assert set(get_args(choices)) == LOGGERS.keys()


@pytest.mark.parametrize("name", LOGGERS)
def test_one_that_is_missing_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.import_module", lambda module: builtins.__import__("no_such_module"))
    with pytest.raises(OptionError, match=rf"needs .*; install it: pip install '(mtnets\[{name}\]|trackio)'"):
        LOGGERS[name](tmp_path)


def logged(name: str, folder: Path) -> None:
    with LOGGERS[name](folder) as log:
        for line in LINES:
            log(line)


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="needs mtnets[tensorboard]")
    logged("tensorboard", tmp_path)
    (events,) = (tmp_path / "tensorboard").iterdir()
    for name in (b"post_loss", b"moving/layers.0", b"validation"):
        assert name in events.read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of theirs
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("alembic", reason="needs mtnets[mlflow]")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    logged("mlflow", tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        values = database.execute("SELECT value, step FROM metrics WHERE key = 'post_loss' ORDER BY step").fetchall()
    assert values == [(0.5, 2), (0.25, 4)]
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_wandb_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs mtnets[wandb]")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    logged("wandb", tmp_path)
    (records,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert b"post_loss" in records.read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_trackio_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.delenv("TRACKIO_SPACE_ID", raising=False)
    pytest.importorskip("trackio", reason="needs trackio")
    logged("trackio", tmp_path)
    assert any(b"post_loss" in path.read_bytes() for path in (tmp_path / "trackio").rglob("*.db*"))
    assert os.environ["TRACKIO_DIR"] == str(tmp_path / "trackio")
