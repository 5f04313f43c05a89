"""The table, what is concluded, and the picture, of scores that are made up."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mtnets
from mtnets.files import read_json
from mtnets.sweeps import Row, Setting, Sweep
from mtnets.sweeps.draw import _is_log

RANDOM = np.random.default_rng(0)
TASKS = RANDOM.uniform(1, 2, 50)  # how hard each is


def row(
    rate: float, loss: float, *, validation: float, seeds: int = 3, failed: dict | None = None, title="maml"
) -> Row:
    setting = Setting(title, mtnets.maml(rate), {}, {"inner_lr": rate})
    scores = np.ma.asarray(loss * TASKS + 0.001 * RANDOM.normal(size=(seeds, 50)))
    folders = {seed: Path(setting.folder) / f"seed-{seed}" for seed in range(seeds)}
    return Row(setting, folders, failed or {}, tuple(range(seeds)), scores, (validation,) * seeds, 1.5)


def sweep(*rows: Row, higher: bool = False) -> Sweep:
    return Sweep("accuracy" if higher else "loss", higher, 50, rows)


ROWS = (row(0.01, 1.0, validation=0.8), row(0.1, 0.5, validation=0.7), row(1.0, 0.5, validation=0.9))


def test_validation_chooses_and_test_scores_compare() -> None:
    result = sweep(*ROWS, row(10.0, 0.2, validation=0.8))
    assert result.chosen is ROWS[1]  # although another has better test scores
    gap = result.difference(ROWS[0])
    np.testing.assert_allclose(gap.tasks.mean, 0.5 * TASKS.mean(), rtol=0.01)
    assert result.difference(ROWS[1]) is None
    text = " ".join(str(result).split())
    assert "maml inner-lr 0.1 was chosen by its loss on validation tasks (0.7000, the mean of 3 seeds)" in text
    assert "it is better than 1 of 3 others (maml inner-lr 0.01); it is worse than 1 of 3 others" in text
    assert "cannot be told apart from 1 of 3 others (maml inner-lr 1.0)" in text
    assert "over tasks and over seeds, both leave out zero" in text
    assert "test scores have chosen nothing" in text
    assert "largest" not in text


def test_higher_scores_may_be_better() -> None:
    result = sweep(*ROWS, higher=True)
    assert result.chosen is ROWS[2]
    assert result.difference(ROWS[0]).side == -1
    assert "Its inner-lr, 1.0, is the largest that was tried" in result.conclusion


def test_one_seed_says_nothing_of_seeds() -> None:
    result = sweep(row(0.1, 0.5, validation=0.7, seeds=1), row(1.0, 0.6, validation=0.8, seeds=1))
    assert "With a single seed, nothing is said of how another seed would order them." in result.conclusion
    assert "the 95 % interval of the paired difference over tasks leaves out zero" in result.conclusion
    assert result.rows[0].to_json()["test"]["ci95_seeds"] is not None
    assert result.to_json()["settings"][0]["test"]["ci95_seeds"] is None


def test_what_failed_is_told_of_and_never_chosen() -> None:
    failed = row(10.0, 0.1, validation=0.1, seeds=2, failed={2: 7})
    result = sweep(*ROWS, failed)
    assert result.chosen is ROWS[1]
    assert "1 run failed, since a loss or gradient was not finite (maml inner-lr 10.0)" in result.conclusion
    assert "0, 1, 2 failed at 7" in str(result)
    assert result.difference(failed).num_seeds == 2  # the seeds that both have
    nothing = sweep(row(1.0, 1.0, validation=np.nan), row(2.0, 1.0, validation=np.inf))
    assert nothing.chosen is None
    assert "No setting was chosen" in nothing.conclusion


def test_files(tmp_path: Path) -> None:
    result = sweep(*ROWS, row(10.0, np.inf, validation=np.inf))
    result.save(tmp_path)
    record = read_json(tmp_path / "sweep.json")
    assert record["chosen"] == "maml inner-lr 0.1"
    assert record["chosen_by"] == "mean validation score"
    assert [each["chosen"] for each in record["settings"]] == [False, True, False, False]
    assert record["settings"][3]["test"]["mean"] is None
    assert record["settings"][0]["chosen_better_by"]["side"] == 1
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [each["inner_lr"] for each in rows] == ["0.01", "0.1", "1.0", "10.0"]
    assert rows[0]["seeds"] == "0 1 2"
    assert float(rows[0]["test"]) == record["settings"][0]["test"]["mean"]
    assert [each["chosen_by_validation"] for each in rows] == ["0", "1", "0", "0"]


@pytest.mark.parametrize("kind", ["curve", "rows"])
def test_pictures(kind: str, tmp_path: Path) -> None:
    """One number gives curves; failed runs, and scores that are not finite, leave them out."""
    rows = (*ROWS, row(10.0, np.inf, validation=np.inf), row(1e9, 1.0, validation=1.0, seeds=0, failed={0: 1}))
    if kind == "rows":
        rows = tuple(
            Row(Setting(f"method {i}", r.setting.method, {}, {}), *list(vars(r).values())[1:])
            for i, r in enumerate(rows)
        )
    sweep(*rows).plot(tmp_path / "sweep.png")
    with Image.open(tmp_path / "sweep.png") as picture:
        width, height = picture.size
    assert width > 1000
    assert height > 450 if kind == "curve" else height < 450


@pytest.mark.parametrize("kind", ["curve", "rows"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_picture_says_which_interval_is_over_what(kind: str, seeds: int, monkeypatch) -> None:
    canvases: list = []
    monkeypatch.setattr("mtnets.sweeps.draw.save", lambda canvas, _: canvases.append(canvas))
    rows = [row(rate, 1 + rate, validation=rate, seeds=seeds) for rate in (0.1, 0.3, 1.0)]
    if kind == "rows":
        rows = [
            Row(Setting(f"method {i}", r.setting.method, {}, {}), *list(vars(r).values())[1:])
            for i, r in enumerate(rows)
        ]
    sweep(*rows).plot("sweep.png")
    left, right = canvases[0].axes
    said = [text.get_text() for text in canvases[0].legends[0].get_texts()]
    assert "95 % interval over tasks" in said
    assert ("95 % interval over seeds (Student's t)" in said) == (seeds > 1)
    axis, cap = ("y", "_") if kind == "curve" else ("x", "|")
    bars = [getattr(line, f"get_{axis}data")() for line in left.lines if line.get_marker() == cap]
    over = [r.over_seeds for r in rows] if seeds > 1 else []
    np.testing.assert_allclose(np.array(bars).ravel(), [end for m, half in over for end in (m - half, m + half)])
    dots = [getattr(line, f"get_{axis}data")() for line in left.lines if line.get_marker() == "."]
    assert sorted(value for each in dots for value in each) == sorted(
        value for r in rows for value in r.of_seeds if seeds > 1
    )
    low, high = getattr(left, f"get_{axis}lim")()
    assert all(low <= value <= high for each in [*dots, *bars] for value in each)
    differences = [line for line in right.lines if line.get_marker() == cap]
    assert len(differences) == (2 if seeds > 1 else 0)  # the chosen one has none to itself


def test_bars_of_two_seeds_do_not_make_all_else_small(monkeypatch) -> None:
    canvases: list = []
    monkeypatch.setattr("mtnets.sweeps.draw.save", lambda canvas, _: canvases.append(canvas))
    apart = [row(rate, 1.0, validation=rate, seeds=2) for rate in (0.1, 0.2, 0.3)]
    apart[0].scores[0] += 1.0
    sweep(*apart).plot("sweep.png")
    low, high = canvases[0].axes[0].get_ylim()
    assert high - low < 5 * np.ptp([value for each in apart for value in each.of_seeds])
    assert 2 * apart[0].over_seeds.half > high - low


def test_axes_are_logarithmic_where_values_are_spaced_so() -> None:
    assert _is_log([0.001, 0.01, 0.1])
    assert _is_log([0.01, 0.1])
    for values in ([1, 2, 3], [1, 2], [0, 1, 10], [-1, 1], [5], []):
        assert not _is_log(values), values
