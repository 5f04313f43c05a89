"""What a GPU takes for a meta-step, and what precision and determinism cost there: one call, about five minutes.

    python -m benchmarks.gpu --out results/gpu.json
    python -m benchmarks.gpu --tiny --out tiny.json        (in small, on any device, to see whether it works)

Cells are those of `benchmarks.peers`; each runs the program of `meta_train` in a process of its own, one by one.
For each the file says:

- milliseconds per meta-step (a median), seconds to compile, and the most memory of the device;
- how far the meta-gradient at the start is from that in double precision, as a norm relative to its size;
- SHA-256 of what is learned after some meta-steps; `same_bits` says whether two processes agree in it;
- the share of the time in which the device computes, and what takes most of it, by JAX's profiler.
"""

import argparse
import collections
import dataclasses
import gzip
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.problem import Work, difference, load
from mtnets.files import finite, read_json, write_json
from mtnets.precision import DETERMINISTIC, NAMES

MEASUREMENTS, SECONDS = 5, 0.6  # of one part, and of each of them
LEARNED_AFTER = 20  # meta-steps, before what is learned is compared between processes
PROFILED = 10  # meta-steps
SIDE_BY_SIDE = 100  # trainings of sine curves
MOST_NAMED = 12  # kernels


class Part(NamedTuple):
    """What one process measures.

    Attributes:
      cell: of `benchmarks.peers`.
      method: `maml` or `mt-net`.
      precision: of products.
      deterministic: whether XLA is asked for the same bits.
      runs: trainings side by side.
      again: how often, to see whether processes agree.
    """

    cell: str
    method: str = "mt-net"
    precision: str = "float32"
    deterministic: bool = False
    runs: int = 1
    again: int = 1


PARTS = (
    Part("omniglot-5", again=2),
    Part("omniglot-5", precision="tf32"),
    Part("omniglot-5", precision="bfloat16"),
    Part("omniglot-5", deterministic=True, again=2),
    Part("omniglot-5", "maml"),
    Part("omniglot-20"),
    Part("pooled"),
    Part("colour"),
    Part("sine-4-1"),
    Part("sine-4-1", runs=SIDE_BY_SIDE),
)


def run(parts: Iterable[Part], out: Path, *, tiny: bool) -> dict[str, Any]:
    """Measures parts in turn, and writes the file after each.

    Args:
      parts: what is measured.
      out: the file.
      tiny: in small.
    """
    results: dict[str, Any] = {"tiny": tiny, "parts": []}
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            path = Path(folder) / f"{part.cell}-{part.method}.npz"
            if not path.exists():
                _child(
                    {"do": "prepare", "path": str(path), "work": [part.cell, part.method, tiny]}, JAX_PLATFORMS="cpu"
                )
            flags = os.environ.get("XLA_FLAGS", "")
            environment = {
                "JAX_DEFAULT_MATMUL_PRECISION": NAMES[part.precision],
                "XLA_FLAGS": f"{flags} {DETERMINISTIC}" if part.deterministic else flags,
            }
            asked = {"do": "measure", "path": str(path), "runs": part.runs}
            answers = [_child(asked, **environment) for _ in range(part.again)]
            entry = part._asdict() | answers[0]
            if part.again > 1:
                entry["same_bits"] = len({answer.get("learned") for answer in answers}) == 1
            results["parts"].append(entry)
            write_json(out, finite(results))
            print(_line(entry), flush=True)
    return results


def prepare(path: str, work: list[Any]) -> dict[str, Any]:
    """Writes the problem and its meta-gradient in double precision, which a CPU computes."""
    from benchmarks.peers.worker import prepare

    cell, method, tiny = work
    return prepare(path, dataclasses.asdict(Work(cell, method, "exact", tiny)), 0)


def measure(path: str, runs: int) -> dict[str, Any]:
    """One part, in this process."""
    import jax

    from benchmarks.peers.contenders.ours import Ours

    problem = load(Path(path))
    ours = Ours(problem, runs=runs)
    learned = None if runs > 1 else difference(ours.meta_gradient(), problem.reference)
    first = _seconds(ours, 1)
    ours.meta_steps(LEARNED_AFTER - 1)
    bits = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(ours.outer.meta)):
        bits.update(leaf.tobytes())
    step = min(_seconds(ours, 1) for _ in range(3))
    count = max(1, round(SECONDS / step))
    seconds = [_seconds(ours, count) / count for _ in range(MEASUREMENTS)]
    device = jax.devices()[0]
    return {
        "milliseconds": 1000 * statistics.median(seconds),
        "spread": [1000 * min(seconds), 1000 * max(seconds)],
        "compile_seconds": first - step,
        "gradient_error": learned,
        "learned": bits.hexdigest(),
        "peak_bytes": (device.memory_stats() or {}).get("peak_bytes_in_use"),
        "tasks_at_once": ours.plan.program.at_once,
        "machine": ours.plan.machine(),
        **_profile(ours),
    }


