"""Imports within `mtnets.tasks` go one way, and no public function hides a module."""

import ast
import importlib.util
import inspect
from pathlib import Path

import pytest

from mtnets import tasks

ROOT = Path(tasks.__file__).parent
FLOORS = ("archives", "inputs", "family", "sampling", "families", "records")  # from the bottom to the top
BELOW = {"errors", "arguments", "files", "compat", "raw_arrays", "trees", "devices", "precision", "serialisation"}
BELOW |= {"named", "networks"}
OF_INNER = {f"mtnets.inner.{name}" for name in ("task", "objective", "losses", "criterion")}
FILES = sorted(ROOT.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, inside functions too."""
    tree = ast.parse(path.read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name for name in names if name.startswith("mtnets.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    floor = FLOORS.index(room) if room in FLOORS else len(FLOORS)
    for name in imported(path):
        parts = name.split(".")
        if parts[1] == "tasks":
            assert FLOORS.index(parts[2]) <= floor, name
        else:
            assert parts[1] in BELOW or name in OF_INNER, name


def test_functions_hide_no_module() -> None:
    functions = [name for name in tasks.__all__ if inspect.isfunction(getattr(tasks, name))]
    assert {"arrays", "folder", "mixture", "sinusoid", "table"} <= set(functions)
    for name in functions:
        assert importlib.util.find_spec(f"mtnets.tasks.{name}") is None
