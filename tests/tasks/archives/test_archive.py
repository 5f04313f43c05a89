"""Folders and zip archives, read alike."""

from pathlib import Path

import pytest

from mtnets.errors import DataError
from mtnets.tasks.archives.archive import open_archive

FILES = {"b/2.png": b"two" * 100, "a/1.png": b"one" * 100, ".hidden": b"", "__MACOSX/a/1.png": b"", "a/.b/3.png": b""}


@pytest.mark.parametrize("name", ["data", "data.zip"])
def test_files_in_order_without_hidden_ones(write, name: str) -> None:
    root = write(name, FILES)
    with open_archive(root) as archive:
        assert archive.path == root
        assert archive.names == ("a/1.png", "b/2.png")
        assert archive.read("b/2.png") == FILES["b/2.png"]
        before = archive.fingerprint
    with open_archive(root) as again:
        assert again.fingerprint == before
    write(name, FILES | {"b/2.png": b"other"})
    with open_archive(root) as changed:
        assert changed.fingerprint != before


def test_a_link_that_leads_back_up_is_followed_once(write) -> None:
    root = write("data", {"a/1.png": b"one"})
    (root / "a" / "up").symlink_to(root)
    with open_archive(root) as archive:
        assert "a/1.png" in archive.names


def test_paths_that_are_neither_folder_nor_archive(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK not a zip")
    for name, words in (
        ("nothing", "does not exist; expected a folder or a zip archive"),
        ("broken.zip", r"Archive .*broken\.zip cannot be read.*fetch it again"),
    ):
        with pytest.raises(DataError, match=words), open_archive(tmp_path / name):
            pass


@pytest.mark.parametrize("entry", ["../outside.png", "/etc/outside.png", "a/../../b.png", "..\\b.png", "C:\\b.png"])
def test_an_entry_that_points_outside(write, entry: str) -> None:
    root = write("data.zip", FILES | {entry: b""})
    with pytest.raises(DataError, match="points outside of it"), open_archive(root):
        pass


def test_a_damaged_archive(write) -> None:
    root = write("data.zip", FILES)
    content = bytearray(root.read_bytes())
    content[100] ^= 0xFF  # within the first file
    root.write_bytes(content)
    with open_archive(root) as archive, pytest.raises(DataError, match=r"data\.zip is damaged at b/2\.png.*fetch it"):
        archive.read("b/2.png")