def _profile(ours: Any) -> dict[str, Any]:
    """What the profiler tells of some meta-steps."""
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            seconds = _seconds(ours, PROFILED)
        files = list(Path(folder).rglob("*.trace.json.gz"))
        events = json.loads(gzip.decompress(files[0].read_bytes()))["traceEvents"] if files else []
    return of_device(events, seconds, PROFILED)


def of_device(events: list[dict[str, Any]], seconds: float, meta_steps: int) -> dict[str, Any]:
    """The share of the time in which a GPU computes, and its milliseconds per meta-step by kernel.

    Args:
      events: of the profiler, as Chrome's tracing has them; times in microseconds.
      seconds: that the meta-steps took.
      meta_steps: their number.

    Returns:
      Nothing where the events are of no GPU.
    """
    named = [event for event in events if event.get("ph") == "M"]
    devices = {
        event["pid"]
        for event in named
        if event["name"] == "process_name" and event["args"]["name"].startswith("/device:GPU")
    }
    streams = {
        (event["pid"], event["tid"])
        for event in named
        if event["name"] == "thread_name" and event["pid"] in devices and "Stream" in event["args"]["name"]
    }
    kernels = [event for event in events if event.get("ph") == "X" and (event["pid"], event["tid"]) in streams]
    if not kernels:
        return {}
    spent: collections.Counter[str] = collections.Counter()
    busy = end = 0.0
    for kernel in sorted(kernels, key=lambda kernel: kernel["ts"]):
        stop = kernel["ts"] + kernel["dur"]
        spent[kernel["name"].rstrip("0123456789_.")] += kernel["dur"]
        busy += max(0.0, stop - max(end, kernel["ts"]))  # streams overlap
        end = max(end, stop)
    return {
        "busy": busy / 1e6 / seconds,
        "kernels_per_meta_step": len(kernels) / meta_steps,
        "milliseconds_by_kernel": {name: value / 1000 / meta_steps for name, value in spent.most_common(MOST_NAMED)},
    }


def _seconds(ours: Any, count: int) -> float:
    start = time.perf_counter()
    ours.meta_steps(count)
    return time.perf_counter() - start


def _child(asked: dict[str, Any], **environment: str) -> dict[str, Any]:
    """The answer of a process, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "benchmarks.gpu", "--child", json.dumps(asked), "--out", str(answer)]
        ran = subprocess.run(
            command,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[1],
        )
        if ran.returncode:
            return {"failed": ran.stderr.strip().splitlines()[-1:]}
        return read_json(answer)


def _line(entry: dict[str, Any]) -> str:
    name = f"{entry['cell']}, {entry['method']}, {entry['precision']}"
    name += ", deterministic" * entry["deterministic"] + f", {entry['runs']} side by side" * (entry["runs"] > 1)
    if "failed" in entry:
        return f"{name}: {entry['failed']}"
    said = [f"{entry['milliseconds']:.3f} ms per meta-step", f"{entry['compile_seconds']:.0f} s to compile"]
    if entry["gradient_error"] is not None:
        said.append(f"meta-gradient within {entry['gradient_error']:.1e}")
    if "busy" in entry:
        said.append(f"device busy {100 * entry['busy']:.0f} %")
    if "same_bits" in entry:
        said.append("two processes agree" if entry["same_bits"] else "two processes differ")
    return f"{name}: {', '.join(said)}"


def main(args: list[str] | None = None) -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/gpu.json"))
    parser.add_argument("--tiny", action="store_true", help="in small, to see whether it works")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.child is None:
        run(PARTS, options.out, tiny=options.tiny)
        return
    asked = json.loads(options.child)
    write_json(options.out, finite({"prepare": prepare, "measure": measure}[asked.pop("do")](**asked)))


if __name__ == "__main__":
    main()
