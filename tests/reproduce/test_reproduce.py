"""The paper's experiments in small: parts are made once, and the report needs nothing else."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mtnets import OptionError, RunError
from mtnets.cli import main
from mtnets.learner.evaluate import Estimate
from mtnets.reproduce import Complexity, Report, Robustness, Sine, SineVariants
from mtnets.reproduce.parts import make_parts
from mtnets.reproduce.report.complexity import complexity, living
from mtnets.reproduce.report.sine import best_rate
from mtnets.reproduce.summary import summarise

SMALL = {"seeds": 2, "meta_steps": 4, "tasks": 6}


def test_parts_are_made_once(tmp_path, capsys) -> None:
    made = []

    def make(name):
        made.append(name)
        return {"command": name, "value": float("inf")}

    make_parts(tmp_path, ["a", "b"], make, settings={"rates": (1, 2)})
    make_parts(tmp_path, ["a", "b", "c"], make, settings={"rates": (1, 2)})
    assert made == ["a", "b", "c"]
    assert "a: there already, in " in capsys.readouterr().err
    part = json.loads((tmp_path / "a.json").read_text())
    assert part["value"] is None
    assert part["settings"] == {"rates": [1, 2]}
    assert part["seconds"] >= 0
    assert part["machine"]["cores"] == os.cpu_count()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json", "c.json"]


def test_parts_made_with_other_settings_are_not_passed_off_as_these(tmp_path) -> None:
    make_parts(tmp_path, ["a"], lambda name: {"command": name}, settings={"seeds": 2})
    with pytest.raises(RunError, match=r"a.json was made with seeds = 2, not 3.*--out"):
        make_parts(tmp_path, ["b", "a"], lambda name: {"command": name}, settings={"seeds": 3})
    assert not (tmp_path / "b.json").exists()  # nothing is made before it is said


@pytest.mark.parametrize(
    ("text", "expected"), [("{", "a.json is damaged"), ("[1]", "not a result"), ("{}", "not a result")]
)
def test_files_that_are_no_parts(tmp_path, text, expected) -> None:
    (tmp_path / "sine").mkdir()
    (tmp_path / "sine" / "a.json").write_text(text)
    with pytest.raises(RunError, match=expected):
        make_parts(tmp_path / "sine", ["a"], lambda name: {"command": name})
    with pytest.raises(RunError, match=expected):
        Report(results=str(tmp_path))()


@pytest.mark.skipif(sys.platform == "win32", reason="claims need locks that Windows does not know")
def test_a_part_in_work_is_left_to_its_process(tmp_path, capsys) -> None:
    """Unless that process is gone; and a part that fails can be made again."""
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(7, file=f, flush=True)"
    hold += "; print('held', flush=True); input()"
    command = [sys.executable, "-c", hold, str(tmp_path / ".a.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        make_parts(tmp_path, ["a", "b"], lambda name: {"command": name})
        assert "a: in work by process 7" in capsys.readouterr().err
        assert not (tmp_path / "a.json").exists()
        assert (tmp_path / "b.json").exists()
        other.kill()
    make_parts(tmp_path, ["a"], lambda name: {"command": name})
    assert (tmp_path / "a.json").exists()
    with pytest.raises(ZeroDivisionError):
        make_parts(tmp_path, ["c"], lambda name: 1 / 0)  # type: ignore[arg-type,return-value]
    make_parts(tmp_path, ["c"], lambda name: {"command": name})
    assert (tmp_path / "c.json").exists()
    assert not list(tmp_path.glob(".*"))


def test_summaries_of_seeds() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(1, 2, (3, 8, 4))
    found = summarise([Estimate("loss", s, s) for s in scores])
    np.testing.assert_allclose(found["mean"], scores.mean((0, 1)))
    np.testing.assert_allclose(found["seeds"], scores.mean(1).T)
    np.testing.assert_allclose(found["seeds95"], 4.302653 * scores.mean(1).std(0, ddof=1) / np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(found["tasks95"], 1.96 * scores.mean(0).std(0, ddof=1) / np.sqrt(8))
    np.testing.assert_allclose(found["median"], np.median(scores, (0, 1)))
    assert found["diverged"] == [0, 0, 0, 0]
    assert np.isnan(summarise([Estimate("loss", scores[0], scores[0])])["seeds95"]).all()


def test_every_experiment_and_the_report(tmp_path, capsys) -> None:
    Sine(("mt_net",), (0.01, 0.1), out=str(tmp_path / "sine"), **SMALL)()
    Robustness(("maml",), ("none",), (0.01, 1.0), out=str(tmp_path / "robustness"), **SMALL)()
    Complexity((0,), sines=False, out=str(tmp_path / "complexity"), **SMALL)()
    part = json.loads((tmp_path / "sine" / "mt_net.json").read_text())
    assert [row["inner_lr"] for row in part["rates"]] == [0.01, 0.1]
    assert len(part["rates"][0]["5 shots"]["mean"]) == 11
    assert len(part["rates"][0]["validation"]) == 2
    assert part["rates"][0]["failed"] == [None, None]
    assert part["settings"] == {"inner_lrs": [0.01, 0.1], "seeds": 2, "meta_steps": 4, "tasks": 6}
    part = json.loads((tmp_path / "complexity" / "polynomial-0.json").read_text())
    assert part["history"][-1]["step"] == 4
    assert len(part["history"]) == 4
    assert len(part["moving"]) == len(part["ranks"]) == 2
    assert part["ranks"][0].keys() == {"layers.0", "layers.1", "layers.2"}

    assert main(["reproduce", "report", "--results", str(tmp_path), "--out", str(tmp_path / "docs")]) == 0
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "| MT-net | " in text
    assert "| MAML | none |" in text
    assert "| polynomial 0 |" in text
    for name in ("sine", "robustness", "complexity"):
        assert (tmp_path / "docs" / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_kinds_of_tasks_differ_in_what_varies() -> None:
    families = Complexity(orders=(0, 2)).families()
    assert list(families) == ["polynomial-0", "polynomial-2", "sine-amplitude", "sine-phase", "sine-both", "sine-all"]


def test_bad_input(tmp_path, capsys) -> None:
    with pytest.raises(RunError, match=r"no results.*mtnets reproduce sine"):
        Report(results=str(tmp_path))()
    assert main(["reproduce"]) == 1
    assert "Name an experiment" in capsys.readouterr().err
    out = {"out": str(tmp_path / "none")}
    for experiment, expected in [
        (Sine(("foo",), **out), "methods holds 'foo'; choose some of maml"),
        (Sine((), **out), "methods is empty"),
        (Sine(tasks=0, **out), "tasks is 0; it must be at least 1"),
        (SineVariants(("foo",), **out), "variants holds 'foo'; choose some of paper"),
        (Robustness(norms=("foo",), **out), "norms holds 'foo'"),  # type: ignore[arg-type]
        (Complexity(seeds=0, **out), "seeds is 0"),
        (Complexity(orders=(-1,), **out), "order is -1"),
    ]:
        with pytest.raises(OptionError, match=expected):
            experiment()
    assert not (tmp_path / "none").exists()


def test_layers_that_died_are_not_counted(tmp_path) -> None:
    dead, alive = {"a": 0.0, "b": 0.0, "c": 1.0}, {"a": 0.0, "b": 2.0, "c": 1.0}
    assert living({"ranks": [dead, alive, dead]}) == [1]
    part = {
        "command": "mtnets reproduce complexity",
        "settings": {"inner_lr": 0.01, "seeds": 3, "meta_steps": 4},
        "ranks": [dead, alive, dead],
        "moving": [{"a": 0.5, "b": 0.5, "c": 1.0}, {"a": 0.25, "b": 0.75, "c": 1.0}, {"a": 0.5, "b": 0.5, "c": 1.0}],
        "scores": {"seeds": [[9.0, 9.0, 9.0], [0.3, 0.2, 0.1]]},
        "history": [{"step": 4, "moving": [{"a": 0.5, "b": 0.5, "c": 1.0}] * 3}],
        "seconds": 1.0,
    }
    table = "\n".join(complexity({"polynomial-1": part}, tmp_path))
    assert "| polynomial 1 | 1 of 3 | 0.25 | 0.75 | 1.00 | 0.0 | 2.0 | 1.0 | 0.200 | 1 |" in table
    none = "\n".join(complexity({"polynomial-1": part | {"ranks": [dead] * 3}}, tmp_path))
    assert "| polynomial 1 | 0 of 3 | – | – |" in none


def test_the_inner_rate_of_the_sine_table_is_chosen_on_validation_tasks() -> None:
    better_on_test = {"inner_lr": 0.1, "validation": [3.0, None], "10 shots": {"mean": [9.0, 0.1]}}
    better = {"inner_lr": 0.04, "validation": [2.0, 4.0], "10 shots": {"mean": [9.0, 0.2]}}
    assert best_rate({"rates": [better_on_test, better]})["inner_lr"] == 0.04
