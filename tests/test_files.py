"""Files that are either there whole or not at all."""

import json
from pathlib import Path

import pytest

from mtnets.errors import RunError
from mtnets.files import finite, replacing, write_json


def test_a_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "file"
    with replacing(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with replacing(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_json_holds_finite_numbers(tmp_path: Path) -> None:
    values = {"a": [1.5, float("nan")], "b": (float("inf"), {"c": 2})}
    write_json(tmp_path / "file.json", finite(values))
    assert json.loads((tmp_path / "file.json").read_text()) == {"a": [1.5, None], "b": [None, {"c": 2}]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "other.json", values)
    assert not (tmp_path / "other.json").exists()


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in ((tmp_path, "is a folder; name a file in it"), (tmp_path / "file" / "a" / "b", "is a file")):
        with pytest.raises(RunError, match=words):
            write_json(path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
