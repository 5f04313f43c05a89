"""The code in the documentation runs."""

import re
from pathlib import Path

import pytest

from mtnets import METHODS

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
