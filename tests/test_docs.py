"""The code in the documentation runs."""

import re
from pathlib import Path

import pytest

from mtnets import METHODS
from mtnets.reproduce import Report

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", ["add-a-method.md"])
def test_code_of_a_page_runs(page: str, capsys) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    assert len(blocks) == 3
    known, names = set(METHODS), {}
    try:
        for block in blocks:
            exec(compile(block, page, "exec"), names)
        assert set(METHODS) - known == {"fading_t_net"}
    finally:
        for name in set(METHODS) - known:
            del METHODS[name]
    printed = capsys.readouterr().out
    assert "loss on 100 tasks" in printed
    assert "Finite differences confirm the exact meta-gradient" in printed


def test_the_method_of_the_page_has_at_most_20_lines() -> None:
    code = re.search(r"^def fading_rates.*?(?=^```)", (DOCS / "add-a-method.md").read_text(), re.M | re.S)
    assert code
    assert len([line for line in code[0].splitlines() if line.strip()]) <= 20


def test_the_page_of_results_is_what_the_results_say(tmp_path, capsys) -> None:
    """`mtnets reproduce report` was run after the last change of a JSON or a note."""
    Report(results=str(DOCS.parent / "results" / "reproduce"), out=str(tmp_path))()
    assert (tmp_path / "results.md").read_text("utf-8") == (DOCS / "results.md").read_text("utf-8")
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert figures == {path.name for path in (DOCS / "figures").iterdir()}
    capsys.readouterr()
