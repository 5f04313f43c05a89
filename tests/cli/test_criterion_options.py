"""Losses and metrics on the command line: recorded, resumed and repeated like other options, and listed."""

import json

import pytest

import mtnets
from mtnets.cli import main
from mtnets.files import read_json, write_json

SMALL = ["--hidden", "6", "--shots", "3", "--meta-steps", "2", "--meta-batch", "2", "--validation-tasks", "2"]
SMALL += ["--test-tasks", "4", "--quiet"]
CHOICES = ["--loss", "huber(delta=2.0)", "--inner-loss", "mse", "--metrics", "mae", "r2", "--best", "r2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("criterion") / "run"
    assert main(["train", "sinusoid", *CHOICES, "--out", str(out), *SMALL]) == 0
    return out


def sentence(capsys, *args) -> str:
    assert main([str(arg) for arg in args]) in (1, 2)
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    return captured.err


def test_they_reach_the_training_and_are_recorded(run) -> None:
    config, learner = read_json(run / "config.json"), mtnets.load(run)
    assert config["loss"] == {"name": "huber", "delta": 2.0}
    assert (config["inner_loss"], config["metrics"], config["best"]) == ("mse", {"mae": "mae", "r2": "r2"}, "r2")
    assert learner.loss == mtnets.losses.Huber(delta=2.0)
    assert learner.criterion.inner_loss == mtnets.losses.Squared()
    assert read_json(run / "result.json")["test"]["metric"] == "r2"


def test_a_run_goes_on_with_the_same_alone(run, capsys) -> None:
    assert main(["train", "sinusoid", *CHOICES, "--out", str(run), *SMALL, "--resume"]) == 0
    others = {"--loss": ("huber", "loss = huber(delta=2.0) and this one huber"), "--best": ("mae", "best = r2")}
    for flag, (value, words) in others.items():
        said = sentence(capsys, "train", "sinusoid", *CHOICES, flag, value, "--out", run, *SMALL, "--resume")
        assert words in said


@pytest.mark.slow
def test_a_configuration_holds_them(run, tmp_path) -> None:
    config = ["--config", str(run / "config.json"), "--quiet"]
    assert main(["train", "sinusoid", *config, "--out", str(tmp_path / "again")]) == 0
    first, again = (read_json(folder / "config.json") for folder in (run, tmp_path / "again"))
    assert first | {"run": ""} == again | {"run": ""}
    assert (
        main(
            ["train", "sinusoid", *config, "--loss", "mae", "--metrics", "--best", "loss", "--out", str(tmp_path / "b")]
        )
        == 0
    )
    other = read_json(tmp_path / "b" / "config.json")
    assert (other["loss"], other["inner_loss"]) == ("mae", "mse")
    assert "metrics" not in other  # none are what a loss of numbers has by itself


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "outputs"), [("gaussian", 2), ("quantile(levels=(0.1, 0.5, 0.7, 0.9))", 4)])
def test_the_usual_network_has_the_outputs_that_a_loss_takes(loss, outputs, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    metrics = ["--metrics", "mae", "coverage", "width"]
    assert main(["train", "sinusoid", "--loss", loss, *metrics, "--out", str(out), *SMALL]) == 0
    assert mtnets.load(out).outputs == outputs
    capsys.readouterr()
    assert main(["evaluate", str(out), "--tasks", "4", "--metrics", "r2", "width", "--json"]) == 0
    estimate = json.loads(capsys.readouterr().out)
    assert estimate["metric"] == "r2"
    assert estimate["metrics"].keys() == {"width"}
    assert (
        main(["train", "sinusoid", "--config", str(out / "config.json"), "--quiet", "--out", str(out / "again")]) == 0
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--loss", "hubr"], "There is no loss 'hubr'; perhaps 'huber' is meant; choose one of mse, mae, huber"),
        (["--loss", "x"], "There is no loss 'x'; choose one of mse, mae, huber"),
        (["--loss", "huber(dleta=2)"], "The loss huber has no option 'dleta'; perhaps 'delta' is meant"),
        (["--loss", "mse(delta=2)"], "The loss mse has no option 'delta'; it has none."),
        (["--loss", "huber(2)"], "The loss 'huber(2)' cannot be read; write its options as name=value"),
        (["--loss", "huber(delta=1)(delta=2)"], "cannot be read"),
        (["--loss", "huber(delta=1, delta=2)"], "cannot be read"),
        (["--loss", "huber(delta=__import__('os'))"], "cannot be read"),
        (["--loss", "huber(delta=1) or huber()"], "cannot be read"),
        (["--loss", "huber(delta=-1.0)"], "delta is -1.0; it must be above 0"),
        (["--loss", "huber(delta='a')"], "delta is 'a'; it must be a number"),
        (["--inner-loss", "hubre"], "There is no loss 'hubre'; perhaps 'huber' is meant"),
        (["--metrics", "r22"], "There is no metric 'r22'; perhaps 'r2' is meant"),
        (["--metrics", "accuracy"], "The metric 'accuracy' is of labels, and the loss mse of numbers; choose"),
        (["--metrics", "mae", "--best", "r2"], "--best is 'r2'; it must be one of loss, mae"),
        (["--loss", "cross-entropy"], "have targets [10, 1] of float32"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(arguments, words, capsys, tmp_path) -> None:
    assert words in sentence(capsys, "train", "sinusoid", *arguments, "--out", tmp_path / "run", "--quiet")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": {"custom": "a:b"}}, "of a run with a loss of its own, which only Python can repeat"),
        ({"inner_loss": {"custom": None}}, "of a run with a loss of its own"),
        ({"metrics": {"mine": {"custom": None}}}, "of a run with a metric of its own, 'mine'"),
        ({"metrics": {"error": "mae"}}, "of a run with a metric of its own, 'error'"),
        ({"metrics": ["mae"]}, "metrics is ['mae']; it must be of type Mapping or None"),
        ({"best": 3}, "best is 3; it must be text or None"),
        ({"loss": "msee"}, "There is no loss 'msee'"),
    ],
)
def test_a_configuration_of_others_is_refused(changes, words, run, capsys, tmp_path) -> None:
    write_json(tmp_path / "config.json", read_json(run / "config.json") | changes)
    said = sentence(capsys, "train", "sinusoid", "--config", tmp_path / "config.json", "--out", tmp_path / "run")
    assert "cannot be repeated" in said
    assert words in said


def test_evaluate_refuses_metrics_that_mean_nothing(run, capsys) -> None:
    assert "There is no metric 'auroq'; perhaps 'auroc' is meant" in sentence(
        capsys, "evaluate", run, "--metrics", "auroq"
    )
    assert "The metric 'f1' is of labels" in sentence(capsys, "evaluate", run, "--metrics", "f1")


def test_losses_are_listed(capsys) -> None:
    assert main(["losses"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in (*mtnets.LOSSES, *mtnets.METRICS))
    assert ", ;" not in listed
    assert main(["losses", "--json"]) == 0
    lists = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in lists["losses"]] == list(mtnets.LOSSES)
    assert all(entry["about"] and entry["targets"] for entries in lists.values() for entry in entries)
