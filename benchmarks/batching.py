"""How many tasks a device should run at the same time, and over how many devices: milliseconds per meta-step.

    python -m benchmarks.batching            (7 minutes on 2 cores)

Prints a table and writes results/batching.json. Medians of several chunks; compare within one run only.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

import mtnets
from benchmarks.timing import cost
from mtnets.files import write_json
from mtnets.outer.plan import make_plan

END = 10**9  # a training that lasts longer than any measurement


class Case(NamedTuple):
    """What is measured.

    Attributes:
      about: the case in words.
      tasks: builds the task family.
      meta_batch: tasks per meta-step.
      at_once: numbers of tasks that a device runs at the same time.
    """

    about: str
    tasks: Callable[[], mtnets.tasks.Family]
    meta_batch: int
    at_once: tuple[int, ...]


CASES = {
    "sine": Case("sine, MLP 40-40, 4 tasks", mtnets.tasks.sinusoid, 4, (1, 2, 4)),
    "glyphs-8": Case(
        "glyphs, conv-4 8 filters, 16 tasks",
        lambda: mtnets.tasks.glyphs(queries=1, network=mtnets.models.Conv4(filters=8)),
        16,
        (1, 4, 16),
    ),
    "glyphs-64": Case("glyphs, conv-4 64 filters, 32 tasks", lambda: mtnets.tasks.glyphs(queries=1), 32, (1, 4)),
}


def measure(case: Case, devices: int, at_once: int, repeats: int, seconds: float) -> dict[str, Any]:
    """Milliseconds per meta-step of an MT-net with one inner step, the median of chunks that take `seconds` each."""
    plan = make_plan(
        None,
        mtnets.mt_net(),
        case.tasks(),
        options={
            "meta_steps": END,
            "meta_batch": case.meta_batch,
            "inner_steps": 1,
            "devices": devices,
            "tasks_at_once": at_once,
        },
    )
    measured = cost(plan, repeats, seconds)
    return {
        "case": case.about,
        "devices": devices,
        "tasks_at_once": at_once,
        "ms_per_meta_step": 1000 * measured.seconds,
        "compile_seconds": measured.compile_seconds,
    }


def main() -> None:
    """Measures all cases, and writes the table after each row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--devices", type=int, default=2, help="CPU devices to compare with one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement")
    parser.add_argument("--out", default="results/batching.json")
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", args.devices)

    machine = {"backend": jax.default_backend(), "device": jax.devices()[0].device_kind, "jax": jax.__version__}
    rows = []
    for case in (CASES[name] for name in args.cases):
        for devices, at_once in itertools.product(sorted({1, min(args.devices, len(jax.devices()))}), case.at_once):
            if at_once > case.meta_batch // devices:
                continue
            row = measure(case, devices, at_once, args.repeats, args.seconds)
            print(
                f"{case.about:38} devices {devices}  at once {at_once:3}  {row['ms_per_meta_step']:9.3f} ms", flush=True
            )
            rows.append(row)
            write_json(args.out, {"command": " ".join(["python", *sys.argv]), **machine, "rows": rows})


if __name__ == "__main__":
    main()
