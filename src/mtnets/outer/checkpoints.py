"""Checkpoints of a run, one file each, the last two kept. Each knows its contents and the run that it belongs to."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtnets.arrays import from_numpy, stored
from mtnets.compat import orbax_v1
from mtnets.errors import RunError, first_line
from mtnets.learner.tensors import fill, read_tensors, reading, write_tensors
from mtnets.trees import leaves_by_path, path_of

KEEP = 2
KIND = "checkpoint"
SUFFIX = ".safetensors"


class Checkpoints:
    """The checkpoints in a folder, by meta-step.

    Args:
      folder: where they are or will be.
      belongs_to: what tells this run from any other, as JSON.

    Attributes:
      folder: where they are.
      seconds: of training until the checkpoint that was read last; 0 before one is read.
    """

    def __init__(self, folder: Path, belongs_to: Mapping[str, Any]) -> None:
        self.folder = folder
        self.seconds = 0.0
        self._belongs_to = dict(belongs_to)
        self._drop_old()  # which a process that was killed left

    @property
    def latest(self) -> int | None:
        """The last meta-step with a checkpoint; None where there is none."""
        return latest(self.folder)

    @property
    def steps(self) -> list[int]:
        """The meta-steps with a checkpoint, in order."""
        return sorted(step for step, _ in _present(self.folder))

    def drop_after(self, step: int) -> None:
        """Removes the checkpoints of later meta-steps."""
        for later, path in _present(self.folder):
            if later > step and path.is_file():
                path.unlink()

    def save(self, step: int, trees: Mapping[str, Any], seconds: float = 0.0) -> None:
        """Saves pytrees of arrays by name as the checkpoint of a meta-step. When this returns, it is on the disk.

        Args:
          step: the meta-step.
          trees: what is kept.
          seconds: of training until now.

        Raises:
          RunError: if it cannot be written; the one before stays.
        """
        before = self.latest
        if before == step:
            return
        arrays = {f"{part}.{name}": a for part, tree in trees.items() for name, a in leaves_by_path(tree).items()}
        try:
            card = {"kind": KIND, "run": self._belongs_to, "meta_step": step, "seconds": round(seconds, 3)}
            write_tensors(self._path(step), arrays, card)
            self._drop_old()
        except OSError as error:
            kept = "there is none before it" if before is None else f"the one of meta-step {before} stays"
            raise RunError(
                f"The checkpoint of meta-step {step} could not be written to {self.folder} ({first_line(error)}); "
                f"{kept}. Make room on the disk and go on with resume=True."
            ) from error

    def restore(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """Reads the checkpoint of a meta-step into the structures of `like`.

        Raises:
          RunError: if it is damaged, does not fit, or belongs to another run.
        """
        path = self._path(step)
        if not path.exists():
            return _of_version_0_1(self.folder / str(step), like)
        try:
            arrays, card = read_tensors(path, KIND)
            with reading(path, KIND):
                belongs_to = {**card["run"], "meta_step": card["meta_step"]}
                trees = fill(like, arrays, path)
                seconds = float(card.get("seconds", 0.0))  # checkpoints of earlier versions do not tell it
        except RunError as error:
            raise _unusable(path, error) from error
        this = {**self._belongs_to, "meta_step": step}
        if belongs_to != this:
            raise RunError(
                f"The checkpoint {path} belongs to another run ({belongs_to}; this is {this}). Put back the file that "
                "was there, or start anew with overwrite=True."
            )
        self.seconds = seconds
        return trees

    def _drop_old(self) -> None:
        for _, old in sorted(each for each in _present(self.folder) if each[1].is_file())[:-KEEP]:
            old.unlink()

    def _path(self, step: int) -> Path:
        return self.folder / f"{step}{SUFFIX}"


def latest(folder: Path) -> int | None:
    """The last meta-step with a checkpoint in a folder; None where there is none."""
    return max((step for step, _ in _present(folder)), default=None)


def _present(folder: Path) -> list[tuple[int, Path]]:
    """Meta-steps and files; folders are those of version 0.1."""
    names = {path: path.name.removesuffix(SUFFIX) for path in folder.glob("*")}
    return [(int(name), path) for path, name in names.items() if name.isdecimal()]


def _unusable(path: Path, error: Exception) -> RunError:
    return RunError(
        f"The checkpoint {path} is damaged or of another configuration ({first_line(error)}). Remove it to go on from "
        "the checkpoint before it, or start anew with overwrite=True."
    )


def _of_version_0_1(folder: Path, like: Mapping[str, Any]) -> dict[str, Any]:
    """What version 0.1 saved by Orbax, in the structures of `like`; the rest is as it is there."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    outer_and_best = (like["outer"], like["best"])
    try:
        shapes = {name: stored(leaf) for name, leaf in leaves_by_path(outer_and_best).items()}
        template = {name: np.empty(shape.shape, shape.dtype) for name, shape in shapes.items() if shape.size}
        arrays: Any = orbax_v1().load_checkpointables(folder, {"default": template})["default"]
        arrays |= {name: np.empty(shape.shape, shape.dtype) for name, shape in shapes.items() if not shape.size}
        read = jax.tree.map_with_path(lambda keys, leaf: from_numpy(arrays[path_of(keys)], leaf), outer_and_best)
    except Exception as error:  # of many kinds, depending on Orbax's backend
        raise _unusable(folder, error) from error
    return {**like, "outer": read[0], "best": read[1]}
