"""Arrays outside JAX: as NumPy's and as the bytes of safetensors, exact for every type and shape, with a checksum."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jax import Array

from mtnets.errors import OptionError
from mtnets.files import parse_json

NAMES = {"BOOL": "bool", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
NAMES |= {
    f"{letter}{bits}": f"{kind}{bits}" for letter, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}
TYPES = {name: jnp.dtype(kind) for name, kind in NAMES.items()}  # by their names in safetensors
KEYS = ("threefry2x32", "rbg", "unsafe_rbg")  # kinds of random keys
UNSEALED = f"sha256:{'0' * 64}"  # stands in the metadata until `sealed` replaces it


def is_key(leaf: Any) -> bool:
    """Whether a leaf holds random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def to_numpy(leaf: Any) -> np.ndarray:
    """A leaf of a tree as an array of NumPy; a random key as the numbers that it consists of."""
    return np.asarray(jax.random.key_data(leaf) if isinstance(leaf, Array) and is_key(leaf) else leaf)


def stored(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and type of `to_numpy(leaf)`, from those of a leaf."""
    return jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def from_numpy(array: np.ndarray, leaf: Any) -> Array:
    """The inverse of `to_numpy`, with the type of a leaf. The array may have another precision.

    Raises:
      ValueError: for another shape, another kind of numbers, or integers that do not fit.
    """
    wanted = stored(leaf)
    fits = array.shape == wanted.shape and _kind(array.dtype) == _kind(wanted.dtype)
    converted = array.astype(wanted.dtype) if fits else array
    if not fits or (_kind(array.dtype) is not jnp.floating and not np.array_equal(converted, array)):
        raise ValueError(f"{array.dtype} {array.shape} for {wanted.dtype} {wanted.shape}")
    if not is_key(leaf):
        return jnp.asarray(converted)
    keys = (jax.random.wrap_key_data(jnp.asarray(converted), impl=kind) for kind in KEYS if _has_kind(leaf, kind))
    return next(keys)


def to_bytes(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """Arrays and metadata in the format of safetensors.

    Raises:
      OptionError: for a type that the format does not have, naming the array.
    """
    native = {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}
    for name, array in native.items():
        if array.dtype not in TYPES.values():
            raise OptionError(
                f"{name} is {array.dtype}, which cannot be saved; make it one of {', '.join(map(str, TYPES.values()))}."
            )
    # `np.ascontiguousarray` makes numbers one-dimensional
    whole = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in native.items()}
    return safetensors.numpy.save(whole, dict(metadata))


def from_bytes(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The inverse of `to_bytes`.

    Raises:
      safetensors.SafetensorError, ValueError: for damaged data.
      KeyError: for a type that is not among `TYPES`.
    """
    arrays = {
        name: np.ndarray(view["shape"], TYPES[view["dtype"]], bytes(view["data"]))
        for name, view in safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    }
    header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return arrays, header.get("__metadata__") or {}


def sealed(data: bytes) -> bytes:
    """The bytes of a file with their SHA-256 in the place of `UNSEALED`, where that stands first.

    The digest is that of the bytes with `UNSEALED` in its own place, so that every bit of the file counts.
    """
    return data.replace(UNSEALED.encode(), f"sha256:{hashlib.sha256(data).hexdigest()}".encode(), 1)


def check_seal(data: bytes, seal: Any) -> None:
    """Compares a file with the checksum that its metadata give.

    Args:
      data: the bytes of the file.
      seal: what stands in the place of `UNSEALED`.

    Raises:
      ValueError: if the file is not that of its checksum.
    """
    place = data.find(seal.encode(errors="replace")) if isinstance(seal, str) and len(seal) == len(UNSEALED) else -1
    view = memoryview(data)
    digest = hashlib.sha256(view[: max(place, 0)])
    digest.update(UNSEALED.encode())
    digest.update(view[place + len(UNSEALED) :])
    if place < 0 or seal != f"sha256:{digest.hexdigest()}":
        raise ValueError("its checksum is not that of its contents")


def _kind(dtype: Any) -> Any:
    kinds = (jnp.floating, jnp.signedinteger, jnp.unsignedinteger, jnp.bool_)
    return next((kind for kind in kinds if jnp.issubdtype(dtype, kind)), dtype)


def _has_kind(leaf: Any, kind: str) -> bool:
    return jax.eval_shape(lambda: jax.random.key(0, impl=kind)).dtype == leaf.dtype
