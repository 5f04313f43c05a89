"""The paper's experiments on functions of one number, in small, and their report."""

import json
from typing import Any

import numpy as np
import pytest

from experiments import sine_paired
from experiments.__main__ import main
from experiments.complexity import Complexity
from experiments.report import Report
from experiments.report.complexity import complexity, living
from experiments.report.sine import best_rate
from experiments.robustness import Robustness
from experiments.sine import Sine
from experiments.sine_paired import SinePaired
from experiments.sine_variants import SineVariants
from mtnets import OptionError, RunError

pytestmark = pytest.mark.slow  # compiles many networks

SMALL: dict[str, Any] = {"seeds": 2, "meta_steps": 4, "tasks": 6}


def test_every_experiment_and_the_report(tmp_path) -> None:
    results = tmp_path / "results" / "reproduce"
    Sine(("mt_net",), (0.01, 0.1), out=str(results / "sine"), **SMALL)()
    Robustness(("maml",), ("none",), (0.01, 1.0), out=str(results / "robustness"), **SMALL)()
    SineVariants(("init-0.1",), out=str(results / "sine-variants"), **SMALL)()
    Complexity((0,), sines=False, out=str(results / "complexity"), **SMALL)()
    part = json.loads((results / "sine" / "mt_net.json").read_text())
    assert [row["inner_lr"] for row in part["rates"]] == [0.01, 0.1]
    assert len(part["rates"][0]["5 shots"]["mean"]) == 11
    assert len(part["rates"][0]["validation"]) == 2
    assert part["rates"][0]["failed"] == [None, None]
    assert part["command"] == "python -m experiments sine"
    assert part["settings"] == {"inner_lrs": [0.01, 0.1], "seeds": 2, "meta_steps": 4, "tasks": 6}
    part = json.loads((results / "complexity" / "polynomial-0.json").read_text())
    assert part["history"][-1]["step"] == 4
    assert len(part["history"]) == 4
    assert len(part["moving"]) == len(part["ranks"]) == 2
    assert part["ranks"][0].keys() == {"layers.0", "layers.1", "layers.2"}

    assert main(["report", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "docs")]) == 0
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "| MT-net | " in text
    assert "| starting weights ten times larger | threshold |" in text
    assert "| MAML | none |" in text
    assert "| polynomial 0 |" in text
    for name in ("sine", "robustness", "complexity"):
        assert (tmp_path / "docs" / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_differences_to_maml_are_paired_by_task(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sine_paired, "METHOD_NAMES", ("maml", "mt_net"))
    path = tmp_path / "sine.json"
    SinePaired(out=str(path), **SMALL)()
    part = json.loads(path.read_text())
    maml, mt_net = part["methods"]["maml"], part["methods"]["mt_net"]
    assert maml["maml_minus_this"] == {"mean": 0.0, "ci95": 0.0}
    difference = maml["loss_after_1_step"]["mean"] - mt_net["loss_after_1_step"]["mean"]
    np.testing.assert_allclose(mt_net["maml_minus_this"]["mean"], difference, atol=1e-5)
    assert len(mt_net["test"]) == 2
    assert len(mt_net["test"][0]) == 11
    assert part["seconds_of_one_mt_net_run_with_compilation"] > 0


def test_kinds_of_tasks_differ_in_what_varies() -> None:
    families = Complexity(orders=(0, 2)).families()
    assert list(families) == ["polynomial-0", "polynomial-2", "sine-amplitude", "sine-phase", "sine-both", "sine-all"]


def test_bad_input(tmp_path) -> None:
    with pytest.raises(RunError, match=r"no results.*python -m experiments sine"):
        Report(results=str(tmp_path))()
    out: dict[str, Any] = {"out": str(tmp_path / "none")}
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
