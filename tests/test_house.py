"""The house: imports go one way, from room to room and within each."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "mtnets"
# From the ground up: a room imports from those before it alone.
BASE = ["errors", "stopping", "compat", "forks", "arguments", "named", "compilation", "files", "arrays", "raw_arrays"]
BASE += ["trees", "endings", "processes", "devices", "memory", "precision", "serialisation"]
FLOORS = [*BASE, "networks", "inner", "tasks", "shipped", "learner", "outer", "analysis", "sweeps", "reports"]
FLOORS += ["interop", "sklearn", "serving", "", "cli", "__main__"]  # "" is the package's top
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__").removesuffix("__init__"): path
    for path in SOURCE.rglob("*.py")
}


def imported(module: str) -> Iterator[tuple[str, bool]]:
    """The modules that one imports, and whether only type checkers do."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    for_checkers = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "mtnets":
            base = (node.module or "").removeprefix("mtnets").removeprefix(".")
            for name in node.names:
                whole = f"{base}.{name.name}".strip(".")
                yield (whole if whole in MODULES else base), node in for_checkers
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.partition(".")[0] == "mtnets":
                    yield name.name.removeprefix("mtnets").removeprefix("."), node in for_checkers


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    floor = FLOORS.index(module.partition(".")[0])
    for other, for_checkers in imported(module):
        below = FLOORS.index(other.partition(".")[0])
        assert below <= floor, f"{module} imports {other}, which stands above it"
        assert below < floor or not for_checkers or module.partition(".")[0] == other.partition(".")[0]


def test_no_circle() -> None:
    """Within a room too; what only type checkers import does not count there."""
    graph = {
        module: {other for other, for_checkers in imported(module) if not for_checkers and other != module}
        for module in MODULES
    }
    # a package's door opens onto its modules, which do not import from their own door
    list(graphlib.TopologicalSorter(graph).static_order())


def test_every_module_is_in_a_room() -> None:
    assert {module.partition(".")[0] for module in MODULES} == set(FLOORS)
