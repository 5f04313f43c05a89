"""Arrays in files: safetensors with a card of plain values, never pickled, written whole or not at all."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from jax import Array

from mtnets.arrays import UNSEALED, check_seal, from_bytes, from_numpy, sealed, stored, to_bytes, to_numpy
from mtnets.errors import RunError, first_line
from mtnets.files import CHECKSUM, parse_json, read, replacing
from mtnets.networks.model import Model
from mtnets.trees import leaves_by_path, path_of

FORMAT = 2  # written into every file
READABLE = (1, FORMAT)  # 1 is that of version 0.1, which has no checksum


def write_tensors(path: str | Path, arrays: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """Writes arrays with a card as one safetensors file, whose checksum is in the card.

    Raises:
      OptionError: for an array of a type that the format does not have.
    """
    plain = {name: to_numpy(array) for name, array in arrays.items()}
    # the checksum comes first, so that nothing else in the card is taken for it
    data = to_bytes(plain, {"mtnets": json.dumps({CHECKSUM: UNSEALED, "format": FORMAT, **card})})
    with replacing(path) as file:
        file.write(sealed(data))


def read_tensors(path: str | Path, kind: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the card of a safetensors file.

    Args:
      path: of the file.
      kind: what its card must say that it is: `"adapted model"` or `"task"`; None for a learner, whose card does not
        say it.

    Raises:
      RunError: if it is not there, damaged, or of another kind or format.
    """
    what = kind or "learner"
    if not Path(path).is_file():
        raise RunError(f"There is no file {path}; name one that was saved ({what}).")
    try:
        data = read(path)
        arrays, metadata = from_bytes(data)
        card = parse_json(metadata["mtnets"])
        if not isinstance(card, dict):
            raise ValueError(f"its card is {card!r}")
        if CHECKSUM in card or card.get("format") != 1:
            check_seal(data, card.pop(CHECKSUM, None))
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged or no {what} ({error}); train or save it again.") from error
    if card.get("kind") != kind:
        raise RunError(f"{path} holds: {card.get('kind', 'learner')}; expected: {what}. Name the right file.")
    if card.get("format") not in READABLE:
        raise RunError(
            f"{path} has format {card.get('format')}; this version of mtnets reads formats "
            f"{', '.join(map(str, READABLE))}. Read it with the version that wrote it."
        )
    return arrays, card


@contextlib.contextmanager
def reading(path: str | Path, kind: str | None, *, passed: bool = False) -> Iterator[None]:
    """Turns errors that a damaged card causes into one RunError.

    Args:
      path: of the file.
      kind: as in `read_tensors`.
      passed: whether the user passed the network.
    """
    try:
        yield
    except RunError:
        raise
    except Exception as error:  # a card may hold anything
        other = ", or the model passed is not the one that was saved" if passed else ""
        remedy = "train anew" if kind is None else "save it again"
        raise RunError(
            f"{path} is not {_a(kind or 'learner')} that this version of mtnets reads ({type(error).__name__}: "
            f"{first_line(error)}): its record is damaged or of another version{other}. Load it with the version that "
            f"wrote it, or {remedy}."
        ) from error


def layout_to_json(model: Model) -> dict[str, str]:
    """What the card of a file says of the layout of weights."""
    return {"layout": model.layout} if model.layout else {}


def check_layout(card: Mapping[str, Any], model: Model, path: str | Path) -> None:
    """Raises RunError for a file whose weights have another layout than the network's: where all axes of one are of the
    same length, its shape would not tell."""
    if card.get("layout", "") != model.layout:
        raise RunError(
            f"{path} has weights in {_layout(card.get('layout', ''))} and the network in {_layout(model.layout)}; load "
            "it with the version of mtnets that wrote it, or train anew."
        )


def _layout(layout: Any) -> str:
    return f"the layout {layout!r}" if layout else "their own layout"


def fill(expected: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Trees of arrays, from trees of their shapes and arrays by `part.path`, which may be of half precision.

    Raises:
      RunError: for an array that is absent, superfluous, or of another shape or kind.
    """
    leaves = {f"{part}.{n}": leaf for part, tree in expected.items() for n, leaf in leaves_by_path(tree).items()}
    for name in sorted(leaves.keys() | arrays.keys()):
        shape = arrays[name].shape if name in arrays else "nothing"
        wanted = stored(leaves[name]).shape if name in leaves else "nothing"
        if shape != wanted:
            raise RunError(f"{path} has {shape} for {name} and the network needs {wanted}.")

    def read(name: str, leaf: Any) -> Any:
        try:
            return from_numpy(arrays[name], leaf)
        except ValueError as error:
            raise RunError(
                f"{path} has {arrays[name].dtype} for {name} and the network needs {leaf.dtype}; save it again."
            ) from error

    return {
        part: jax.tree.map_with_path(lambda keys, leaf, part=part: read(f"{part}.{path_of(keys)}", leaf), tree)
        for part, tree in expected.items()
    }


def used_outputs(arrays: dict[str, np.ndarray], outputs: int) -> Array | None:
    """Takes the array that says which outputs a task uses, `[outputs]`, out of those of a file; None for all.

    Raises:
      ValueError: for an array that does not say it.
    """
    used = arrays.pop("used.", None)
    if used is None:
        return None
    if used.dtype != bool or used.shape != (outputs,):
        raise ValueError(f"used is {used.dtype} {used.shape} and the network has {outputs} outputs")
    return jnp.asarray(used)


def _a(noun: str) -> str:
    return f"an {noun}" if noun.startswith("a") else f"a {noun}"
