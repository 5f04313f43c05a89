"""Comparisons: numbers by SciPy's definitions, sentences that say no more than they know, and mismatches refused."""

import json
import re
from typing import Any

import numpy as np
import pytest
from run_folders import run_folder, scores
from scipy import stats

import mtnets
from mtnets.cli import main
from mtnets.reports.bins import bin_edges
from mtnets.reports.comparison import LINE
from mtnets.reports.resampling import RESAMPLES, SEED, resampled


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on the same tasks, of which the second is better by about 0.1."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        run_folder(folder / name, scores(better=better), {"method": {"name": name, "inner_lr": 0.01}})
        for name, better in (("maml", 0.0), ("mt_net", 0.1))
    ]


def test_numbers_are_those_of_scipy(runs):
    random = np.random.default_rng(1)
    losses = scores()
    other = losses + random.normal(-0.02, 0.1, losses.shape).astype(np.float32)
    run = run_folder(runs[0].parent / "noisy", other)
    comparison = mtnets.compare(runs[0], run)
    better = losses[:, 1].astype(np.float64) - other[:, 1]
    student: Any = stats.ttest_1samp(better, 0)
    mean, half = comparison.difference.tasks
    assert np.allclose([mean - half, mean + half], student.confidence_interval())
    draws: dict[str, Any] = {"n_resamples": RESAMPLES, "random_state": np.random.default_rng(SEED)}
    bootstrap = stats.bootstrap((better,), np.mean, method="BCa", **draws)
    assert np.allclose(comparison.tasks[:2], bootstrap.confidence_interval)
    assert abs(comparison.tasks.p - student.pvalue) < 0.02
    assert comparison.wins == (better > 0).mean()


def test_signs_are_flipped_in_all_ways_where_these_are_few():
    test = resampled(np.array([1.0, 2.0, 3.0]))
    assert test.p == pytest.approx(2 / 8)  # all signs alike, of 8 ways
    assert test.least_p == 1 / 4
    assert np.isnan(test.low)  # of three values no bootstrap is worth anything
    assert resampled(np.full(20, 0.5))[:2] == (0.5, 0.5)
    assert resampled(np.zeros(20)).p == 1
    assert np.isnan(resampled(np.array([1.0, np.inf])).p)


def test_what_can_be_concluded(runs):
    comparison = mtnets.compare(*runs)
    assert comparison.side == 1
    assert mtnets.compare(*runs[::-1]).side == -1
    assert comparison.difference.tasks.mean == pytest.approx(0.1, abs=1e-6)
    assert "mt_net is better than maml by 0.1" in comparison.conclusion
    assert "on these 40 tasks" in comparison.conclusion
    assert "says nothing about another training" in comparison.conclusion
    assert "chosen beforehand" in comparison.conclusion
    same = mtnets.compare(runs[0], runs[0])
    assert same.side == 0
    assert "cannot be told apart" in same.conclusion
    assert same.wins == 0.5


def test_the_verdict_stands_alone_and_points_are_no_per_cent(runs, tmp_path):
    lines = str(mtnets.compare(*runs)).splitlines()
    assert lines[0].startswith("mt_net is better than maml by 0.1")
    assert lines[0].endswith("in mean squared error on these 40 tasks.")
    assert lines[1] == ""
    assert "mean squared error ± 95 % over tasks" in lines[2]
    assert "mean mean" not in "\n".join(lines)
    assert max(map(len, lines[1:])) <= LINE
    assert lines[6].startswith("Paired, 95 % by Student's t; by bootstrap ")
    random = np.random.default_rng(0)
    config = {"metrics": {"accuracy": "accuracy"}, "best": "accuracy"}
    one, other = (
        run_folder(tmp_path / name, scores(), config, "accuracy", accuracy=random.binomial(5, share, (40, 2)) / 5)
        for name, share in (("low", 0.5), ("high", 0.9))
    )
    comparison = mtnets.compare(one, other)
    assert re.fullmatch(r"high is better than low by [\d.]+ ± [\d.]+ points in accuracy on .*\.", comparison.verdict)
    assert " points to " in comparison.conclusion
    assert re.search(r"low +[\d.]+ ± [\d.]+ %", str(comparison))


def test_bins_follow_the_steps_of_a_score():
    fifths = np.array([0.2, 0.4, 1.0, 0.4], np.float32)
    assert np.allclose(bin_edges(fifths), [0.1, 0.3, 0.5, 0.7, 0.9, 1.1])
    assert np.histogram(fifths, bin_edges(fifths))[0].tolist() == [1, 2, 0, 0, 1]
    assert np.allclose(bin_edges(np.array([-0.2, 0.0])), [-0.3, -0.1, 0.1])
    assert len(bin_edges(np.random.default_rng(0).normal(size=50))) == 13
    assert len(bin_edges(np.linspace(0, 1, 500), 24)) == 25  # steps, but too many of them
    assert len(bin_edges(np.ones(3))) == 13


