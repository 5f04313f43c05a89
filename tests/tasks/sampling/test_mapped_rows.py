"""Rows of a mapped file are announced to the system, page by page, and nothing else is."""

import mmap

import numpy as np
import pytest

from mtnets.tasks.sampling.mapped_rows import announce

ROW, ROWS = 3000, 20  # bytes of a row, which begins and ends within a page


class Recording(mmap.mmap):
    """A mapped file that notes what it is told."""

    said: list[tuple[int, int]]

    def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
        assert option == mmap.MADV_WILLNEED
        self.said.append((start, length))
        super().madvise(option, start, length)


@pytest.fixture
def file(tmp_path) -> Recording:
    path = tmp_path / "rows.bin"
    path.write_bytes(bytes(ROW * ROWS))
    with path.open("rb") as opened:
        recording = Recording(opened.fileno(), 0, access=mmap.ACCESS_READ)
    recording.said = []
    return recording


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="this system takes no advice on mapped files")
@pytest.mark.parametrize("offset", [0, 7], ids=["all", "a view from row 7 on"])
def test_the_pages_of_each_row(file, offset) -> None:
    array = np.ndarray((ROWS, ROW), np.uint8, file)[offset:]
    announce(array, np.array([0, 4, ROWS - offset - 1]))
    for (start, length), row in zip(file.said, (offset, offset + 4, ROWS - 1), strict=True):
        assert start % mmap.PAGESIZE == 0
        assert start <= row * ROW < start + mmap.PAGESIZE
        assert start + length == (row + 1) * ROW


def test_nothing_of_other_arrays(file) -> None:
    mapped = np.ndarray((ROWS, ROW), np.uint8, file)
    for array in (np.zeros((4, 5)), mapped[::2], mapped[:, 1:], mapped[[1, 2]], [[1.0], [2.0]]):
        announce(array, np.array([0, 1]))
    assert file.said == []
