"""What the command line says of itself: overview, help, names that are nearly right, tables, pipes."""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len

from mtnets.cli import main, sweep, train
from mtnets.cli.choices import EXAMPLES, options_kind
from mtnets.cli.commands import FLAT
from mtnets.cli.entry import MAIN, PARSERS
from mtnets.cli.parsing import parsed
from mtnets.cli.tables import print_table
from mtnets.cli.train import what_next
from mtnets.tasks import AS_THEY_ARE, FAMILIES, Images


def helped(capsys: pytest.CaptureFixture, *args: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*args, "--help"])
    assert not stop.value.code
    return capsys.readouterr().out


def test_alone_it_shows_what_matters_with_examples(capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("    mtnets ")] == list(MAIN)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", PARSERS)
def test_help_ends_with_an_example(name: str, capsys: pytest.CaptureFixture) -> None:
    text = helped(capsys, name)
    assert text.rstrip().splitlines()[-1] == f"Example: {PARSERS[name].example}"
    assert PARSERS[name].example.startswith(f"mtnets {name} ")
    assert " STR\n" not in text.partition("options")[0]  # what stands without a flag is called what it is


@pytest.mark.parametrize(("command", "shown"), [("train", train.SHOWN), ("sweep", sweep.SHOWN)])
def test_help_shows_what_matters_and_help_all_the_rest(
    command: str, shown: Sequence[str], capsys: pytest.CaptureFixture
) -> None:
    short = helped(capsys, command, "sinusoid")
    assert len(short.splitlines()) < 90
    with pytest.raises(SystemExit):
        main([command, "sinusoid", "--help-all"])
    whole = capsys.readouterr().out
    for name in ("shots", *shown):
        assert f" --{name.replace('_', '-')} " in short
        assert f" --{name.replace('_', '-')} " in whole
    for name in ("hidden", "remat-every", "log-every", "deterministic"):
        assert f" --{name} " not in short
        assert f" --{name} " in whole


def test_help_tells_the_values_of_a_configuration(capsys: pytest.CaptureFixture) -> None:
    text = " ".join(helped(capsys, "train", "sinusoid", "--config", "sine-10shot-learner").replace("│", " ").split())
    assert re.search(r"--inner-steps \{None\}\|INT gradient steps [^-]*\(default: 5\)", text)
    assert "--hidden" not in text


@pytest.mark.parametrize("family", FAMILIES)
def test_the_example_of_a_family_is_one(family: str) -> None:
    """Its options exist, and none is missing."""
    kind, _ = options_kind(family, None, "mt_net", None)
    parsed(kind, args=EXAMPLES.get(family, "").split(), prog="p", example="", config=FLAT)


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["trian"], "'train'"),
        (["train", "Omniglott"], "'omniglot'"),
        (["sweep", "sine"], "'sinusoid'"),
        (["train", "sinusoid", "--method", "MAMML"], "'maml'"),
        (["train", "sinusoid", "--estimator", "exakt"], "'exact'"),
        (["train", "sinusoid", "--metod", "maml"], "--method"),
        (["train", "omniglot", "--config", "omniglot-20way-1shot"], "'omniglot-20way-1shot-best'"),
        (["summary", "sine-10-shot"], "'sine-10shot'"),
        (["evaluate", "run", "--task", "5"], "--tasks"),
        (["adapt", "run", "--suport", "a"], "--support"),
        (["report", "run", "--ot=page.html"], "--out"),
        (["serve", "--prt", "1"], "--port"),
        (["doctor", "run", "--skip_diferences"], "--skip-differences"),
        (["sweep", "sinusoid", "--vry", "a=1"], "--vary"),
        (["new", "sinusoid", "--metod", "maml"], "--method"),
        (["train", "sinusoid", "--cofig", "x"], "--config"),
    ],
)
def test_a_name_that_is_nearly_right(args: Sequence[str], meant: str, capsys: pytest.CaptureFixture) -> None:
    assert main(list(args)) == (1 if "summary" in args or "--config" in args else 2)
    error = capsys.readouterr().err
    assert f"perhaps {meant} is meant" in error
    assert "--help is meant" not in error


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_families_and_their_options(shell: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--tyro-print-completion", shell])
    assert not stop.value.code
    text = capsys.readouterr().out
    for word in (*PARSERS, *FAMILIES, "--meta-steps", "--task-column", "--support", "--vary"):
        assert f"'{word}'" in text
    assert "Example: mtnets" not in text


TITLES = ("name", "what it does", "numbers")
ROWS = [("first", "it does one thing, and another thing after that, until it ends", "1,000"), ("second", "", "7")]


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_tables_are_as_wide_as_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", str(width))
    with contextlib.redirect_stdout(Terminal()) as terminal:
        print_table(TITLES, ROWS, numbers=("numbers",))
    text = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())
    assert max(map(cell_len, text.splitlines())) <= width
    assert all(word in text for row in ROWS for cell in row for word in cell.split())


def test_a_pipe_gets_a_line_for_each_row(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_table(TITLES, [*ROWS, ("[third]", 300 * "x", "")], numbers=("numbers",))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "first", "second", "[third]"]
    assert lines[3].endswith(300 * "x")
    assert lines[0].rindex("numbers") + len("numbers") == lines[1].rindex("1,000") + len("1,000")


@pytest.mark.parametrize("args", [pytest.param(["recipes"], marks=pytest.mark.slow), ["summary", "--help"]])
def test_a_reader_that_leaves_ends_it_in_silence(args: Sequence[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from mtnets.cli import run; sys.exit(run())"
    with os.fdopen(writing, "wb") as pipe:
        ended = subprocess.run([sys.executable, "-c", code, *args], stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert ended.stderr == b""
    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("inputs", "adapt"),
    [
        (Images(28, 1), "mtnets adapt 'runs/my run' --support"),
        (AS_THEY_ARE, """python -c 'import mtnets; help(mtnets.load("runs/my run").adapt)'"""),
    ],
)
def test_after_a_training_the_next_commands_name_the_run(inputs: Any, adapt: str) -> None:
    evaluate, between, doctor = what_next(Path("runs/my run"), SimpleNamespace(inputs=inputs))  # type: ignore[arg-type]
    assert (evaluate, doctor) == ("mtnets evaluate 'runs/my run'", "mtnets doctor 'runs/my run'")
    assert between.startswith(adapt)


def test_an_error_about_class_folders_names_the_flag(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("a/1.png", "b/1.png", "c/1.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        (tmp_path / "images" / name).touch()
    assert main(["train", "folder", "--root", str(tmp_path / "images"), "--out", str(tmp_path / "run")]) == 1
    assert "or, as each folder is a class, give shares of them: --splits 0.6 0.2 0.2" in capsys.readouterr().err
