"""What a training does for people when the run in a folder has ended.

Rooms above the training write it, and the package's top says which: so nothing imports upwards.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtnets.errors import first_line, warn

SWITCH = "MTNETS_REPORT"  # 0 in the environment: no training of this process writes a report
Write = Callable[[Path, Any, Any], Path]
_writers: list[Write] = []


def at_end(write: Write) -> Write:
    """Decorates `write(folder, learner, tasks) -> path`, which is then called at the end of every run in a folder."""
    _writers.append(write)
    return write


def end(folder: Path, learner: Any, tasks: Any) -> Path | None:
    """Writes what is to be written; what goes wrong with it is told in a warning, since the run is whole without.

    Args:
      folder: of the run.
      learner: the best one.
      tasks: those of the training.

    Returns:
      Where it is; None where nothing was written.
    """
    if os.environ.get(SWITCH) == "0":
        return None
    path = None
    for write in _writers:
        try:
            path = write(folder, learner, tasks)
        except Exception as error:  # of any kind: nothing of the run depends on it
            warn(
                f"The report of the run in {folder} was not written ({type(error).__name__}: {first_line(error)}); the "
                f"run is complete. Try again with: mtnets report {folder}"
            )
    return path
