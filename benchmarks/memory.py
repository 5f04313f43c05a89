"""What a meta-step costs in memory and time as inner steps and tasks grow, with and without recomputation.

    python -m benchmarks.memory            (10 minutes on 2 cores)

Memory is predicted (`mtnets.memory_needed`: what XLA reserves for a meta-step, on one device), and on Linux measured,
as the growth of the process while it runs; time is the median of several meta-steps. One network (conv-4 with 16
filters, drawn characters, 5-way 1-shot), MAML with the exact meta-gradient. Prints a table, writes results/memory.json
and docs/figures/memory.png.
"""

import argparse
import ctypes
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from matplotlib.ticker import LogLocator

import mtnets
from experiments.report.drawing import figure, save
from mtnets.files import write_json
from mtnets.outer.loop import begin
from mtnets.outer.phases import Phases
from mtnets.outer.plan import make_plan

STEPS, TASKS = (1, 3, 10, 30, 100), (1, 4, 16, 64, 256, 1024)
FILTERS = 16
REPEATS = 3
MOST_SECONDS = 20.0  # that a meta-step may be expected to take where it is run
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def settings(steps: tuple[int, ...], tasks: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Inner steps, tasks at once, and `remat_every`: nothing, and the square root of the steps."""
    for count in steps:
        for every in sorted({0, round(math.sqrt(count))} if count > 1 else {0}):
            yield count, 1, every
    for count in tasks:
        if count > 1:
            yield 1, count, 0


def measure(steps: int, tasks: int, remat_every: int, most_seconds: float) -> dict[str, Any]:
    """Memory of one meta-step, and its time where that is not too long."""
    family = mtnets.tasks.glyphs(ways=5, shots=1, network=mtnets.models.Conv4(filters=FILTERS))
    method = mtnets.maml(0.01, estimator=mtnets.Exact(remat_every=remat_every))
    options = {"meta_batch": tasks, "inner_steps": steps, "tasks_at_once": tasks, "devices": 1, "meta_steps": 100}
    plan = make_plan(None, method, family, options=options)
    start, phases = begin(plan), Phases(plan)
    program = phases.compile(0, start.outer, start.sums)
    one = start.outer, start.sums, plan.keys, jnp.int32(0), jnp.int32(1), plan.inner_lr, plan.train
    seconds, grown = [], None
    if 0.01 * steps * tasks < most_seconds:
        grown = growth(lambda: jax.block_until_ready(program(*one)))
        for _ in range(REPEATS):
            began = time.perf_counter()
            jax.block_until_ready(program(*one))
            seconds.append(time.perf_counter() - began)
    return {
        "inner_steps": steps,
        "tasks_at_once": tasks,
        "remat_every": remat_every,
        "bytes": phases.bytes,
        "grown_bytes": grown,
        "seconds": statistics.median(seconds) if seconds else None,
    }


def growth(run: Callable[[], Any]) -> int | None:
    """By how many bytes the resident set of this process grows at most while something runs; None where the system
    does not say."""
    if not RESET.exists():
        return None
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # else memory that compilation has freed would be used again unseen
    RESET.write_text("5")  # the largest resident set is counted anew
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = dict(line.split(":", 1) for line in STATUS.read_text("utf-8").splitlines())
    return int(lines[name].split()[0]) * 1024


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Memory and time over inner steps and over tasks."""
    canvas, axes = figure(4, 12.0, 3.0, share=False)
    panels = (
        ("inner_steps", "bytes", 2**-20, "inner steps", "memory, MiB"),
        ("inner_steps", "seconds", 1e3, "inner steps", "milliseconds per meta-step"),
        ("tasks_at_once", "bytes", 2**-20, "tasks at once", "memory, MiB"),
        ("tasks_at_once", "seconds", 1e3, "tasks at once", "milliseconds per meta-step"),
    )
    for ax, (x, y, unit, below, beside) in zip(axes.flat, panels, strict=True):
        other = "tasks_at_once" if x == "inner_steps" else "inner_steps"
        chosen = [row for row in rows if row[other] == 1 and row[y] is not None]
        for label, style, part in (
            ("everything kept", "o-", [row for row in chosen if not row["remat_every"]]),
            ("computed again, every √steps", "s--", [row for row in chosen if row["remat_every"]]),
        ):
            if part:
                ax.plot([row[x] for row in part], [unit * row[y] for row in part], style, label=label, markersize=4)
        ax.set(xscale="log", yscale="log", xlabel=below, ylabel=beside)
        ax.set_xticks(sorted({row[x] for row in chosen}))
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
    axes.flat[0].legend(fontsize=8)
    save(canvas, path)


def main(args: list[str] | None = None) -> None:
    """Measures, prints, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--tasks", nargs="+", type=int, default=TASKS)
    parser.add_argument("--most-seconds", type=float, default=MOST_SECONDS)
    parser.add_argument("--out", type=Path, default=Path("results/memory.json"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/memory.png"))
    options = parser.parse_args(args)
    machine = {"backend": jax.default_backend(), "device": jax.devices()[0].device_kind, "jax": jax.__version__}
    rows: list[dict[str, Any]] = []
    for setting in settings(tuple(options.steps), tuple(options.tasks)):
        row = measure(*setting, options.most_seconds)
        rows.append(row)
        taken = "" if row["seconds"] is None else f"  {row['seconds']:8.3f} s"
        grown = "" if row["grown_bytes"] is None else f"  grew by {row['grown_bytes'] / 2**20:9.2f}"
        print(
            f"{row['inner_steps']:4} steps  {row['tasks_at_once']:5} at once  again every {row['remat_every']:3}  "
            f"{row['bytes'] / 2**20:9.2f} MiB{grown}{taken}",
            flush=True,
        )
        write_json(
            options.out,
            {"command": " ".join(["python", "-m", "benchmarks.memory", *sys.argv[1:]]), **machine, "rows": rows},
        )
    draw(json.loads(options.out.read_text("utf-8"))["rows"], options.figure)


if __name__ == "__main__":
    main()
