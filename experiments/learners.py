"""Makes the learners that ship with the package, each by its recipe.

    python experiments/learners.py sine-10shot glyphs-5way-1shot           (minutes each on 2 cores)
    python experiments/learners.py tabular-classification tabular-regression                (minutes each on 2 cores)
    python experiments/learners.py omniglot-5way-1shot omniglot-20way-1shot --root data     (an hour each on 2 cores)

Trains in runs/learners/NAME, goes on there where it was stopped, and writes the learner with its card into
src/mtnets/learners/NAME.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import jax
import numpy as np

import mtnets
from mtnets.files import write_json
from mtnets.shipped import learners, recipes

INTO = Path(learners.__file__).parent
GREY = "28×28 grey images of dark ink on light paper, resized from any image file"
TABLE = "up to 64 numbers, standardised by mtnets.tasks.tabular.standardise, as mtnets.sklearn does"
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
    "omniglot-5way-1shot": {
        "about": "Tells up to 5 new handwritten characters apart from one drawing of each.",
        "input": GREY,
        "output": "probabilities of up to 5 classes",
        "data": "Omniglot, 1100 of its characters (Lake et al. 2015, MIT licence)",
    },
    "omniglot-20way-1shot": {
        "about": "Tells up to 20 new handwritten characters apart from one drawing of each.",
        "input": GREY,
        "output": "probabilities of up to 20 classes",
        "data": "Omniglot, 1100 of its characters (Lake et al. 2015, MIT licence)",
    },
    "tabular-classification": {
        "about": "Tells up to 10 classes of table rows apart from a few of each; trained on generated tables.",
        "input": TABLE,
        "output": "probabilities of up to 10 classes",
        "data": "generated tables (mtnets.tasks.tabular)",
    },
    "tabular-regression": {
        "about": "Learns a number from a few table rows; trained on generated tables.",
        "input": TABLE,
        "output": "y, one number, in units of its spread",
        "data": "generated tables (mtnets.tasks.tabular)",
    },
}


def make(name: str, root: str, runs: Path) -> None:
    """Trains one learner, or trains it to its end, and writes it with its card."""
    recipe = recipes.read(f"{name}-learner")
    changes = {"root": root} if "omniglot" in name else {}
    family = mtnets.tasks.rebuild(recipe["tasks"], **changes)
    options = dict(recipe["method"])
    method = mtnets.METHODS[options.pop("name")](**options)
    learner = mtnets.meta_train(None, method, family, out=runs / name, resume=True, **recipe["training"])
    result = json.loads((runs / name / "result.json").read_text())
    tasks = {key: value for key, value in learner.record["tasks"].items() if key not in ("root", "cache")}
    # half precision halves the package, and costs nothing that the score, taken of what is written, would show
    meta, state = jax.tree.map(lambda leaf: leaf.astype(np.float16), (learner.meta, learner.state))
    dataclasses.replace(learner, meta=meta, state=state, record={**learner.record, "tasks": tasks}).save(INTO / name)
    estimate = mtnets.evaluate(mtnets.load(INTO / name), family, recipe["training"]["test_tasks"])
    test = estimate.to_json()
    last = test["inner_steps"][-1]
    mean, half = last["mean"], last["ci95"]
    score = f"{mean:.1%} ± {half:.1%}" if test["metric"] == "accuracy" else f"squared error {mean:.3f} ± {half:.3f}"
    card = {
        "name": name,
        **ABOUT[name],
        "score": f"{score} on {test['num_tasks']} test tasks, {last['step']} inner steps",
        "licence": "MIT",
        "command": f"python experiments/learners.py {name}",
        "recipe": f"{name}-learner",
        "method": learner.method.to_json(),
        "norm": learner.model.norm,
        "meta_steps": result["meta_steps"],
        "seed": learner.record["seed"],
        "test": test,
        "machine": result["machine"],
    }
    write_json(INTO / name / learners.CARD, card)
    print(f"{name}: {card['score']}; written to {INTO / name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=list(ABOUT))
    parser.add_argument("--root", default="", help="where Omniglot is; $MTNETS_DATA, else data, unless given")
    parser.add_argument("--runs", type=Path, default=Path("runs/learners"), help="folder for the runs")
    arguments = parser.parse_args()
    for name in arguments.names:
        make(name, arguments.root, arguments.runs)


if __name__ == "__main__":
    main()
