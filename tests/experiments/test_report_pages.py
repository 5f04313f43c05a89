"""The pages of docs/ are what the results say: the report was run after the last change of a JSON or a note."""

import shutil
from pathlib import Path

import pytest

from experiments.report import Report

ROOT = Path(__file__).parents[2]
PAGES = ("results.md", "methods-on-sine.md", "tabular.md")


@pytest.mark.slow
def test_pages_are_up_to_date(tmp_path) -> None:
    shutil.copy(ROOT / "docs" / "tabular.md", tmp_path)
    Report(results=str(ROOT / "results"), out=str(tmp_path))()
    for page in PAGES:
        assert (tmp_path / page).read_text("utf-8") == (ROOT / "docs" / page).read_text("utf-8")
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert figures == {path.name for path in (ROOT / "docs" / "figures").iterdir()}
