"""Parts are made once, whoever makes them, and are never mistaken for others."""

import json
import os
import subprocess
import sys

import pytest

from experiments.report import Report
from experiments.resumable import make_parts, read_part
from mtnets import RunError


def test_parts_are_made_once(tmp_path, capsys) -> None:
    made = []

    def make(name):
        made.append(name)
        return {"value": float("inf")}

    make_parts("sine", tmp_path, ["a", "b"], make, settings={"rates": (1, 2)})
    make_parts("sine", tmp_path, ["a", "b", "c"], make, settings={"rates": (1, 2)})
    assert made == ["a", "b", "c"]
    assert "a: exists already, " in capsys.readouterr().err
    part = json.loads((tmp_path / "a.json").read_text())
    assert part["command"] == "python -m experiments sine"
    assert part["value"] is None
    assert part["settings"] == {"rates": [1, 2]}
    assert part["seconds"] >= 0
    assert part["machine"]["cores"] == os.cpu_count()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json", "c.json"]


def test_parts_made_with_other_settings_are_not_passed_off_as_these(tmp_path) -> None:
    make_parts("sine", tmp_path, ["a"], lambda name: {}, settings={"seeds": 2})
    with pytest.raises(RunError, match=r"a.json was made with seeds = 2, not 3.*--out"):
        make_parts("sine", tmp_path, ["b", "a"], lambda name: {}, settings={"seeds": 3})
    assert not (tmp_path / "b.json").exists()  # nothing is made before it is said


@pytest.mark.parametrize(
    ("text", "expected"), [("{", "a.json is damaged"), ("[1]", "not the result"), ("{}", "not the result")]
)
def test_files_that_are_no_parts(tmp_path, text, expected) -> None:
    folder = tmp_path / "reproduce" / "sine"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(text)
    with pytest.raises(RunError, match=expected):
        make_parts("sine", folder, ["a"], lambda name: {})
    with pytest.raises(RunError, match=expected):
        Report(results=str(tmp_path))()


def test_a_changed_number_is_noticed(tmp_path) -> None:
    make_parts("sine", tmp_path, ["a"], lambda name: {"loss": 0.25})
    path = tmp_path / "a.json"
    path.write_text(path.read_text().replace("0.25", "0.35"))
    with pytest.raises(RunError, match=r"a\.json is damaged \(its checksum is not that of its contents"):
        read_part(path)


@pytest.mark.skipif(sys.platform == "win32", reason="claims need locks that Windows does not know")
def test_a_part_in_work_is_left_to_its_process(tmp_path, capsys) -> None:
    """Unless that process is gone; and a part that fails can be made again."""
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(7, file=f, flush=True)"
    hold += "; print('held', flush=True); input()"
    command = [sys.executable, "-c", hold, str(tmp_path / ".a.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        make_parts("sine", tmp_path, ["a", "b"], lambda name: {})
        assert "a: process 7 is working on it" in capsys.readouterr().err
        assert not (tmp_path / "a.json").exists()
        assert (tmp_path / "b.json").exists()
        other.kill()
    make_parts("sine", tmp_path, ["a"], lambda name: {})
    assert (tmp_path / "a.json").exists()
    with pytest.raises(ZeroDivisionError):
        make_parts("sine", tmp_path, ["c"], lambda name: 1 / 0)  # type: ignore[arg-type,return-value]
    make_parts("sine", tmp_path, ["c"], lambda name: {})
    assert (tmp_path / "c.json").exists()
    assert not list(tmp_path.glob(".*"))
