"""The comparison on small tables, in small, and its tables in a page."""

import json

import numpy as np
import pytest

from experiments.report import Report, tabular
from experiments.report.pages import BEGIN, END
from experiments.tabular import experiment
from experiments.tabular.experiment import DATA, Tabular
from experiments.tabular.scores import OURS, accuracy, draw, mae, r2
from mtnets import OptionError, RunError


@pytest.mark.slow
def test_the_comparison_and_its_tables(tmp_path, monkeypatch) -> None:
    pytest.importorskip("sklearn")
    for name in ("wine", "diabetes"):
        monkeypatch.setitem(experiment.DATA, name, DATA[name]._replace(sizes=(5,)))
    results, docs = tmp_path / "results", tmp_path / "docs"
    Tabular(("wine", "diabetes"), draws=2, out=str(results / "tabular"))()
    part = json.loads((results / "tabular" / "wine.json").read_text())
    assert part["settings"] == {"draws": 2}
    models = part["rows"]["5"]
    assert models[OURS]["accuracy of ours − this"]["mean"] == 0
    difference = models[OURS]["accuracy"]["mean"] - models["logistic regression"]["accuracy"]["mean"]
    np.testing.assert_allclose(models["logistic regression"]["accuracy of ours − this"]["mean"], difference)

    docs.mkdir()
    page = docs / "tabular.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    for _ in range(2):  # once more changes nothing
        Report(results=str(results), out=str(docs))()
        text = page.read_text("utf-8")
        assert text.startswith(f"before\n{BEGIN}\n\n| rows of each class: accuracy in % | few-shot |")
        assert text.endswith(f"|\n\n{END}\nafter\n")
        assert "old" not in text
        assert text.count("| diabetes, 5 |") == 2
    page.write_text("no place", "utf-8")
    with pytest.raises(RunError, match="has no place for tables"):
        tabular.page(results / "tabular", page)


def test_draws() -> None:
    y = np.array([0, 0, 0, 1, 1, 1, 1])
    learn, ask = draw(y, 2, seed=0, classes=True)
    assert sorted(y[learn]) == [0, 0, 1, 1]
    assert sorted([*learn, *ask]) == list(range(7))
    learn, ask = draw(y, 3, seed=0, classes=False)
    assert (len(learn), len(ask)) == (3, 4)


def test_scores() -> None:
    y = np.array([1.0, 2.0, 3.0])
    assert accuracy(y, np.array([1.0, 2.0, 0.0])) == pytest.approx(2 / 3)
    assert r2(y, np.full(3, 2.0)) == 0
    assert r2(y, y) == 1
    assert mae(y, y + 2) == 2


def test_bad_input(tmp_path, monkeypatch) -> None:
    with pytest.raises(OptionError, match="data holds 'iris'; choose some of wine"):
        Tabular(("iris",))()
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(OptionError, match=r"pip install 'mtnets\[experiments\]'"):
        Tabular(out=str(tmp_path))()
