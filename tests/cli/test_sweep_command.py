"""`mtnets sweep`, once; and what is not possible."""

from pathlib import Path

import pytest

from mtnets.cli import main
from mtnets.cli.parsing import values_of
from mtnets.files import read_json

SMALL = ["--shots", "2", "--hidden", "4", "--meta-steps", "4", "--meta-batch", "2", "--validation-tasks", "2"]
SMALL += ["--test-tasks", "2", "--quiet"]


def test_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["sweep", "sinusoid", "--methods", "maml", "--seeds", "0", "--vary", "inner-lr=0.01,0.1", *SMALL]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "maml inner-lr 0.1" in printed
    assert "was chosen by its loss on validation tasks" in printed
    assert f"written to {tmp_path}" in printed
    assert len(read_json(tmp_path / "sweep.json")["settings"]) == 2
    config = read_json(tmp_path / "maml-inner-lr-0.1" / "seed-0" / "config.json")
    assert (config["method"]["name"], config["training"]["meta_batch"]) == ("maml", 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name a family of tasks: mtnets sweep glyphs |"),
        (["sine"], "There is no family of tasks 'sine'; perhaps 'sinusoid' is meant; name one: mtnets sweep"),
        (["sinusoid", "--methods", "mamml"], "There is no method 'mamml'"),
        (["sinusoid", "--methods", "maml", "maml"], "--methods is maml, maml, with maml twice"),
        (["sinusoid", "--methods", "maml", "mt-net", "--mask", "mean"], "--mask"),
        (["sinusoid", "--vary", "inner-lr"], "--vary is 'inner-lr'; it must be NAME=VALUE"),
        (["sinusoid", "--vary", "inner-rl=1,2"], "inner_rl cannot be varied"),
        (["sinusoid", "--vary", "meta-lr=a,b"], "--meta-lr is 'a'; it must be a number"),
        (["sinusoid", "--meta-lr", "0.1", "--vary", "meta-lr=1,2"], "--meta-lr is 0.1 and varied too"),
        (["sinusoid", "--inner-lr", "0.1", "--vary", "inner-lr=1,2"], "--inner-lr is 0.1 and varied too"),
        (["sinusoid", "--seed", "1"], "--seed"),
        (["sinusoid", "--seeds", "1", "1"], "--seeds is [1, 1], with 1 twice"),
    ],
)
def test_what_is_not_possible_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = ["--out", str(tmp_path / "none")] if len(arguments) > 1 else []
    assert main(["sweep", *arguments, *out]) in (1, 2)
    captured = capsys.readouterr()
    assert words in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_values_of_a_flag() -> None:
    assert values_of(["a", "--methods", "b", "c", "--seeds", "1", "--methods=d"], "methods") == ["b", "c", "d"]
    assert values_of(["--seeds", "1"], "methods") == []
