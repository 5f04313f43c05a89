"""How the cost of a meta-step grows: with tasks, inner steps, width, image size, stored classes, devices, processes.

    python -m benchmarks.growth            (about 10 minutes on 2 cores)

One setting is varied at a time, from a convolutional MT-net on 5-way 1-shot tasks of random grey images. Time is the
median of several chunks of meta-steps; memory is what XLA reserves, data included. Prints a table, writes
results/growth.json and docs/figures/growth.png; compare within one axis only. With `--axes`, other axes stay in the
file as they are. Processes have one device each and meet on the loopback; more of them than cores share these.
"""

import argparse
import dataclasses
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

import mtnets
from benchmarks.timing import Cost, cost
from experiments.report.drawing import figure, save
from mtnets.errors import RunError
from mtnets.files import read_json, write_json
from mtnets.outer.loop import begin
from mtnets.outer.phases import Phases
from mtnets.outer.plan import Plan, make_plan

END = 10**6  # a training that lasts longer than any measurement
EXAMPLES = 20  # of each class, as in Omniglot
REPEATS, SECONDS = 3, 0.5
PROCESSES = "processes"  # the axis that is no setting of one process
PATIENCE = 600.0  # seconds for processes to meet, compile and measure


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a meta-step is made of; the defaults are where each axis begins or passes through."""

    tasks: int = 16
    inner_steps: int = 1
    filters: int = 16
    image_size: int = 28
    classes: int = 100
    devices: int = 1

    def plan(self) -> Plan:
        """A training with this setting."""
        random, size = np.random.default_rng(0), self.image_size
        images = random.integers(0, 256, (self.classes * EXAMPLES, size, size, 1), np.uint8)
        labels = np.repeat(np.arange(self.classes), EXAMPLES)
        inputs = mtnets.tasks.Images(size, 1)
        tasks = mtnets.tasks.arrays(images, labels, queries=5, inputs=inputs)
        model = mtnets.models.conv4(5, filters=self.filters, image_size=size)
        options = {"meta_batch": self.tasks, "inner_steps": self.inner_steps, "devices": self.devices}
        return make_plan(model, mtnets.mt_net(0.01), tasks, options={"meta_steps": END, **options})


AXES: dict[str, tuple[int, ...]] = {
    "tasks": (1, 4, 16, 64),
    "inner_steps": (1, 2, 5, 10),
    "filters": (8, 16, 32, 64),
    "image_size": (14, 28, 56, 84),
    "classes": (100, 1000, 10_000),
    "devices": (1, 2),
    PROCESSES: (1, 2, 4),
}
UNITS = {"inner_steps": "inner steps", "image_size": "image side, pixels", "classes": "classes stored"}


def of_processes(count: int, repeats: int, seconds: float) -> Cost:
    """What a meta-step of the first setting costs each of so many processes; the slowest says the time.

    Raises:
      RunError: if one of them fails.
    """
    alone = cost(Setting().plan(), 1, seconds).seconds
    steps = max(2, int(seconds / alone))  # processes that train together take equally many meta-steps
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.growth", "--repeats", str(repeats), "--of", f"127.0.0.1:{port}"]
    started = [
        subprocess.Popen([*command, *map(str, (count, i, steps))], stdout=subprocess.PIPE, text=True)
        for i in range(count)
    ]
    said = [process.communicate(timeout=PATIENCE)[0] for process in started]
    if any(process.returncode for process in started):
        raise RunError(f"One of {count} processes failed; what it said stands above.")
    return max((Cost(*json.loads(line.splitlines()[-1])) for line in said), key=lambda each: each.seconds)


def one_process(where: str, processes: int, process: int, steps: int, repeats: int) -> None:
    """Is one of them: prints its cost."""
    jax.config.update("jax_num_cpu_devices", 1)
    mtnets.join_processes(where, processes, process)
    print(json.dumps(cost(Setting().plan(), repeats, 0.0, steps=steps)))


def reduced_bytes(plan: Plan) -> int:
    """Bytes that each device puts into the sum over devices, once per meta-step, as the compiled program says."""
    start, phases = begin(plan), Phases(plan)
    text = phases.compile(0, start.outer, start.sums).as_text()  # type: ignore[attr-defined]
    total = 0
    for line in text.splitlines():
        if match := re.search(r"= (.*?) all-reduce(?:-start)?\(", line):
            shapes = re.findall(r"f32\[([\d,]*)\]", match[1])
            total += sum(4 * int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes)
    return total


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and memory over each axis."""
    axes = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    canvas, panels = figure(len(axes), 2.4 * len(axes), 4.6, share=False, rows=2)
    panels = panels.reshape(2, -1)
    for column, axis in enumerate(axes):
        chosen = [row for row in rows if row["axis"] == axis]
        for panel, name, unit in ((panels[0, column], "seconds", 1e3), (panels[1, column], "bytes", 1e-6)):
            panel.plot([row["value"] for row in chosen], [unit * row[name] for row in chosen], "o-", markersize=4)
            panel.set(xscale="log", yscale="log", xlabel=UNITS.get(axis, axis))
            panel.set_xticks([row["value"] for row in chosen], [f"{row['value']:g}" for row in chosen])
            panel.xaxis.set_minor_formatter("")
            values = [unit * row[name] for row in rows]
            panel.set_ylim(min(values) / 1.3, 1.3 * max(values))  # the same scale for all: slopes can be compared
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter("")
    panels[0, 0].set_ylabel("ms per meta-step")
    panels[1, 0].set_ylabel("memory, MB")
    save(canvas, path)


def main(args: list[str] | None = None) -> None:
    """Measures, prints, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--values", nargs="+", type=int, help="in the place of those of each axis")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    parser.add_argument("--out", type=Path, default=Path("results/growth.json"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/growth.png"))
    parser.add_argument("--of", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.of:
        where, *numbers = options.of
        return one_process(where, *map(int, numbers), repeats=options.repeats)
    jax.config.update("jax_num_cpu_devices", max(AXES["devices"]))
    machine = {"backend": jax.default_backend(), "device": jax.devices()[0].device_kind, "jax": jax.__version__}
    command = " ".join(["python", "-m", "benchmarks.growth", *sys.argv[1:]])
    before = read_json(options.out)["rows"] if options.out.exists() else []
    rows = [row for row in before if row["axis"] not in options.axes]
    for axis in options.axes:
        for value in options.values or AXES[axis]:
            row: dict[str, Any] = {"axis": axis, "value": value}
            if axis == PROCESSES:
                row |= of_processes(value, options.repeats, options.seconds)._asdict()
            else:
                plan = dataclasses.replace(Setting(), **{axis: value}).plan()
                row |= cost(plan, options.repeats, options.seconds)._asdict()
                row |= {"reduced_bytes": reduced_bytes(plan)} if axis == "devices" else {}
            print(f"{axis:12} {value:6}  {1e3 * row['seconds']:9.2f} ms  {row['bytes'] / 1e6:9.2f} MB", flush=True)
            rows.append(row)
            write_json(options.out, {"command": command, **machine, "rows": rows})
    draw(rows, options.figure)


if __name__ == "__main__":
    main()
