"""The benchmark of task files runs, in small."""

import json

from benchmarks import task_files


def test_in_small(tmp_path, capsys) -> None:
    out = tmp_path / "task-files.json"
    task_files.main(["--names", "sine-10shot", "--tasks", "3", "--out", str(out)])
    sine = json.loads(out.read_text("utf-8"))["learners"]["sine-10shot"]
    assert sine["minus_adapted"]["full"] == {"mean": 0, "half": 0, "largest": 0}
    assert 0 < sine["minus_adapted"]["half"]["largest"] < 1e-2
    assert sine["bytes"]["half"] < 0.6 * sine["bytes"]["full"] < sine["bytes"]["model"]
    assert len(capsys.readouterr().out.splitlines()) == 3
