"""A short search for settings that learn image tasks fast, scored on tasks of validation classes.

    python experiments/image_recipes.py omniglot-20way --root data      (some ten minutes each, the core shared)
    python experiments/image_recipes.py cifar-fs --root data            (some five minutes each on one core)

Trainings far shorter than the real ones, each with a cosine rate and a clipped meta-gradient (`paper` too: only its
method is the paper's), the same seed and tasks. They tell which settings learn fast, which is not quite the same as
which end best; the best recipes (`mtnets recipes`) start from what they say, looking at the accuracy after as many
inner steps as in training. Writes results/image-recipes/FAMILY/NAME.json; what is there already is not run again.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import mtnets
from mtnets import METHODS
from mtnets.devices import use_cores
from mtnets.reproduce.parts import make_parts
from mtnets.tasks.families.omniglot import data_root

TWO_SIDED = {"sides": 2, "rates": "weight", "inner_clip": 10.0}
SEARCHES: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "omniglot-20way": {  # method, training
        "paper": ({"name": "mt_net", "inner_lr": 2.0}, {"inner_steps": 1}),
        "two-sided": ({"name": "mt_net", "inner_lr": 2.0, **TWO_SIDED}, {"inner_steps": 1}),
        "two-sided-slow": ({"name": "mt_net", "inner_lr": 0.5, **TWO_SIDED}, {"inner_steps": 1}),
        "two-sided-t-net": ({"name": "t_net", "inner_lr": 2.0, **TWO_SIDED}, {"inner_steps": 1}),
        "two-sided-low-rank": (
            {"name": "mt_net", "inner_lr": 0.5, "metric": "low-rank", "rank": 16, **TWO_SIDED},
            {"inner_steps": 1},
        ),
        "two-sided-fast-adam": ({"name": "mt_net", "inner_lr": 0.5, **TWO_SIDED}, {"inner_steps": 1, "meta_lr": 2e-3}),
        "one-sided-rates": (
            {"name": "mt_net", "inner_lr": 0.5, "rates": "weight", "inner_clip": 10.0},
            {"inner_steps": 1},
        ),
        "two-sided-3-steps": ({"name": "mt_net", "inner_lr": 0.5, **TWO_SIDED}, {"inner_steps": 3, "multi_step": True}),
    },
    "cifar-fs": {
        "maml": ({"name": "maml", "inner_lr": 0.05}, {"inner_steps": 5}),
        "mt-net": ({"name": "mt_net", "inner_lr": 0.05}, {"inner_steps": 5}),
        "two-sided": ({"name": "mt_net", "inner_lr": 0.05, **TWO_SIDED}, {"inner_steps": 5}),
        "two-sided-t-net": ({"name": "t_net", "inner_lr": 0.05, **TWO_SIDED}, {"inner_steps": 5}),
        "two-sided-t-net-1-step": ({"name": "t_net", "inner_lr": 0.4, **TWO_SIDED}, {"inner_steps": 1}),
        "two-sided-t-net-fast": ({"name": "t_net", "inner_lr": 0.2, **TWO_SIDED}, {"inner_steps": 5}),
        "two-sided-t-net-slow": ({"name": "t_net", "inner_lr": 0.01, **TWO_SIDED}, {"inner_steps": 5}),
        "two-sided-t-net-multi-step": (  # a loss at each step costs five times the queries
            {"name": "t_net", "inner_lr": 0.05, **TWO_SIDED},
            {"inner_steps": 5, "multi_step": True},
        ),
    },
}
SHARED = {
    "omniglot-20way": {"meta_steps": 1500, "meta_batch": 8},
    "cifar-fs": {"meta_steps": 1000, "meta_batch": 4},
}


def family(search: str, root: str) -> Any:
    """The tasks of a search."""
    if search == "omniglot-20way":
        return mtnets.tasks.omniglot(root, ways=20)
    return mtnets.tasks.folder(data_root(root) / "cifar_fs.zip")


def score(search: str, name: str, tasks: Any) -> dict[str, Any]:
    """One short training and its accuracy on tasks of validation classes."""
    options, training = (dict(part) for part in SEARCHES[search][name])
    settings = SHARED[search] | training
    multi_step = settings["meta_steps"] // 3 if settings.pop("multi_step", False) else 0
    method = METHODS[options.pop("name")](**options)
    begun = time.perf_counter()
    learner = mtnets.meta_train(
        None, method, tasks, seed=0, schedule="cosine", clip_norm=10.0, skip_nonfinite=100, validate_every=0,
        multi_step_loss=multi_step, **settings,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    found = mtnets.evaluate(learner, tasks.validation, 600, inner_steps=5).to_json()
    return {
        "command": f"python experiments/image_recipes.py {search}",
        "method": method.to_json(),
        "training": settings | {"multi_step_loss": multi_step, "schedule": "cosine", "clip_norm": 10.0},
        "validation": found["inner_steps"],
        "training_seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("search", choices=list(SEARCHES))
    parser.add_argument("--root", default="", help="where the data are; $MTNETS_DATA, else data, unless given")
    parser.add_argument("--devices", type=int, help="CPU cores to share the tasks; all unless given")
    parser.add_argument("--out", type=Path, default=Path("results/image-recipes"), help="folder for the JSONs")
    arguments = parser.parse_args()
    use_cores(arguments.devices)
    tasks = family(arguments.search, arguments.root)
    search = arguments.search
    make_parts(
        arguments.out / search, SEARCHES[search], lambda name: score(search, name, tasks), settings=SHARED[search]
    )


if __name__ == "__main__":
    main()
