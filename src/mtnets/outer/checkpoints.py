"""Checkpoints of a run: Orbax, atomic, the last two kept. Each knows its contents and the run that it belongs to."""

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtnets.arrays import from_numpy, stored, to_numpy
from mtnets.compat import orbax_v1
from mtnets.errors import RunError, first_line
from mtnets.files import sync_folder
from mtnets.trees import leaves_by_path, path_of

KEEP = 2
ITEM = "default"  # as the checkpoints of mtnets 0.1 have it, which still restore


class Checkpoints:
    """The checkpoints in a folder, by meta-step.

    Args:
      folder: where they are or will be.
      belongs_to: what tells this run from any other, as JSON.
    """

    def __init__(self, folder: Path, belongs_to: Mapping[str, Any]) -> None:
        ocp = orbax_v1()  # takes a second to import, and only runs with a folder need it
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs every step of every save, and its failures
        self.folder = folder.absolute()
        self._belongs_to = dict(belongs_to)
        for left in self.folder.glob("*.orbax-checkpoint-tmp*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        keep = ocp.training.preservation_policies.LatestN(KEEP)
        self._checkpointer = ocp.training.Checkpointer(self.folder, preservation_policy=keep)

    @property
    def latest(self) -> int | None:
        """The last meta-step with a checkpoint; None where there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, tree: Any) -> None:
        """Saves a pytree of arrays as the checkpoint of a meta-step. When this returns, it is on the disk.

        Raises:
          RunError: if it cannot be written; the one before stays.
        """
        leaves = leaves_by_path(tree).items()
        arrays = {name: to_numpy(leaf) for name, leaf in leaves if leaf.size}  # Orbax saves no empty ones
        before = self.latest
        if before == step:
            return
        record = {"run": self._belongs_to, "checksum": _checksum(arrays)}
        try:
            self._checkpointer.save_checkpointables(step, {ITEM: arrays}, custom_metadata=record)
            _sync(self.folder / str(step))
        except Exception as error:  # of many kinds, depending on Orbax's backend
            kept = "there is none before it" if before is None else f"the one of meta-step {before} stays"
            raise RunError(
                f"The checkpoint of meta-step {step} could not be written to {self.folder} ({first_line(error)}); "
                f"{kept}. Make room on the disk and go on with resume=True."
            ) from error

    def restore(self, step: int, like: Any) -> Any:
        """Reads the checkpoint of a meta-step into the structure of `like`. Leaves that a checkpoint of an earlier
        version does not have are those of `like`.

        Raises:
          RunError: if it is damaged, does not fit, or belongs to another run.
        """
        try:
            metadata = self._checkpointer.checkpointables_metadata(step)
            record = metadata.custom_metadata or {}
            there = set(metadata.metadata[ITEM])
            leaves = {name: leaf for name, leaf in leaves_by_path(like).items() if leaf.size}
            shapes = {name: stored(leaf) for name, leaf in leaves.items() if record or name in there}
            template = {name: np.empty(shape.shape, shape.dtype) for name, shape in shapes.items()}
            arrays: Any = self._checkpointer.load_checkpointables(step, {ITEM: template})[ITEM]
            if record and record["checksum"] != _checksum(arrays):
                raise ValueError("its checksum is not that of its contents")
            belongs_to = record.get("run", self._belongs_to)
            tree = jax.tree.map_with_path(
                lambda keys, leaf: from_numpy(arrays[name], leaf) if (name := path_of(keys)) in arrays else leaf, like
            )
        except Exception as error:  # see save
            raise RunError(
                f"The checkpoint {self.folder / str(step)} is damaged or of another configuration "
                f"({first_line(error)}). "
                "Remove that folder to go on from the checkpoint before it, or start anew with overwrite=True."
            ) from error
        if belongs_to != self._belongs_to:
            raise RunError(
                f"The checkpoint {self.folder / str(step)} belongs to another run ({belongs_to}; this one is "
                f"{self._belongs_to}). Put back the folder that was there, or start anew with overwrite=True."
            )
        return tree

    def close(self) -> None:
        """Ends Orbax's threads."""
        self._checkpointer.close()


def _checksum(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        whole = np.ascontiguousarray(array)
        digest.update(f"{name} {whole.dtype} {np.shape(array)}".encode() + whole.tobytes())
    return f"sha256:{digest.hexdigest()}"


def _sync(folder: Path) -> None:
    """Waits until everything in a folder is on the disk."""
    for inner, _, files in os.walk(folder):
        for name in files:
            with open(Path(inner, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(inner))
    sync_folder(folder.parent)
