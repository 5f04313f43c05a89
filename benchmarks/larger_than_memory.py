"""Training from data that are larger than memory, beside the same training from memory: meta-steps per second.

    python -m benchmarks.larger_than_memory --gigabytes 20 --folder DATA [--cgroup FOLDER]

Makes one file of random colour images by class, and trains MAML on 5-way 1-shot tasks of it: from the first gigabyte
in memory, from the whole file as a `numpy.memmap`, and from the whole file through a Grain `MapDataset` of tasks. Each
is a process of its own, in turn, several times; equal networks, tasks of the same sizes, the same program but for where
examples come from. `--cgroup` names the folder of a control group with a limit of memory, which the processes join, as
root for example

    mkdir /sys/fs/cgroup/memory/small && echo 4G > /sys/fs/cgroup/memory/small/memory.limit_in_bytes

so that the file cannot stay in the cache of the system. Prints a table, writes results/larger-than-memory.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets.files import replacing, write_json

SIDE, CHANNELS = 84, 3
BYTES = SIDE * SIDE * CHANNELS
QUERIES = 15
IN_MEMORY = 10**9  # bytes of images that the training from memory has
SOURCES = ("memory", "memmap", "grain")
NETWORKS = {"conv-4 of 32 filters": 32, "conv-4 of 4 filters": 4}
ROUNDS, SECONDS = 3, 10.0


def images_in(path: Path) -> NDArray[np.uint8]:
    """The images of a file, class after class, `[images, side, side, channels]`, which stay on the disk."""
    count = path.stat().st_size // BYTES
    return np.memmap(path, np.uint8, "r", shape=(count, SIDE, SIDE, CHANNELS))


def make(path: Path, count: int) -> None:
    """Writes a file of so many random images."""
    random = np.random.default_rng(0)
    with replacing(path) as file:
        for begin in range(0, count, 1000):
            file.write(random.bytes(BYTES * min(1000, count - begin)))


def labels(count: int, classes: int) -> NDArray[np.integer]:
    """The class of each image, class after class, in equal numbers as far as they go."""
    return np.sort(np.arange(count) % classes)


def grain_tasks(images: NDArray[np.uint8], classes: int, count: int) -> Any:
    """A Grain `MapDataset` of tasks: the task of a number is drawn from that number alone."""
    import grain

    from mtnets.tasks.sampling.host_callback import RowReader

    each, read = len(images) // classes, RowReader(images, np.arange(len(images)), np.uint8)

    def task(number: int) -> Any:
        random = np.random.default_rng(number)
        chosen = random.choice(classes, 5, replace=False)
        rows = np.stack([each * one + random.choice(each, 1 + QUERIES, replace=False) for one in chosen])
        x = read(rows).astype(np.float32) / 255
        y = np.repeat(np.arange(5), [1] * 5), np.repeat(np.arange(5), QUERIES)
        return (x[:, 0], y[0]), (x[:, 1:].reshape(-1, SIDE, SIDE, CHANNELS), y[1])

    return grain.MapDataset.range(count).map(task)


def rate(source: str, path: Path, filters: int, seconds: float, classes: int) -> float:
    """Meta-steps per second in this process."""
    import mtnets
    from mtnets.outer.loop import begin
    from mtnets.outer.phases import Phases
    from mtnets.outer.plan import make_plan

    images = images_in(path)
    if source == "memory":
        images = np.array(images[: min(len(images), IN_MEMORY // BYTES)])
    model = mtnets.models.Conv4(filters=filters, downsample="pool").build(5, SIDE, CHANNELS)
    if source == "grain":
        tasks = mtnets.tasks.from_sequence(*([grain_tasks(images, classes, 10**6)] * 3), loss="cross-entropy")
    else:
        inputs = mtnets.tasks.Images(SIDE, CHANNELS)
        tasks = mtnets.tasks.arrays(images, labels(len(images), classes), queries=QUERIES, inputs=inputs)
    options: Any = {"meta_steps": 10**6, "meta_batch": 4, "inner_steps": 1, "devices": 1}
    plan = make_plan(model, mtnets.maml(0.01), tasks, options=options)
    phases, start = Phases(plan), begin(plan)
    phases.run(0, 1, start.outer, start.sums)
    begun, step = time.perf_counter(), 1
    while (taken := time.perf_counter() - begun) < seconds:
        phases.run(step, step + 1, start.outer, start.sums)  # another meta-step, and so other tasks
        step += 1
    return (step - 1) / taken


def in_process(source: str, path: Path, filters: int, options: argparse.Namespace) -> float:
    """The same in a process of its own, in a control group."""
    command = [sys.executable, "-m", "benchmarks.larger_than_memory", "--child", source, "--folder", str(path.parent)]
    command += ["--filters", str(filters), "--seconds", str(options.seconds), "--classes", str(options.classes)]
    join: Callable[[], Any] | None = None
    if options.cgroup is not None:
        procs = options.cgroup / "cgroup.procs"
        join = lambda: procs.write_text(str(os.getpid()))  # noqa: E731
    answer = subprocess.run(command, stdout=subprocess.PIPE, preexec_fn=join, check=True, text=True)
    return float(answer.stdout.split()[-1])


def main(args: list[str] | None = None) -> None:
    """Measures all in turn, and prints ratios to the training from memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cgroup", type=Path)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--out", type=Path, default=Path("results/larger-than-memory.json"))
    parser.add_argument("--child", choices=SOURCES, help=argparse.SUPPRESS)
    parser.add_argument("--filters", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    path = options.folder / "images.bin"
    if options.child:
        print(rate(options.child, path, options.filters, options.seconds, options.classes))
        return
    count = int(options.gigabytes * 1e9) // BYTES // options.classes * options.classes
    if not path.exists() or path.stat().st_size != count * BYTES:
        make(path, count)
    rows = []
    for about, filters in NETWORKS.items():
        rates: dict[str, list[float]] = {source: [] for source in options.sources}
        for _ in range(options.rounds):
            for source in options.sources:
                rates[source].append(in_process(source, path, filters, options))
        for source in options.sources:
            shares = [a / b for a, b in zip(rates[source], rates[options.sources[0]], strict=True)]
            row = {"network": about, "source": source, "meta_steps_per_second": rates[source]}
            row |= {"share": statistics.median(shares), "least": min(shares), "most": max(shares)}
            print(
                f"{about:22} {source:8} {statistics.median(rates[source]):8.2f} meta-steps/s   "
                f"{row['share']:.2f} of {options.sources[0]} ({row['least']:.2f} to {row['most']:.2f})",
                flush=True,
            )
            rows.append(row)
    limit = None if options.cgroup is None else _limit(options.cgroup)
    command = " ".join(["python", "-m", "benchmarks.larger_than_memory", *(f"{a}" for a in _public(sys.argv[1:]))])
    record = {"command": command, "file_bytes": path.stat().st_size, "memory_limit_bytes": limit, "rows": rows}
    write_json(options.out, json.loads(json.dumps(record)))


def _limit(cgroup: Path) -> int | None:
    names = ("memory.limit_in_bytes", "memory.max")
    return next((int((cgroup / name).read_text()) for name in names if (cgroup / name).exists()), None)


def _public(arguments: list[str]) -> list[str]:
    """Arguments without the paths of this machine."""
    return ["FOLDER" if before in ("--folder", "--cgroup") else each
            for before, each in zip(["", *arguments], arguments, strict=False)]  # fmt: skip


if __name__ == "__main__":
    main()
