"""The benchmark of data larger than memory runs, in small."""

import json

import numpy as np
import pytest

from benchmarks import larger_than_memory


def test_files_and_labels(tmp_path) -> None:
    larger_than_memory.make(tmp_path / "images.bin", 3)
    images = larger_than_memory.images_in(tmp_path / "images.bin")
    assert images.shape == (3, 84, 84, 3)
    assert images.std() > 70  # of whole numbers from 0 to 255
    np.testing.assert_array_equal(larger_than_memory.labels(6, 3), [0, 0, 1, 1, 2, 2])


@pytest.mark.slow
def test_in_small(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(larger_than_memory, "NETWORKS", {"conv-4 of 2 filters": 2})
    out = tmp_path / "out.json"
    arguments = ["--gigabytes", "0.0115", "--classes", "32", "--folder", str(tmp_path), "--out", str(out)]
    larger_than_memory.main([*arguments, "--sources", "memory", "memmap", "--rounds", "1", "--seconds", "0.1"])
    result = json.loads(out.read_text("utf-8"))
    assert [row["source"] for row in result["rows"]] == ["memory", "memmap"]
    assert all(row["share"] > 0 for row in result["rows"])
    assert result["file_bytes"] == 32 * 16 * 84 * 84 * 3
    assert len(capsys.readouterr().out.splitlines()) == 2
