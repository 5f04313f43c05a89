"""The campaign in small: every change that the writer of files makes is killed, torn, or fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mtnets.files import read_json

HERE = Path(__file__).parent
CODE = """
import sys
from mtnets.files import write_json
write_json(sys.argv[1], {"new": list(range(1000))})
"""
needs_a_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or not sys.platform.startswith("linux"), reason="needs Linux and a C compiler"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "faulty.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", path, HERE / "faulty.c", "-ldl"], check=True
    )
    return path


@needs_a_compiler
@pytest.mark.parametrize("kind", ["kill", "tear", "5", "28+"])
def test_a_file_is_the_old_one_or_the_new_one(library: Path, tmp_path: Path, kind: str) -> None:
    path, ends = tmp_path / "run" / "file.json", []
    path.parent.mkdir()

    def write(at: int) -> int:
        count = tmp_path / "count"
        faults = {"FAULT_FOLDER": str(path.parent), "FAULT_AT": str(at), "FAULT_KIND": kind, "FAULT_COUNT": str(count)}
        environment = os.environ | {"LD_PRELOAD": str(library)} | faults
        command = [sys.executable, "-c", CODE, path]
        ends.append(subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode)
        return int(count.read_text()) if count.exists() else 0

    changes = write(0)
    assert ends == [0]
    assert 4 <= changes <= 20  # made, written, synced, renamed, folder synced
    new = path.read_bytes()
    for at in range(1, changes + 1):
        path.write_text('{"old": 1}')
        write(at)
        assert path.read_bytes() in (b'{"old": 1}', new)
        read_json(path)
    assert any(end != 0 for end in ends)
    write(0)
    assert [left.name for left in path.parent.iterdir()] == ["file.json"]


@needs_a_compiler
@pytest.mark.slow
def test_trainings_survive() -> None:
    command = [sys.executable, "-m", "tests.faults.campaign", "--trials", "6"]
    subprocess.run(command, check=True, cwd=HERE.parent.parent)