def test_seeds_are_compared_with_the_same_seeds(tmp_path):
    for name, better in (("a", 0.0), ("b", 0.1)):
        for seed in (0, 1, 2):
            losses = scores(better=better + 0.01 * seed * (name == "b"))
            run_folder(tmp_path / name / f"seed-{seed}", losses, {"seed": seed})
    comparison = mtnets.compare(tmp_path / "a", tmp_path / "b")
    assert comparison.one.seeds == (0, 1, 2)
    assert comparison.difference.seeds.mean == pytest.approx(0.11, abs=1e-6)
    assert comparison.seeds.p == pytest.approx(0.25)
    assert "3 seeds cannot give a smaller p than 0.25" in comparison.conclusion
    assert mtnets.compare(tmp_path / "a", tmp_path / "b" / "seed-1").one.seeds == (1,)
    with pytest.raises(mtnets.RunError, match="none in common"):
        mtnets.compare([tmp_path / "a" / "seed-0", tmp_path / "a" / "seed-1"], tmp_path / "b" / "seed-2")


def test_a_task_that_diverged(runs):
    losses = scores(better=0.1)
    losses[3, 1] = np.inf
    comparison = mtnets.compare(runs[0], run_folder(runs[0].parent / "diverged", losses))
    assert comparison.side == 0
    assert "not finite" in comparison.conclusion
    assert "98 % of these 40 tasks" in comparison.conclusion
    assert comparison.to_json()["other_better_by"]["mean"] is None


@pytest.mark.parametrize(
    ("changes", "tasks", "words"),
    [
        ({"tasks": {"family": "sinusoid", "shots": 5, "queries": 10}}, 40, "other test tasks: shots is 10 and 5"),
        (
            {"tasks": {"family": "table", "ahead": None}},
            40,
            "have other test tasks: maml is of sinusoid, other of table; compare runs of one family",
        ),
        ({"tasks": {"family": None}}, 40, "of which no record says"),
        ({}, 39, "were tested on 40 and 39 tasks"),
        ({"loss": "huber"}, 40, "have other losses, mse and huber"),
        ({"training": {"stream": True}}, 40, "whose scores are not the same"),
    ],
)
def test_what_is_not_the_same_is_refused(runs, tmp_path, changes, tasks, words):
    other = run_folder(tmp_path / "other", scores(tasks=tasks), changes)
    with pytest.raises(mtnets.RunError, match=words) as refused:
        mtnets.compare(runs[0], other)
    assert str(refused.value).count("\n") == 0


def test_scores_that_are_not_the_same_are_refused(tmp_path):
    losses, accuracy = scores(), scores(1)
    config = {"metrics": {"accuracy": "accuracy", "mine": {"custom": "m.f"}}, "best": "accuracy"}
    by_loss = run_folder(tmp_path / "loss", losses, accuracy=accuracy)
    by_accuracy = run_folder(tmp_path / "accuracy", losses, config, "accuracy", accuracy=accuracy, mine=accuracy)
    with pytest.raises(mtnets.RunError, match="chose by loss and accuracy"):
        mtnets.compare(by_loss, by_accuracy)
    comparison = mtnets.compare(by_loss, by_accuracy, metric="accuracy")
    assert comparison.higher_is_better
    assert not comparison.beforehand
    assert "was chosen now" in comparison.conclusion
    with pytest.raises(mtnets.OptionError, match="choose among loss, accuracy"):
        mtnets.compare(by_loss, by_accuracy, metric="f1")
    with pytest.raises(mtnets.RunError, match="no record says whether higher is better"):
        mtnets.compare(by_accuracy, by_accuracy, metric="mine")


def test_one_side_holds_one_setting(runs, tmp_path):
    with pytest.raises(mtnets.RunError, match="differ in more than their seeds"):
        mtnets.compare(runs, runs[0])
    with pytest.raises(mtnets.RunError, match="Seed 0 is there twice"):
        mtnets.compare([runs[0], runs[0]], runs[1])
    with pytest.raises(mtnets.OptionError, match="No run is named"):
        mtnets.compare([], runs[1])
    (tmp_path / "deep").mkdir()
    with pytest.raises(mtnets.RunError, match="There is no run in"):
        mtnets.compare(tmp_path / "deep", runs[1])


def test_files_that_are_damaged(runs, tmp_path):
    run = run_folder(tmp_path / "damaged", scores())
    (run / "scores.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(mtnets.RunError, match="is damaged or not that of a run"):
        mtnets.compare(run, runs[0])
    np.savez(run / "scores.npz", scores=np.zeros(3), losses=np.zeros(3))
    with pytest.raises(mtnets.RunError, match="does not hold scores"):
        mtnets.compare(run, runs[0])
    (run / "result.json").unlink()
    with pytest.raises(mtnets.RunError, match="has not ended"):
        mtnets.compare(run, runs[0])


def test_on_the_command_line(runs, tmp_path, capsys):
    picture = tmp_path / "comparison.png"
    assert main(["compare", str(runs[0]), str(runs[1]), "--plot", str(picture)]) == 0
    assert "mt_net is better than maml" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["compare", str(runs[0]), str(runs[1]), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["other_better_by"]["side"] == 1
    assert [step["step"] for step in record["steps"]] == [0, 1]
    assert main(["compare", str(runs[0]), str(tmp_path)]) == 1
    assert "There is no run in" in capsys.readouterr().err
