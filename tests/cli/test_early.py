"""What is refused before JAX is imported, and by which names."""

import subprocess
import sys
from pathlib import Path

import pytest

from mtnets.cli import commands, early, main
from mtnets.devices import Devices
from mtnets.inner import ESTIMATORS, METHODS
from mtnets.inner.rules import MaskUse
from mtnets.learner import TEST_SEED
from mtnets.tasks import FAMILIES


def test_the_names_are_those_that_there_are() -> None:
    assert tuple(FAMILIES) == early.FAMILIES
    assert tuple(name.replace("_", "-") for name in METHODS) == early.METHODS
    assert tuple(ESTIMATORS) == early.ESTIMATORS
    assert (commands.TEST_SEED, commands.MaskUse, commands.Devices) == (TEST_SEED, MaskUse, Devices)


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A folder that holds a run, beside a file."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "there").touch()
    return tmp_path / "run"


def test_no_refusal_waits_for_jax(taken: Path) -> None:
    lines = [
        ["trian"],
        ["evaluate"],
        ["evaluate", "run", "--task", "1"],
        ["evaluate", "run", "--mask", "some"],
        ["train", "sine"],
        ["train"],
        ["sweep", "sinusoid", "--methods", "maml", "mamml"],
        ["new", "sinusoid", "--estimator", "exakt"],
        ["train", "sinusoid", "--out", str(taken)],
        ["train", "folder", "--root", str(taken / "none")],
        ["train", "table", "none.csv"],
        ["new", "glyphs", "--out", str(taken.parent / "there")],
    ]
    code = f"import sys; from mtnets.cli import main; print([main(args) for args in {lines}], 'jax' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1] False\n"
    assert ended.stderr.count("\n") == len(lines)
    for words in (
        "run holds a run already; go on with --resume, replace it with --overwrite, or name another folder.",
        "none does not exist; name the folder or zip archive of the data.",
        "There is no file none.csv; name the table",
        "there is there already; remove it",
        "There is no method 'mamml'; perhaps 'maml' is meant",
    ):
        assert words in ended.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["--resume"],
        ["--overwrite"],
        ["--memory"],
        ["--coordinator", "auto"],
        ["--out", "other"],
        ["--config", "runs/sinusoid-mt-net/config.json"],
        ["--method", "maml"],
        ["--help"],
    ],
)
def test_what_may_be_meant_is_not_refused(args: list[str], taken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(taken.parent)
    (taken.parent / "runs").mkdir()
    taken.rename("runs/sinusoid-mt-net")
    with pytest.raises(early.Refusal, match="mt-net holds a run already"):
        early.check_early("train", ["sinusoid", "--method=mt_net"])
    early.check_early("train", ["sinusoid", *args])
    early.check_early("sweep", ["sinusoid", "--out", "runs/sinusoid-mt-net"])


@pytest.mark.parametrize("path", ["~no-such-user/images", 5000 * "a", "a\0b"])
def test_places_that_the_system_cannot_tell_of_are_left_to_later(path: str) -> None:
    early.check_early("train", ["sinusoid", "--out", path])
    early.check_early("new", ["sinusoid", "--out", path])


def test_names_of_the_users_own_are_left_to_later() -> None:
    early.check_early("train", ["mine", "--method", "my-method"])  # JAX is there


def test_where_data_of_omniglot_come_from(capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "omniglot", "--root=/no/where"]) == 1
    assert "does not exist; fetch the data with `mtnets data omniglot --root /no/where`, or" in capsys.readouterr().err
