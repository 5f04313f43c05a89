"""Folders and zip archives, read alike."""

import os
import tracemalloc
import zipfile
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


def test_what_is_no_file_is_left_out_with_a_warning(write) -> None:
    """A named pipe would wait for ever, an endless device fill the memory."""
    root = write("data", {"a/1.png": b"one"})
    os.mkfifo(root / "a" / "pipe.png")
    (root / "a" / "endless.png").symlink_to("/dev/zero")
    (root / "a" / "nowhere.png").symlink_to("gone")
    (root / "a" / "itself.png").symlink_to("itself.png")
    (root / "a" / ".hidden.png").symlink_to("gone")
    with pytest.warns(UserWarning, match=r"is a broken link, a pipe or a device, and 3 more are such; it is left out"):
        archive = open_archive(root).__enter__()
    assert archive.names == ("a/1.png",)
    (root / "a" / "1.png").unlink()
    os.mkfifo(root / "a" / "1.png")
    with pytest.raises(DataError, match="cannot be read: it is a folder, a pipe or a device"):
        archive.read("a/1.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(write) -> None:
    root = write("data", {"a/1.png": b"one"})
    (root / "a").chmod(0)
    with pytest.raises(DataError, match=r"Folder .*a cannot be read: Permission denied"), open_archive(root):
        pass
    (root / "a").chmod(0o700)


def zipped(path: Path, content: bytes, kind: int = zipfile.ZIP_DEFLATED, copies: int = 1) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for number in range(copies):
            archive.writestr(f"{number}.png", content)
    return path


def test_small_archives_of_large_files(tmp_path: Path) -> None:
    """Nothing is unpacked to more than a hundred times its size, unless it is small."""
    words = r"0\.png, of 6\d+ bytes, unpacks to 68157440; more than 100 times"
    with open_archive(zipped(tmp_path / "one.zip", bytes(65 << 20))) as one, pytest.raises(DataError, match=words):
        one.read("0.png")
    many = zipped(tmp_path / "many.zip", bytes(60 << 20), copies=18)
    with pytest.raises(DataError, match=r"its \d+ bytes unpack to 1132462080; more than 100 times"), open_archive(many):
        pass
    with open_archive(zipped(tmp_path / "small.zip", bytes(1 << 20))) as archive:
        assert archive.read("0.png") == bytes(1 << 20)


def test_an_archive_that_says_a_false_size(tmp_path: Path) -> None:
    """No more is unpacked than it says."""
    path = zipped(tmp_path / "false.zip", bytes(50 << 20))
    content = path.read_bytes()
    assert content.count((50 << 20).to_bytes(4, "little")) == 2
    path.write_bytes(content.replace((50 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    tracemalloc.start()
    with open_archive(path) as archive, pytest.raises(DataError, match=r"is damaged at 0\.png: Bad CRC"):
        archive.read("0.png")
    assert tracemalloc.get_traced_memory()[1] < 5 << 20
    tracemalloc.stop()


def test_other_compressions_are_refused(tmp_path: Path) -> None:
    """They unpack a few bytes to any number at once."""
    words = r"0\.png in a form that is not usual; pack it again, by deflate"
    path = zipped(tmp_path / "b.zip", b"one", zipfile.ZIP_BZIP2)
    with open_archive(path) as archive, pytest.raises(DataError, match=words):
        archive.read("0.png")


def test_an_entry_without_a_name_is_passed_over(tmp_path: Path) -> None:
    path = zipped(tmp_path / "nameless.zip", b"one")
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02") + 28  # lengths of name, extra field and comment: the name becomes the comment
    path.write_bytes(content[:place] + b"\0\0\0\0\5\0" + content[place + 6 :])
    with open_archive(path) as archive:
        assert archive.names == ()
