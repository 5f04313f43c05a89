"""What drawings score that pass through the page of `mtnets serve`, beside the images that they were made of.

    python -m benchmarks.drawings --root data --tasks 200

Strokes are the middle lines of Omniglot's test drawings (105×105). A headless Chromium draws them with the page's own
code, at the size and place in its box that the page gives every drawing, and the server's reader makes them 28×28.
Also measured: how wide the pen of Omniglot is, how large its drawings are, and where their middles lie, which the page
takes for its own. Needs playwright, a chromium, scikit-image and Omniglot (`mtnets data omniglot`).
"""

import argparse
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mtnets
from benchmarks.serving import served
from mtnets.files import write_json
from mtnets.serving.limits import Limits
from mtnets.serving.raw import to_raw
from mtnets.tasks.archives.archive import open_archive
from mtnets.tasks.archives.locations import cache_folder
from mtnets.tasks.families.omniglot import random_split, read
from mtnets.tasks.inputs.image_files import load

LEARNER = "omniglot-any-way-1shot"
BATCH = 100  # drawings of one call of the browser


def ink(root: Path, names: set[str]) -> dict[str, list[NDArray[np.bool_]]]:
    """The drawings of some characters as they were published, where there is ink, `[105, 105]`."""
    drawings: dict[str, list[NDArray[np.bool_]]] = {}
    for part in ("images_background", "images_evaluation"):
        with open_archive(root / f"{part}.zip") as archive:
            for file in archive.names:
                name = "/".join(file.removeprefix(f"{part}/").split("/")[:2])
                if name in names and file.endswith(".png"):
                    drawings.setdefault(name, []).append(load(archive.read(file), file)[..., 0] < 128)
    return drawings


def middle_lines(drawing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The drawing with a pen of one pixel."""
    from skimage.morphology import skeletonize

    return skeletonize(drawing)


def strokes_of(drawing: NDArray[np.bool_]) -> list[list[list[float]]]:
    """Strokes from each pixel of the middle lines to its neighbours, in units of the box."""
    rows, columns = np.nonzero(middle_lines(drawing))
    places, strokes = set(zip(rows.tolist(), columns.tolist(), strict=True)), []
    for row, column in sorted(places):
        ends = [
            (row + dy, column + dx) for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)) if (row + dy, column + dx) in places
        ]
        for y, x in ends or [(row, column)]:
            strokes.append([[(column + 0.5) / 105, (row + 0.5) / 105], [(x + 0.5) / 105, (y + 0.5) / 105]])
    return strokes


def measures(drawings: list[NDArray[np.bool_]]) -> dict[str, float]:
    """Means over drawings, in pixels: ink over the length of the middle lines, the longer side, and its middle."""
    pens, spans, across, down = [], [], [], []
    for drawing in drawings:
        rows, columns = np.nonzero(drawing)
        length = sum(math.dist(*ends) for ends in strokes_of(drawing))
        pens.append(drawing.sum() / (105 * length + 1))
        spans.append(max(np.ptp(rows), np.ptp(columns)) + 1)
        across.append((columns.min() + columns.max()) / 2)
        down.append((rows.min() + rows.max()) / 2)
    values = {"pen": pens, "span": spans, "middle_across": across, "middle_down": down}
    return {name: float(np.mean(each)) for name, each in values.items()} | {"span_std": float(np.std(spans))}


@contextmanager
def page(address: str) -> Iterator[Any]:
    """The page in a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_page()
        opened.goto(address)
        yield opened
        browser.close()


def through_page(address: str, drawings: list[NDArray[np.bool_]], learner: mtnets.Learner) -> NDArray[np.uint8]:
    """Drawings as the server reads them from the page, `[drawings, 28, 28, 1]`."""
    code = "async (all) => { const { toImage } = await import('./page.js'); return all.map(toImage); }"
    with page(address) as opened:
        images = []
        for first in range(0, len(drawings), BATCH):
            images += opened.evaluate(code, [strokes_of(each) for each in drawings[first : first + BATCH]])
    return to_raw(learner, images, Limits(examples=len(images)))


def accuracies(
    learner: mtnets.Learner, pixels: NDArray[np.uint8], tasks: list[NDArray[np.intp]]
) -> NDArray[np.float64]:
    """Of tasks, `[ways]` of the classes of `pixels[classes, 2, …]`: one drawing is learned, the other predicted."""
    ways = len(tasks[0])
    x, q = (np.stack([pixels[task, i] for task in tasks]) for i in (0, 1))
    labels = np.broadcast_to(np.arange(ways), (len(tasks), ways))
    predictions = np.asarray(learner.adapt_many(x, labels)(q)).argmax(-1)
    return (predictions == labels).mean(1)


def main() -> None:
    """Writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--ways", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--characters", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/drawings.json"))
    options = parser.parse_args()
    rng, learner = np.random.default_rng(options.seed), mtnets.load(LEARNER)
    whole = read(options.root, cache_folder(""))
    test = random_split(whole, 0)["test"]
    names = [test[i] for i in rng.permutation(len(test))[: options.characters]]
    drawn = ink(options.root, set(names))
    two = {name: rng.permutation(20)[:2] for name in names}  # drawings of each character
    drawings = [drawn[name][i] for name in names for i in two[name]]
    with served(LEARNER, 1) as address:
        passed = through_page(address, drawings, learner).reshape(len(names), 2, 28, 28, 1)
    published = np.stack([whole[name][two[name]] for name in names])
    report: dict[str, Any] = {
        "command": f"python -m benchmarks.drawings --root DATA --tasks {options.tasks} --seed {options.seed}",
        "learner": LEARNER,
        "drawings_measured": len(drawings),
        "omniglot": measures(drawings),
        "rows": [],
    }
    for ways in options.ways:
        tasks = [rng.permutation(len(names))[:ways] for _ in range(options.tasks)]
        scores = {
            "through the page": accuracies(learner, passed, tasks),
            "as published": accuracies(learner, published, tasks),
        }
        for what, each in scores.items():
            half = 1.96 * each.std(ddof=1) / np.sqrt(len(each))
            report["rows"].append(
                {
                    "drawings": what,
                    "ways": ways,
                    "tasks": len(tasks),
                    "accuracy": float(each.mean()),
                    "ci95": float(half),
                }
            )
            print(report["rows"][-1], flush=True)
    print(report["omniglot"])
    write_json(options.out, report)


if __name__ == "__main__":
    main()
