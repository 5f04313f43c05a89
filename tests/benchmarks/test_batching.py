"""The benchmark runs, in small."""

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "batching.py"


@pytest.mark.slow
def test_sine_in_small(tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "batching.json"
    options = ["--cases", "sine", "--repeats", "1", "--seconds", "0.01", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [str(BENCHMARK), *options])
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    rows = json.loads(out.read_text())["rows"]
    assert [(row["devices"], row["tasks_at_once"]) for row in rows] == [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2)]
    assert all(row["ms_per_meta_step"] > 0 for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == len(rows)
