"""Arrays in files: safetensors with a card of plain values, never pickled, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jax.typing import ArrayLike

from mtnets.errors import RunError
from mtnets.files import replacing
from mtnets.trees import leaves_by_path, path_of

FORMAT = 2  # written into every file
READABLE = (1, FORMAT)  # 1 is that of version 0.1


def write_tensors(path: str | Path, arrays: Mapping[str, ArrayLike], card: Mapping[str, Any]) -> None:
    """Writes arrays with a card as one safetensors file."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data = safetensors.numpy.save(arrays, {"mtnets": json.dumps({"format": FORMAT, **card})})
    with replacing(path) as file:
        file.write(data)


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
        with safetensors.safe_open(path, "numpy") as opened:  # type: ignore[no-untyped-call]
            card = json.loads((opened.metadata() or {})["mtnets"])
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(f"{path} is damaged or no {what} ({error}); train or save it again.") from error
    if card.get("kind") != kind:
        raise RunError(f"{path} holds: {card.get('kind', 'learner')}; expected: {what}. Name the right file.")
    if card.get("format") not in READABLE:
        raise RunError(
            f"{path} has format {card.get('format')}; this version of mtnets reads formats "
            f"{', '.join(map(str, READABLE))}. Read it with the version that wrote it."
        )
    return arrays, card


def fill(expected: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Trees of arrays, from trees of their shapes and arrays by `part.path`, which may be of half precision.

    Raises:
      RunError: for an array that is absent, superfluous, or of another shape.
    """
    shapes = {f"{part}.{n}": leaf.shape for part, tree in expected.items() for n, leaf in leaves_by_path(tree).items()}
    for name in sorted(shapes.keys() | arrays.keys()):
        shape = arrays[name].shape if name in arrays else "nothing"
        if shape != shapes.get(name, "nothing"):
            raise RunError(f"{path} has {shape} for {name} and the network needs {shapes.get(name, 'nothing')}.")
    return {
        part: jax.tree.map_with_path(
            lambda keys, leaf, part=part: jnp.asarray(arrays[f"{part}.{path_of(keys)}"], leaf.dtype), tree
        )
        for part, tree in expected.items()
    }
