"""What experiments do around `meta_train`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtnets import METHODS, Learner, Method, meta_train
from mtnets.tasks import Family


def train_in(folder: Path, method: Method, tasks: Family, **settings: Any) -> tuple[Learner, dict[str, Any]]:
    """Meta-trains the usual network of a task family in a run folder, or goes on there.

    Returns:
      The learner, and what `result.json` of the folder says of its training.
    """
    # run_training
    learner = meta_train(None, method, tasks, out=folder, resume=True, **settings)
    return learner, json.loads((folder / "result.json").read_text("utf-8"))


def method_of(options: Mapping[str, Any]) -> Method:
    """The method of a recipe: its `name` and its options."""
    return METHODS[options["name"]](**{name: value for name, value in options.items() if name != "name"})


def by_rate(learners: Sequence[Learner], inner_lrs: Sequence[float]) -> Iterator[tuple[float, Sequence[Learner]]]:
    """Each inner rate with its learners, one for each seed, in the order in which `meta_train` returns them."""
    seeds = len(learners) // len(inner_lrs)
    for i, inner_lr in enumerate(inner_lrs):
        yield inner_lr, learners[i * seeds : (i + 1) * seeds]
