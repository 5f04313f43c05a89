"""`mtnets new`: a configuration with every option, which `train --config` reads."""

import dataclasses
from pathlib import Path

import pytest

from mtnets.cli import main
from mtnets.cli.configuration import read_config
from mtnets.cli.new import configuration
from mtnets.cli.options import CriterionOptions, training_options
from mtnets.errors import OptionError
from mtnets.inner import ESTIMATORS, METHODS
from mtnets.outer import Training
from mtnets.tasks import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_it_holds_every_option_with_its_default_and_its_meaning(family: str, tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    path.write_text(text := configuration(family, "mt_net"))
    read, kind = read_config(family, str(path)), FAMILIES[family]
    required = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    assert read.tasks == kind(**{name: name.upper() for name in required})
    assert read.method == METHODS["mt_net"]()
    settings = training_options()(**read.training)
    assert dataclasses.asdict(settings) == dataclasses.asdict(type(settings)())
    assert read.criterion == CriterionOptions()
    lines = [line.strip() for line in text.splitlines()]
    for option in (*dataclasses.fields(kind), *dataclasses.fields(Training), *dataclasses.fields(CriterionOptions)):
        places = [i for i, line in enumerate(lines) if line.removeprefix("// ").startswith(f'"{option.name}": ')]
        assert places, option.name
        assert lines[places[0] - 1].startswith("// "), option.name  # what it means
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("method", METHODS)
def test_any_method(method: str, tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    path.write_text(configuration("sinusoid", method))
    assert read_config("sinusoid", str(path)).method == METHODS[method]()


def test_another_estimator(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    path.write_text(configuration("sinusoid", "maml", "truncated"))
    assert read_config("sinusoid", str(path)).method.estimator == ESTIMATORS["truncated"]()


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "my.json"
    assert main(["new", "sinusoid", "--method", "maml"]) == 0
    printed = capsys.readouterr().out
    assert main(["new", "sinusoid", "--method", "maml", "--out", str(path)]) == 0
    assert f"mtnets train sinusoid --config {path}" in capsys.readouterr().out
    told, written = ([line for line in text.splitlines() if '"' in line] for text in (printed, path.read_text()))
    assert told == written
    for args, status, words in (
        (["sinusoid", "--out", str(path)], 1, "my.json is there already; remove it, or name another file"),
        (["sinusoid", "--method", "mamll"], 2, "perhaps 'maml' is meant"),
        (["sinus"], 2, "perhaps 'sinusoid' is meant"),
    ):
        assert main(["new", *args]) == status
        assert words in capsys.readouterr().err


def test_errors_count_lines_with_those_of_comments(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    path.write_text('// one\n{\n  // three\n  "tasks": {"family": "sinusoid"\n  "method": {}\n}\n')
    with pytest.raises(OptionError, match=r"holds no JSON: .*: line 5 column 3"):
        read_config("sinusoid", str(path))
