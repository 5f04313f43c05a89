"""The documentation as a site: its pages are reached, its reference is whole, its notebooks are clean.

`make docs` builds it, with warnings as errors, and runs the notebooks.
"""

import json
import re
from pathlib import Path

import pytest

import mtnets
from mtnets.inner import losses
from mtnets.networks import models

DOCS = Path(__file__).parents[1] / "docs"
API = "\n".join(path.read_text("utf-8") for path in sorted((DOCS / "api").glob("*.md")))
DOCUMENTED = set(re.findall(r"^\.\. (?:auto\w+|py:data):: (\S+)", API, re.M))
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
NAMESPACES = {"loggers", "losses", "metrics", "models", "tasks"}


def test_every_page_is_reached() -> None:
    pages = {path.relative_to(DOCS).with_suffix("") for kind in ("md", "ipynb") for path in DOCS.rglob(f"*.{kind}")}
    pages = {page for page in pages if page.parts[0] != "_build"}
    reached = {Path("index")}
    for page in sorted(pages):
        text = (DOCS / page).with_suffix(".md")
        trees = re.findall(r"```{toctree}\n(.*?)```", text.read_text("utf-8"), re.S) if text.exists() else []
        names = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
        reached |= {page.parent / name for name in names}
    assert reached == pages


@pytest.mark.parametrize("name", sorted(set(mtnets.__all__) - NAMESPACES - set(mtnets.METHODS)))
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert f"mtnets.{name}" in DOCUMENTED
    thing = getattr(mtnets, name)
    assert isinstance(thing, dict) or thing.__doc__


def test_so_is_what_the_namespaces_hold() -> None:
    methods = {f"mtnets.inner.methods.{kind.__name__}" for kind in mtnets.METHODS.values()}
    shipped = {f"mtnets.losses.{loss.__name__}" for loss in losses.LOSSES.values()}
    builders = {f"mtnets.tasks.{name}" for name in mtnets.tasks.__all__ if name in mtnets.tasks.FAMILIES}
    networks = {f"mtnets.models.{name}" for name in ("mlp", "conv4", "register")}
    assert hasattr(models, "register")
    assert methods | shipped | builders | networks <= DOCUMENTED


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_as_they_were_written(path: Path) -> None:
    """Without outputs, so that they run whenever the site is built; with the badge that opens this very file."""
    notebook = json.loads(path.read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert f"/blob/main/docs/notebooks/{path.name}" in "".join(notebook["cells"][0]["source"])
    for cell in code[1:]:
        compile("".join(cell["source"]), str(path), "exec")
