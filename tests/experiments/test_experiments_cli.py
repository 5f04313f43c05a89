"""The list of experiments, and errors of the command line."""

import pytest

from experiments.__main__ import EXPERIMENTS, main


def test_without_a_name_experiments_are_listed(capsys) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS)
    assert all(len(line.split()) > 4 for line in lines)  # a name and a sentence


def test_an_unknown_name(capsys) -> None:
    assert main(["cosine"]) == 1
    assert capsys.readouterr().err.startswith(
        "experiments: There is no experiment 'cosine'; perhaps 'sine' is meant; there are sine, "
    )


def test_errors_are_one_sentence(tmp_path, capsys) -> None:
    assert main(["sine", "--seeds", "0", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "experiments: seeds is 0; it must be at least 1.\n"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help(name, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m experiments {name}" in shown
    assert "--out" in shown
