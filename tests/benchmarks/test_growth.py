"""The benchmark of growth runs, in small."""

import dataclasses
import json

import jax
import pytest

from benchmarks import growth


def test_axes_are_settings() -> None:
    assert {*growth.AXES} - {growth.PROCESSES} == {field.name for field in dataclasses.fields(growth.Setting)}


@pytest.mark.slow
def test_processes(tmp_path) -> None:
    out = tmp_path / "growth.json"
    arguments = ["--axes", "processes", "--values", "1", "2", "--repeats", "1", "--seconds", "0.01", "--out", str(out)]
    growth.main([*arguments, "--figure", str(tmp_path / "growth.png")])
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert [(row["axis"], row["value"]) for row in rows] == [("processes", 1), ("processes", 2)]
    assert all(row["seconds"] > 0 and row["bytes"] > 0 for row in rows)


@pytest.mark.slow
def test_in_small(tmp_path, capsys) -> None:
    out, picture = tmp_path / "growth.json", tmp_path / "growth.png"
    arguments = ["--axes", "tasks", "devices", "--values", "1", "2", "--repeats", "1", "--seconds", "0.01"]
    growth.main([*arguments, "--out", str(out), "--figure", str(picture)])
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert [(row["axis"], row["value"]) for row in rows] == [("tasks", 1), ("tasks", 2), ("devices", 1), ("devices", 2)]
    assert all(row["seconds"] > 0 and row["bytes"] > 0 for row in rows)
    assert rows[2]["reduced_bytes"] == 0
    plan = growth.Setting().plan()
    meta = jax.eval_shape(plan.program.init, plan.keys, plan.inner_lr).meta
    learned = 4 * sum(leaf.size for leaf in jax.tree.leaves(meta))
    assert learned <= rows[3]["reduced_bytes"] <= learned + 100  # and metrics
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(capsys.readouterr().out.splitlines()) == 4
