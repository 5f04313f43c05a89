"""How sure it is, in small: scores by their definitions, a part of each kind, and the tables."""

import json

import numpy as np
import pytest
from scipy import stats

from experiments.intervals.experiment import Intervals
from experiments.intervals.problems import oscillation
from experiments.intervals.scores import calibration, log_score, of_intervals, of_labels, of_sets, summary
from experiments.report import Report
from experiments.report.pages import BEGIN, END
from mtnets import OptionError, RunError

RNG = np.random.default_rng(0)


def test_scores_of_intervals() -> None:
    low = np.array([[[0.0], [0.0]], [[0.0], [-1.0]]])
    high, y = low + 2, np.array([[[1.0], [3.0]], [[-1.0], [0.0]]])
    scores = of_intervals(low, high, y, 0.9)
    np.testing.assert_array_equal(scores["coverage"], [0.5, 0.5])
    np.testing.assert_array_equal(scores["width"], [2, 2])
    np.testing.assert_allclose(scores["interval_score"], [2 + 20 * 1 / 2, 2 + 20 * 1 / 2])
    mean, std = RNG.normal(size=(2, 3, 4, 1)) ** 2 + 0.5
    by_hand = [np.mean([-np.log(stats.norm.pdf(1, 0, each)) for each in task.ravel()]) for task in std]
    np.testing.assert_allclose(log_score(mean, std, mean + 1), by_hand)


def test_scores_of_labels() -> None:
    logits, y = RNG.normal(size=(7, 5, 3)), RNG.integers(0, 3, (7, 5))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    scores = of_labels(np.log(p), y)
    expected = [np.mean([-np.log(p[t, q, y[t, q]]) for q in range(5)]) for t in range(7)]
    np.testing.assert_allclose(scores["log_score"], expected)
    np.testing.assert_allclose(scores["accuracy"], (p.argmax(-1) == y).mean(1))
    sets = p > 0.3
    held = of_sets(sets, y)
    np.testing.assert_allclose(held["coverage"], [np.mean([sets[t, q, y[t, q]] for q in range(5)]) for t in range(7)])
    np.testing.assert_allclose(held["size"], sets.sum(-1).mean(1))
    error = 0.0
    for bin_ in range(15):
        here = (p.max(-1) > bin_ / 15) & (p.max(-1) <= (bin_ + 1) / 15)
        error += abs(((p.argmax(-1) == y) - p.max(-1))[here].sum()) / y.size
    measured = calibration([np.log(p)], y)
    np.testing.assert_allclose(measured["mean"], error)
    assert 0 < measured["ci95"] < 0.5
    both = summary([{"a": np.array([1.0, 2.0])}, {"a": np.array([3.0, 4.0])}])
    np.testing.assert_allclose(both["a"]["mean"], 2.5)


def test_an_oscillation_has_its_own_noise() -> None:
    (x, y), (query, _) = oscillation(np.random.default_rng(3))
    assert x.shape == y.shape == query.shape == (10, 1)
    assert np.abs(x).max() <= 5
    assert np.abs(y).max() < 4


def part(rows):
    return {"command": "python -m experiments intervals", "rows": rows}


def test_tables(tmp_path) -> None:
    results, page = tmp_path / "results" / "intervals", tmp_path / "docs" / "uncertainty.md"
    results.mkdir(parents=True)
    page.parent.mkdir()
    score = {"mean": 0.9, "ci95": 0.01}
    numbers = {"coverage": score, "width": score, "interval_score": score, "seconds_per_task": 0.5}
    rows = {"one": numbers | {"log_score": {"mean": -0.5, "ci95": 0.1}}, "masks, conformal": numbers}
    (results / "sine-mse.json").write_text(json.dumps(part(rows)))
    far = {"accuracy": score, "log_score": {"mean": None, "ci95": None}, "seconds_per_task": 2.0}
    (results / "glyphs-cross-entropy.json").write_text(json.dumps(part({"one": far})))
    page.write_text("no place")
    with pytest.raises(RunError, match="has no place for tables"):
        Report(results=str(tmp_path / "results"), out=str(page.parent))()
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    Report(results=str(tmp_path / "results"), out=str(page.parent))()
    text = page.read_text("utf-8")
    assert "| mse, one network | 90.0 ± 1.0 | 0.90 ± 0.01 | 0.90 ± 0.01 | −0.50 ± 0.10 |" in text
    assert "| mse, 16 masks, conformal | 90.0 ± 1.0 | 0.90 ± 0.01 | 0.90 ± 0.01 |  |" in text
    assert "| cross-entropy, one network | 90.0 ± 1.0 | beyond 10000 |  |  |  |" in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| mse, one network |" in (results / "tables.md").read_text("utf-8")


def test_bad_input(tmp_path) -> None:
    for options, words in (
        ({"problems": ("cosine",)}, "problems holds 'cosine'; choose some of sine, oscillation"),
        ({"seeds": 1}, "seeds is 1; it must be at least 2"),
        ({"calibration": 8}, "calibration is 8; it must be at least 9"),
    ):
        with pytest.raises(OptionError, match=words):
            Intervals(out=str(tmp_path), **options)()


@pytest.mark.slow
def test_parts(tmp_path) -> None:
    small = {"seeds": 2, "meta_steps": 5, "calibration": 9, "tasks": 4}
    Intervals(("sine", "glyphs"), out=str(tmp_path), **small)()
    parts = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(parts) == {"sine-mse", "sine-gaussian", "sine-quantile", "glyphs-cross-entropy"}
    names = {f"{kind}{how}" for kind in ("one", "masks", "seeds") for how in ("", ", conformal")}
    assert names <= set(parts["sine-mse"]["rows"])
    assert {"masks, conformal, scaled", "seeds, conformal, scaled"} < set(parts["sine-mse"]["rows"])
    for name in ("sine-gaussian", "sine-quantile", "glyphs-cross-entropy"):
        assert set(parts[name]["rows"]) == names
    assert parts["sine-mse"]["settings"] == small
    assert 0 <= parts["sine-gaussian"]["rows"]["seeds, conformal"]["coverage"]["mean"] <= 1
    assert "log_score" not in parts["sine-quantile"]["rows"]["one"]
    assert parts["glyphs-cross-entropy"]["rows"]["one, conformal"]["size"]["mean"] <= 5
