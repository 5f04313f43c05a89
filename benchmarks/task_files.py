"""What task files of half and full precision weigh, and what half precision costs in predictions.

    python -m benchmarks.task_files --root DATA            (DATA: Omniglot, see `mtnets data`; a few minutes on 2 cores)

Each learner that ships adapts to test tasks. Each task is written as a file of each precision, read again, and scored
on its query set beside the adapted model itself: accuracy, or the squared error. Sizes are those of whole files; of
half precision also after zlib. Prints a table, writes results/task-files.json.
"""

import argparse
import tempfile
import zlib
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np

import mtnets
from mtnets.files import write_json
from mtnets.inner import Batch, Task
from mtnets.learner import TEST_SEED, AdaptedModel, Learner
from mtnets.learner.evaluate import draw_each, masked_by_support
from mtnets.learner.task_files import Precision
from mtnets.shipped import learners
from mtnets.sweeps.intervals import Interval, interval95
from mtnets.tasks import family_from_record

FORMS: tuple[Precision, ...] = get_args(Precision)


def score(model: AdaptedModel, query: Batch) -> float:
    """Accuracy on a query set, or mean squared error."""
    prediction, y = np.asarray(model(query.x)), np.asarray(query.y)
    labels = model.loss is not None and model.loss.labels
    each = prediction.argmax(-1) == y if labels else ((prediction - y) ** 2).mean(-1)
    return float(query.mean(each))


def measure(learner: Learner, root: str, num_tasks: int) -> dict[str, Any]:
    """Sizes and scores of one learner's tasks."""
    record = learner.record["tasks"]
    family = family_from_record(record, data=root if record["family"] == "omniglot" else None)
    keys = jax.random.split(jax.random.key(TEST_SEED), num_tasks)
    drawn = jax.tree.map(np.asarray, draw_each(family.test, keys))
    itself: list[float] = []
    scores: dict[str, list[float]] = {form: [] for form in FORMS}
    sizes: dict[str, list[int]] = {form: [] for form in (*FORMS, "half, zlib", "model")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task"
        for i, key in enumerate(keys):
            task: Task = jax.tree.map(lambda leaf, i=i: leaf[i], drawn)
            if learner.loss.labels and not learner.inputs.shared_classes:
                task = masked_by_support(task, learner.outputs)
            adapted = learner.adapt_batch(task.support, key=jax.random.fold_in(key, 1))
            itself.append(score(adapted, task.query))
            for form in FORMS:
                adapted.save_task(path, precision=form)
                data = path.read_bytes()
                sizes[form].append(len(data))
                if form == "half":
                    sizes["half, zlib"].append(len(zlib.compress(data, 9)))
                scores[form].append(score(learner.with_task(path), task.query))
            adapted.save(path)
            sizes["model"].append(path.stat().st_size)
    return {
        "metric": "accuracy" if learner.loss.labels else "squared error",
        "num_tasks": num_tasks,
        "score": interval95(np.array(itself))._asdict(),
        "bytes": {form: round(float(np.mean(values))) for form, values in sizes.items()},
        "minus_adapted": {
            form: {
                **interval95(np.array(values) - np.array(itself))._asdict(),
                "largest": float(np.abs(np.array(values) - np.array(itself)).max()),
            }
            for form, values in scores.items()
        },
    }


def row(name: str, result: dict[str, Any]) -> str:
    """A line of the table in Markdown."""
    per_cent = result["metric"] == "accuracy"
    mean, half = Interval(**result["score"])
    cost = result["minus_adapted"]["half"]
    said = f"{mean:.1%} ± {half:.1%}" if per_cent else f"{mean:.3f} ± {half:.3f}"
    lost = f"{cost['mean']:+.3%} ± {cost['half']:.3%}" if per_cent else f"{cost['mean']:+.1e} ± {cost['half']:.1e}"
    kilobytes = " | ".join(f"{result['bytes'][form] / 1000:.1f}" for form in ("model", "full", "half", "half, zlib"))
    return f"| `{name}` | {said} | {kilobytes} | {lost} |"


def main(args: list[str] | None = None) -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", choices=learners.names(), default=learners.names())
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--root", default="")
    parser.add_argument("--out", type=Path, default=Path("results/task-files.json"))
    options = parser.parse_args(args)
    command = f"python -m benchmarks.task_files --tasks {options.tasks} --root DATA"
    about = {"command": command, "seed": TEST_SEED, "jax": jax.__version__, "backend": jax.default_backend()}
    results: dict[str, Any] = {}
    print("| learner | score | model, kB | full, kB | half, kB | half and zlib, kB | half − adapted |")
    print("|---|---|---|---|---|---|---|")
    for name in options.names:
        results[name] = measure(mtnets.load(name), options.root, options.tasks)
        print(row(name, results[name]), flush=True)
        write_json(options.out, {**about, "learners": results})


if __name__ == "__main__":
    main()
