"""Used cells, in small: the simulated cells, models with known answers, a part of each kind, and the page."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.battery import experiment, judging, models
from experiments.battery.cells import VOLT, VOLTS, X_EMPTY, Laboratory, batch, cell, drawn_loads
from experiments.battery.cells import voltage as volts
from experiments.battery.experiment import PARTS, Battery, name_of
from experiments.report import Report
from experiments.report.pages import BEGIN, END
from mtnets import OptionError, RunError

LOADS = jax.jit(lambda wear, key: drawn_loads(cell(wear), key, 40))
FRESH, HALF, WORN = np.zeros(7), np.full(7, 0.5), np.ones(7)
KEY = jax.random.key(0)


@jax.jit
def at(wear, load):
    """Voltages `[loads]` of a cell."""
    return volts(cell(wear), load)


def test_voltages_fall_as_they_should() -> None:
    loads = np.array([[0, 0, 25], [0.2, 0.5, 25], [0.7, 0.5, 25], [0.2, 1.5, 25], [0.2, 0.5, 5]], np.float32)
    rest, now, *less = np.asarray(at(FRESH, loads))
    assert rest == pytest.approx(4.235 - 0.0735, abs=1e-3)  # of LiCoO₂ at y = 0.5, less graphite at x = 0.86
    assert max(less) < now  # later, under more current, in the cold
    assert at(WORN, loads)[1] < at(HALF, loads)[1] < now


def test_no_reading_of_an_empty_cell() -> None:
    worn = cell(jnp.asarray(1.5 * WORN))
    load = np.asarray(LOADS(1.5 * WORN, KEY))
    left = np.asarray(worn.lithium) - load[:, 0] / np.asarray(worn.negative)
    assert (left >= X_EMPTY).all()
    assert left.min() < 0.3  # nearly empty
    assert (load[:, 0] >= 0).all()
    assert at(1.5 * WORN, load).min() > 2.5


def test_a_laboratory_has_the_same_readings_each_time() -> None:
    few = Laboratory(cells=2, shots=(3,), queries=5)
    tasks = jax.jit(jax.vmap(few.sample))(jax.random.split(KEY, 40))
    assert tasks.support.x.shape == (40, 3, 3)
    assert tasks.query.y.shape == (40, 5, 1)
    assert tasks.support.weights is None
    known = np.asarray(jax.jit(jax.vmap(few.readings))(np.arange(2))[1]).ravel()
    assert np.isclose(np.asarray(tasks.support.y) * VOLTS + VOLT, known, atol=1e-5).any(-1).all()
    padded = jax.jit(jax.vmap(Laboratory(shots=(2, 4)).sample))(jax.random.split(KEY, 40)).support
    assert padded.weights is not None
    assert set(np.asarray(padded.weights.sum(1)).tolist()) == {2.0, 4.0}


def test_equations_find_a_cell_without_noise() -> None:
    load = LOADS(HALF, KEY)
    examples = jax.device_get(batch(load, at(HALF, load)))
    x, y, new, truth = examples.x[:20], examples.y[:20], examples.x[20:], examples.y[20:]

    def error(equations, strength: float) -> float:
        return float(judging.millivolts(np.square(models.by_equations(equations, strength, x, y)(new) - truth).mean()))

    assert error(volts, 0.0) < 0.5
    assert error(volts, 1.0) < 0.5  # the cell is the mean of the laboratory's
    assert error(models.with_resistor, 1.0) > 1.0


def test_a_process_of_the_rest_is_the_population_far_away() -> None:
    def population(x):
        return x[:, :1]

    x = np.random.default_rng(0).normal(size=(10, 3))
    kernel = models.ConstantKernel(1.0) * models.RBF(models.EACH_AND_CELL) + models.WhiteKernel(1e-4)
    predict = models.of_rest(population, kernel, x, population(x) + 0.3)
    np.testing.assert_allclose(predict(x), population(x) + 0.3, atol=0.01)
    np.testing.assert_allclose(predict(x + 100), x[:, :1] + 100, atol=1e-6)


def test_what_is_kept_of_errors() -> None:
    kept = judging.summary(np.array([[10.0, 30.0], [20.0, 30.0]]))
    assert (kept["mean"], kept["seeds"], kept["median"], kept["close"]) == (22.5, [20.0, 25.0], 25.0, 0.5)
    assert kept["errors"] == [15.0, 30.0]


def test_bad_input(tmp_path) -> None:
    for options, words in (
        ({"parts": ("gap",)}, "parts holds 'gap'; choose some of mt_net, meta_sgd"),
        ({"tasks": 1}, "tasks is 1; it must be at least 2"),
    ):
        with pytest.raises(OptionError, match=words):
            Battery(out=str(tmp_path), **options)()


def made_up(mean: float) -> dict:
    score = {"mean": mean, "ci95": 1.0, "seeds": [mean, mean], "median": mean, "close": 0.5, "errors": [mean, mean]}
    score["setting"] = {"rate": 0.1, "steps": 4, "tried": [mean]}
    scores = {name_of(shots, kind): score for shots in judging.SHOTS for kind in judging.WEAR}
    return {"scores": scores, "time": {"close": True, "steps": 3, "seconds": 0.002, "ridge": 0.004}}


def test_the_page(tmp_path) -> None:
    results, page = tmp_path / "results" / "battery", tmp_path / "docs" / "battery.md"
    results.mkdir(parents=True)
    (page.parent / "figures").mkdir(parents=True)
    for part, mean in (("mt_net", 10.0), ("ridge", 30.0)):
        name = {"ridge": "ridge regression"}.get(part, part)
        (results / f"{part}.json").write_text(json.dumps({"command": "", "rows": {name: made_up(mean)}}))
    page.write_text("no place")
    report = Report(results=str(tmp_path / "results"), out=str(page.parent))
    with pytest.raises(RunError, match="has no place for tables"):
        report()
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    report()
    text = page.read_text("utf-8")
    assert f"| MT-net |{' 10.0 ± 1.0 |' * 6}  |" in text
    assert "| ridge regression | 30.0 ± 1.0 |" in text
    assert "+20.0 ± 0.0 |" in text
    assert "| MT-net | 0.1; 4, 4, 4 | 10.0, 10.0 | 50 % | 3 steps | 0.5 |" in text
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert (page.parent / "figures" / "battery.png").stat().st_size > 5000


@pytest.mark.slow
def test_parts(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(judging, "CHOOSING_TASKS", 3)
    monkeypatch.setattr(judging, "TIMED", 2)
    monkeypatch.setattr(experiment, "ADAM_MOST", 5)
    for name in ("KERNEL_TASKS", "KERNEL_CELLS"):
        monkeypatch.setattr(models, name, 2)
    Battery(seeds=2, meta_steps=5, tasks=3, out=str(tmp_path))()
    parts = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(parts) == set(PARTS)
    tests = {name_of(shots, kind) for shots in judging.SHOTS for kind in judging.WEAR}
    for part in parts.values():
        for row in part["rows"].values():
            assert set(row["scores"]) == tests
            assert all(0 < score["mean"] < 1e4 for score in row["scores"].values())
            assert row["time"]["seconds"] > 0
    assert len(parts["pretrained"]["rows"]) == 2
    assert parts["equations"]["rows"]["equations"]["scores"][name_of(20, judging.AS_TRAINED)]["mean"] < 40
