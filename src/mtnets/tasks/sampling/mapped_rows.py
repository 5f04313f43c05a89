"""Rows of a file that is mapped into memory, announced to the system before they are read.

A page that is not in memory yet is read when it is touched, one after another, with its neighbours, which random rows
do not need. Announced, all pages of all rows are read at the same time and nothing else is: hundreds of rows from a
disk in the time of a few.
"""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def announce(array: Any, rows: NDArray[np.integer]) -> None:
    """Tells the system that these rows of an array `[rows, ...]` are read next. Without effect unless the array lies
    in a mapped file, such as a `numpy.memmap`, row after row, and the system takes such advice (Windows does not)."""
    file = _file_of(array)
    if file is None or not array.flags.c_contiguous or not hasattr(mmap, "MADV_WILLNEED"):
        return
    begin = array.ctypes.data - np.frombuffer(file, np.uint8, count=1).ctypes.data
    size = array.strides[0]
    for row in rows.tolist():
        first = begin + row * size
        page = first - first % mmap.PAGESIZE
        file.madvise(mmap.MADV_WILLNEED, page, first + size - page)


def _file_of(array: Any) -> mmap.mmap | None:
    """The mapped file that an array is a view of; None for an array in memory, or what is no array of NumPy."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) else None
