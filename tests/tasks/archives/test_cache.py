"""Arrays in a cache folder."""

from pathlib import Path

import numpy as np
import pytest

from mtnets.errors import DataError, OptionError
from mtnets.tasks.archives import cache_folder, data_root
from mtnets.tasks.archives.cache import cached

ARRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_an_array_is_made_once_and_again_where_it_is_damaged(tmp_path: Path) -> None:
    calls: list[int] = []

    def make():
        calls.append(1)
        return ARRAY, [("a", 3)]

    for _ in range(2):
        array, notes = cached(tmp_path / "cache", "name", make)
        np.testing.assert_array_equal(array, ARRAY)
        assert notes == [["a", 3]]  # as JSON has it, the first time too
    assert len(calls) == 1
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (10**13,), }".ljust(118)
    lying = np.lib.format.magic(1, 0) + b"\x76\0" + header
    open_bracket = np.lib.format.magic(1, 0) + b"\x76\0" + b"{'descr': '|u1', 'shape': (3,".ljust(118)  # a TokenError
    notes_of_another = (tmp_path / "cache" / "name.json").read_bytes().replace(b'"a"', b'"b"')
    damages = (
        ("name.npy", b"damaged"),
        ("name.json", b"{}"),
        ("name.npy", lying),
        ("name.npy", open_bracket),
        ("name.json", notes_of_another),
    )
    for file, content in damages:
        (tmp_path / "cache" / file).write_bytes(content)
        np.testing.assert_array_equal(cached(tmp_path / "cache", "name", make)[0], ARRAY)
    assert len(calls) == 1 + len(damages)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["name.json", "name.npy"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cache folder .* cannot be written.*MTNETS_CACHE"):
        cached(tmp_path / "file", "name", lambda: (ARRAY, []))


def test_where_data_and_cache_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MTNETS_DATA", raising=False)
    assert (data_root("here"), data_root()) == (Path("here"), Path("data"))
    monkeypatch.setenv("MTNETS_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("MTNETS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert (cache_folder("there"), cache_folder()) == (Path("there"), tmp_path / "mtnets")


def test_a_folder_of_nobody_is_named(monkeypatch) -> None:
    monkeypatch.setenv("MTNETS_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(OptionError, match=r"The cache folder ~nobody-of-this-name/x .*set MTNETS_CACHE"):
        cache_folder()
