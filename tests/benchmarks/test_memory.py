"""The benchmark of memory runs, in small."""

import json

import pytest

from benchmarks import memory


def test_settings() -> None:
    assert list(memory.settings((1, 9), (1, 4))) == [(1, 1, 0), (9, 1, 0), (9, 1, 3), (1, 4, 0)]


@pytest.mark.slow
def test_in_small(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(memory, "FILTERS", 2)
    monkeypatch.setattr(memory, "REPEATS", 1)
    out, picture = tmp_path / "memory.json", tmp_path / "memory.png"
    memory.main(["--steps", "1", "9", "--tasks", "2", "--out", str(out), "--figure", str(picture)])
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert [row["remat_every"] for row in rows] == [0, 0, 3, 0]
    assert rows[2]["bytes"] < rows[1]["bytes"]
    assert rows[3]["bytes"] > rows[0]["bytes"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(capsys.readouterr().out.splitlines()) == 4
