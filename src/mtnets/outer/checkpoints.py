"""Checkpoints of a run: Orbax, atomic, the last two kept."""

import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtnets.arrays import from_numpy, stored, to_numpy
from mtnets.compat import orbax_v1
from mtnets.errors import RunError, first_line
from mtnets.trees import leaves_by_path, path_of

KEEP = 2
ITEM = "default"  # as the checkpoints of mtnets 0.1 have it, which still restore


class Checkpoints:
    """The checkpoints in a folder, by meta-step.

    Args:
      folder: where they are or will be.
    """

    def __init__(self, folder: Path) -> None:
        ocp = orbax_v1()  # takes a second to import, and only runs with a folder need it
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs every step of every save
        self.folder = folder.absolute()
        keep = ocp.training.preservation_policies.LatestN(KEEP)
        self._checkpointer = ocp.training.Checkpointer(self.folder, preservation_policy=keep)

    @property
    def latest(self) -> int | None:
        """The last meta-step with a checkpoint; None where there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, tree: Any) -> None:
        """Saves a pytree of arrays as the checkpoint of a meta-step.

        Raises:
          RunError: if it cannot be written; the one before stays.
        """
        leaves = leaves_by_path(tree).items()
        arrays = {name: to_numpy(leaf) for name, leaf in leaves if leaf.size}  # Orbax saves no empty ones
        before = self.latest
        if before == step:
            return
        try:
            self._checkpointer.save_checkpointables(step, {ITEM: arrays})
        except Exception as error:  # of many kinds, depending on Orbax's backend
            kept = "there is none before it" if before is None else f"the one of meta-step {before} stays"
            raise RunError(
                f"The checkpoint of meta-step {step} could not be written to {self.folder} ({first_line(error)}); "
                f"{kept}. Make room on the disk and go on with resume=True."
            ) from error

    def restore(self, step: int, like: Any) -> Any:
        """Reads the checkpoint of a meta-step into the structure of `like`.

        Raises:
          RunError: if it is damaged or does not fit.
        """
        shapes = {name: stored(leaf) for name, leaf in leaves_by_path(like).items()}
        template = {name: np.empty(shape.shape, shape.dtype) for name, shape in shapes.items() if shape.size}
        try:
            arrays: Any = self._checkpointer.load_checkpointables(step, {ITEM: template})[ITEM]
            arrays |= {name: np.empty(shape.shape, shape.dtype) for name, shape in shapes.items() if not shape.size}
            return jax.tree.map_with_path(lambda keys, leaf: from_numpy(arrays[path_of(keys)], leaf), like)
        except Exception as error:  # see save
            raise RunError(
                f"The checkpoint {self.folder / str(step)} is damaged or of another configuration "
                f"({first_line(error)}). "
                "Remove that folder to go on from the checkpoint before it, or start anew with overwrite=True."
            ) from error

    def close(self) -> None:
        """Ends Orbax's threads."""
        self._checkpointer.close()
