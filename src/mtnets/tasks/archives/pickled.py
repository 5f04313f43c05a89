"""Pickles of arrays of numbers or text, read without running any code that they may hold."""

import io
import pickle
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.errors import DataError


def unpickle(content: bytes, where: str) -> dict[Any, Any]:
    """The dictionary of numbers, text, lists, dictionaries and arrays (`PickledArray`) that a pickle holds.

    Args:
      content: the bytes of the file; pickles of Python 2 are read too.
      where: what to call it in an error.

    Raises:
      DataError: for a pickle that is damaged, is no dictionary, or calls for more than arrays.
    """
    try:
        value = _Unpickler(content, where).load()
    except DataError:
        raise
    except Exception as error:  # what is damaged may raise nearly anything
        raise DataError(
            f"{where} cannot be read: {error or type(error).__name__}; fetch it again, or use class folders, "
            f"train|val|test/CLASS/IMAGE."
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{where} is not a dictionary of arrays; use class folders, train|val|test/CLASS/IMAGE.")
    return value


class _Unpickler(pickle.Unpickler):
    """Reads numbers, text, lists, dictionaries and NumPy arrays of numbers or text; refuses all else.

    A pickle is a program that may call whatever it can name. Here it can name only the stand-ins below, for the few
    functions that make arrays. NumPy's own functions are never called, since they trust their arguments: a dtype with
    a false state makes them take numbers for addresses of objects. A pickle with false sizes may still ask for more
    memory than there is.
    """

    def __init__(self, content: bytes, where: str) -> None:
        # Python 2's strings are bytes, among them the elements of arrays: Latin-1 keeps each byte.
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._where = where

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _STAND_INS:
            raise DataError(
                f"{self._where} calls for {module_name}.{global_name}, which arrays of images do not need and which "
                f"may do harm; it was not run. Use class folders instead, train|val|test/CLASS/IMAGE."
            )
        return _STAND_INS[module_name, global_name]


class _Dtype:
    """Stands for `numpy.dtype`: numbers and text, never Python objects."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        if not re.fullmatch(r"[biufSU]\d{1,4}", self.code) or self.order not in ("<", ">", "=", "|"):
            raise ValueError(f"it has an array of {self.code}, not of numbers or text")
        return np.dtype(self.order + self.code)


class PickledArray:
    """Stands for `numpy.ndarray`.

    Attributes:
      array: the array, once the pickle has been read.
    """

    array: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.array = _elements(data, dtype).reshape(shape, order="F" if fortran else "C")


def _elements(data: Any, dtype: _Dtype) -> NDArray[Any]:
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype.dtype())


def _reconstruct(*_: Any) -> PickledArray:
    return PickledArray()


def _from_buffer(data: Any, dtype: _Dtype, shape: Any, order: Any, axes: Any = None) -> PickledArray:
    pickled, elements = PickledArray(), _elements(data, dtype)
    pickled.array = elements.reshape(shape).transpose(axes) if order == "K" else elements.reshape(shape, order=order)
    return pickled


def _scalar(dtype: _Dtype, data: Any) -> Any:
    (value,) = _elements(data, dtype).tolist()
    return value.decode("latin1") if isinstance(value, bytes) else value


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":  # in which Python 3 writes bytes for Python 2
        raise ValueError(f"it has bytes in the encoding {encoding}")
    return text.encode(encoding)


_STAND_INS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _Dtype,
    # NumPy 1 and NumPy 2
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}
