"""Makes the learners that ship with the package, each by its recipe.

Each trains in a run folder, `RUNS/NAME`, and goes on there if it was stopped. The learner is then written with its card
into the package: src/mtnets/shipped/learners/NAME. Those of sine, characters and tables take minutes on 2 cores, those
of Omniglot an hour each.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.resumable import check, command
from mtnets import evaluate, load, run_training, tasks
from mtnets.files import write_json
from mtnets.inner import method_from_json, method_to_json
from mtnets.shipped import learners, recipes

GREY = "28×28 grey images of dark ink on light paper, resized from any image file"
TABLE = "up to 64 numbers in any units, which the learner standardises"
ABOUT = {
    "sine-10shot": {
        "about": "Learns a sine curve from ten points (amplitude 0.1–5, phase 0–π, frequency 0.8–1.2).",
        "input": "x, one number from −5 to 5",
        "output": "y, one number",
        "data": "generated sine curves",
    },
    "glyphs-5way-1shot": {
        "about": "Tells up to 5 new drawn characters apart from one drawing of each; trained on generated ones.",
        "input": GREY,
        "output": "probabilities of up to 5 classes",
        "data": "generated characters (mtnets.tasks.glyphs)",
    },
    "omniglot-20way-1shot": {
        "about": "Tells up to 20 new handwritten characters apart from one drawing of each.",
        "input": GREY,
        "output": "probabilities of up to 20 classes",
        "data": "Omniglot, 1100 of its characters (Lake et al. 2015, MIT licence)",
    },
    "omniglot-any-way-1shot": {
        "about": "Tells any number of new handwritten characters apart, two or fifty, from one drawing of each.",
        "input": GREY,
        "output": "probabilities of as many classes as the support set has",
        "data": "Omniglot, 1100 of its characters (Lake et al. 2015, MIT licence)",
    },
    "tabular-classification": {
        "about": "Tells up to 10 classes of table rows apart from a few of each; trained on generated tables.",
        "input": TABLE,
        "output": "probabilities of up to 10 classes",
        "data": "generated tables (mtnets.tasks.random_tables)",
    },
    "tabular-regression": {
        "about": "Learns a number from a few table rows; trained on generated tables.",
        "input": TABLE,
        "output": "y, one number, in units of its spread",
        "data": "generated tables (mtnets.tasks.random_tables)",
    },
}


@dataclasses.dataclass(frozen=True)
class Learners:
    """Makes the learners that ship with the package, each by its recipe.

    Attributes:
      names: which ones.
      root: where Omniglot is. Defaults to `$MTNETS_DATA`, then `data`.
      runs: folder for run folders.
      out: folder for a folder per learner.
    """

    names: tuple[str, ...] = tuple(ABOUT)
    root: str = ""
    runs: str = "runs/learners"
    out: str = "src/mtnets/shipped/learners"

    def __call__(self) -> None:
        """Runs the experiment."""
        check(self, {}, {"names": ABOUT})
        for name in self.names:
            print(f"{name}: {self.make(name)}; written to {Path(self.out) / name}")

    def make(self, name: str) -> str:
        """Trains one learner, or goes on to its end, and writes it with its card. Returns its score in words."""
        recipe, folder = recipes.read(f"{name}-learner"), Path(self.out) / name
        family = tasks.family_from_record(recipe["tasks"], data=self.root if "omniglot" in name else None)
        method = method_from_json(recipe["method"])
        run = Path(self.runs) / name
        result = run_training(None, method, family, out=run, resume=True, **recipe["training"])
        learner = result.learner
        options = {key: value for key, value in learner.record["tasks"].items() if key not in ("root", "cache")}
        # half the size of the package; the score is that of the learner as written
        meta, state = jax.tree.map(lambda leaf: leaf.astype(np.float16), (learner.meta, learner.state))
        learned = learner.learned._replace(meta=meta, state=state)
        dataclasses.replace(learner, learned=learned, record={**learner.record, "tasks": options}).save(folder)
        test = evaluate(load(folder), family, recipe["training"]["test_tasks"]).to_json()
        card = {
            "name": name,
            **ABOUT[name],
            "score": score(test),
            "licence": "MIT",
            "command": f"{command('learners')} --names {name}",
            "recipe": f"{name}-learner",
            "method": method_to_json(learner.method),
            "norm": learner.model.norm,
            "meta_steps": result.meta_steps,
            "seed": learner.record["seed"],
            "test": test,
            "machine": result.machine,
        }
        write_json(folder / learners.CARD, card)
        return card["score"]


def score(test: dict[str, Any]) -> str:
    """What an estimate says, for people."""
    last = test["inner_steps"][-1]
    mean, half = last["mean"], last["ci95"]
    words = f"{mean:.1%} ± {half:.1%}" if test["metric"] == "accuracy" else f"squared error {mean:.3f} ± {half:.3f}"
    return f"{words} on {test['num_tasks']} test tasks, {last['step']} inner steps"
