"""Files that are either there whole or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mtnets.errors import RunError
from mtnets.files import finite, read, read_json, remove_abandoned, replacing, write_json


def test_a_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "file"
    with replacing(path) as file:
        file.write(b"whole")
        assert not path.exists()
        remove_abandoned(path.parent)  # which it is not
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows syncs no folders")
def test_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before it takes its place, and the folder after it."""
    calls, sync, rename = [], os.fsync, os.replace

    def note_sync(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def note_rename(*paths: str) -> None:
        calls.append("rename")
        rename(*paths)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    write_json(tmp_path / "file", {})
    assert calls == ["file", "rename", "folder"]


def test_json_holds_finite_numbers(tmp_path: Path) -> None:
    values = {"a": [1.5, float("nan")], "b": (float("inf"), {"c": 2})}
    write_json(tmp_path / "file.json", finite(values))
    assert read_json(tmp_path / "file.json") == {"a": [1.5, None], "b": [None, {"c": 2}]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "other.json", values)
    assert not (tmp_path / "other.json").exists()


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in ((tmp_path, "is a folder; name a file in it"), (tmp_path / "file" / "a" / "b", "is a file")):
        with pytest.raises(RunError, match=words):
            write_json(path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_is_as_private_as_the_user_asks(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "file", {})
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from mtnets.files import replacing\n"
        "with replacing(sys.argv[1]) as file: file.write(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in ("file", "other"):
        subprocess.run([sys.executable, "-c", code, tmp_path / name], check=False)
    assert len(list(tmp_path.glob(".*.tmp"))) == 2
    write_json(tmp_path / "file", {})
    assert [path.name.split(".")[1] for path in tmp_path.glob(".*.tmp")] == ["other"]
    remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interruption_after_the_file_took_its_place_is_that_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*paths: str) -> None:
        rename(*paths)
        raise KeyboardInterrupt

    rename = os.replace
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_json(tmp_path / "file", {})
    assert read_json(tmp_path / "file") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": 1,', "Expecting"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": 1, "checksum": "sha256:0"}', "checksum is not that of its contents"),
    ],
)
def test_json_that_is_damaged_is_refused(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "file").write_bytes(text)
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / "file")


def test_every_flipped_bit_of_a_json_file_is_noticed(tmp_path: Path) -> None:
    path, value = tmp_path / "file", {"a": [1.5, 2], "name": "sine", "b": {"c": None}}
    write_json(path, value)
    whole, silent = path.read_bytes(), []
    for i in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[i // 8] ^= 1 << i % 8
        path.write_bytes(damaged)
        try:
            read = read_json(path)
        except ValueError:
            continue
        if read != value and value.items() <= read.items():  # the word checksum itself: a name that nobody asks for
            continue
        silent += [read] if read != value else []
    assert not silent


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless", "."):
        with pytest.raises(ValueError, match="a pipe or a device, not a file"):
            read(tmp_path / name)


def test_files_larger_than_expected_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(11))
    with pytest.raises(ValueError, match="it has 11 bytes, and at most 10 are read"):
        read(tmp_path / "file", 10)
