"""Small archives and folders in the layouts of real data, and real data where they are."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes files (bytes by name) into a folder, or into a zip archive if its name says so."""

    def write(name: str, files: dict[str, bytes]) -> Path:
        root = tmp_path / name
        root.parent.mkdir(parents=True, exist_ok=True)
        if root.suffix == ".zip":
            with zipfile.ZipFile(root, "w") as archive:
                for file, content in files.items():
                    archive.writestr(file, content)
        else:
            for file, content in files.items():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_bytes(content)
        return root

    return write


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTNETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """The folder of real data if it has this file; skips the test otherwise."""
    here = Path(__file__).parents[2]
    root = Path(os.environ.get("MTNETS_DATA") or here.parent / "shared" / "data")

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"{name} is not in {root} (set MTNETS_DATA to the folder that has it)")
        return root

    return find
