"""Pickles of arrays of numbers or text, read without running any code that they may hold."""

import io
import pickle
import pickletools
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
        _check_memo(content)
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


def _check_memo(content: bytes) -> None:
    """Raises ValueError for a pickle that remembers a value under a number beyond any count, for which Python would
    make a table."""
    for step, (operation, number, _) in enumerate(pickletools.genops(content)):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(number, int) and number > step:
            raise ValueError(f"it remembers value {number} in step {step}")


class _Unpickler(pickle.Unpickler):
    """Reads numbers, text, lists, dictionaries and NumPy arrays of numbers or text; refuses all else.

    A pickle is a program that may call whatever it can name. Here it can name only the stand-ins below, for the few
    functions that make arrays. NumPy's own functions are never called, since they trust their arguments: a dtype with
    a false state makes them take numbers for addresses of objects. The stand-ins are methods, which the pickle cannot
    change, and copy no more than the whole file has.
    """

    def __init__(self, content: bytes, where: str) -> None:
        # Python 2's strings are bytes, among them the elements of arrays: Latin-1 keeps each byte.
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._where = where
        self._left = len(content)  # bytes that may still be copied
        self._stand_ins: dict[tuple[str, str], Any] = {
            ("_codecs", "encode"): self._encode,
            ("numpy", "ndarray"): None,  # which it only hands on
            ("numpy", "dtype"): _Dtype,
            # NumPy 1 and NumPy 2
            **{(f"numpy.{core}.multiarray", "_reconstruct"): self._reconstruct for core in ("core", "_core")},
            **{(f"numpy.{core}.multiarray", "scalar"): self._scalar for core in ("core", "_core")},
            **{(f"numpy.{core}.numeric", "_frombuffer"): self._from_buffer for core in ("core", "_core")},
        }

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in self._stand_ins:
            raise DataError(
                f"{self._where} calls for {module_name}.{global_name}, which arrays of images do not need and which "
                f"may do harm; it was not run. Use class folders instead, train|val|test/CLASS/IMAGE."
            )
        return self._stand_ins[module_name, global_name]

    def _encode(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":  # in which Python 3 writes bytes for Python 2
            raise ValueError(f"it has bytes in the encoding {encoding}")
        self._left -= len(text)
        if self._left < 0:
            raise ValueError("it copies more bytes than it has")
        return text.encode(encoding)

    def _reconstruct(self, *_: Any) -> "PickledArray":
        return PickledArray(self._bytes)

    def _from_buffer(self, data: Any, dtype: "_Dtype", shape: Any, order: Any, axes: Any = None) -> "PickledArray":
        pickled, elements = PickledArray(self._bytes), _elements(self._bytes(data), dtype)
        pickled.array = (
            elements.reshape(shape).transpose(axes) if order == "K" else elements.reshape(shape, order=order)
        )
        return pickled

    def _scalar(self, dtype: "_Dtype", data: Any) -> Any:
        (value,) = _elements(self._bytes(data), dtype).tolist()
        return value.decode("latin1") if isinstance(value, bytes) else value

    def _bytes(self, data: Any) -> Any:
        return self._encode(data, "latin1") if isinstance(data, str) else data


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

    def __init__(self, to_bytes: Any) -> None:
        self.array: NDArray[Any] | None = None
        self._to_bytes = to_bytes

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.array = _elements(self._to_bytes(data), dtype).reshape(shape, order="F" if fortran else "C")


def _elements(data: Any, dtype: _Dtype) -> NDArray[Any]:
    return np.frombuffer(data, dtype.dtype())
