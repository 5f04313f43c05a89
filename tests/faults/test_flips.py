"""A flipped bit in a file is noticed when the file is read."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import mtnets
from mtnets.learner.tensors import read_tensors
from mtnets.shipped import learners
from tests.faults.flips import files, unnoticed


@pytest.mark.slow
def test_learners_adapted_models_and_task_files(tmp_path: Path) -> None:
    """A sample; `python -m tests.faults.flips` flips all."""
    for path, read in files(tmp_path).values():
        read(path)
        bits = np.random.default_rng(0).integers(8 * path.stat().st_size, size=400)
        assert not list(unnoticed(path, read, map(int, bits)))


@pytest.mark.parametrize("name", learners.names())
def test_learners_that_ship(name: str, tmp_path: Path) -> None:
    path = tmp_path / "learner.safetensors"
    shutil.copy(learners.path(name) / path.name, path)
    bits = np.random.default_rng(0).integers(8 * path.stat().st_size, size=10)
    assert not list(unnoticed(path, read_tensors, map(int, bits)))


def test_files_of_version_0_1_have_none(tmp_path: Path) -> None:
    """One that is not of version 0.1 must have a checksum."""
    path = tmp_path / "learner.safetensors"
    shutil.copy(Path(__file__).parents[1] / "golden" / "0.1" / "learners" / "maml" / path.name, path)
    read_tensors(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(rb"\"format\": 1", rb"\"format\": 2"))
    assert path.read_bytes() != content
    with pytest.raises(mtnets.RunError, match="its checksum is not that of its contents"):
        read_tensors(path)
