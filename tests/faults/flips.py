"""Flips every bit of the files that a learner is kept in, one at a time, and counts the flips that nobody notices.

    python -m tests.faults.flips

Expected: 0 unnoticed; a minute or two.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mtnets
from mtnets.learner.tensors import read_tensors


def files(folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """A file of each kind, small ones, with what reads it."""
    network = mtnets.models.mlp(1, 2, 1)
    options = {"meta_steps": 1, "inner_steps": 1, "meta_batch": 1, "validate_every": 0, "progress": False}
    learner = mtnets.meta_train(network, mtnets.mt_net(0.1), mtnets.tasks.sinusoid(shots=2), **options)
    adapted = learner.adapt(np.ones((2, 1)), np.ones(2))
    learner.save(folder)
    adapted.save(folder / "adapted")
    adapted.save_task(folder / "task")
    kinds = {"learner.safetensors": None, "adapted": "adapted model", "task": "task"}
    return {name: (folder / name, lambda path, kind=kind: read_tensors(path, kind)) for name, kind in kinds.items()}


def unnoticed(path: Path, read: Callable[[Path], Any], bits: Iterable[int]) -> Iterator[int]:
    """Those of the bits that can be flipped without an `MtnetsError` when the file is read."""
    whole = path.read_bytes()
    for bit in bits:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            read(path)
        except mtnets.MtnetsError:
            continue
        yield bit
    path.write_bytes(whole)


def main() -> None:
    """Prints a line for each file."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, read) in files(Path(folder)).items():
            bits = range(8 * path.stat().st_size)
            print(f"{name}: {len(bits)} bits flipped, {len(list(unnoticed(path, read, bits)))} unnoticed", flush=True)


if __name__ == "__main__":
    main()
