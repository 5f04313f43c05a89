"""The benchmark of growth runs, in small."""

import dataclasses
import json

import pytest

from benchmarks import growth


def test_axes_are_settings() -> None:
    assert set(growth.AXES) == {field.name for field in dataclasses.fields(growth.Setting)}


@pytest.mark.slow
def test_in_small(tmp_path, capsys) -> None:
    out, picture = tmp_path / "growth.json", tmp_path / "growth.png"
    arguments = ["--axes", "tasks", "devices", "--values", "1", "2", "--repeats", "1", "--seconds", "0.01"]
    growth.main([*arguments, "--out", str(out), "--figure", str(picture)])
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert [(row["axis"], row["value"]) for row in rows] == [("tasks", 1), ("tasks", 2), ("devices", 1), ("devices", 2)]
    assert all(row["seconds"] > 0 and row["bytes"] > 0 for row in rows)
    learned = 4 * (144 + 3 * 2304 + 320 + 4 * 5 + 4 * 256 + 25 + 69)  # numbers: weights, biases and offsets, T, masks
    assert rows[2]["reduced_bytes"] == 0
    assert learned < rows[3]["reduced_bytes"] < 3 * learned
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(capsys.readouterr().out.splitlines()) == 4
