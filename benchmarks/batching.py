"""How many tasks a device should run at the same time, and over how many devices: milliseconds per meta-step.

    python benchmarks/batching.py            (7 minutes on 2 cores)

Prints a table and writes results/batching.json. Medians of several chunks; compare within one run only.
"""

import argparse
import statistics
import sys
import time

import jax
import jax.numpy as jnp

import mtnets
from mtnets.files import write_json
from mtnets.outer.train import Training, _Run

CASES = {
    "sine, MLP 40-40, 4 tasks": (mtnets.tasks.sinusoid, 4, (1, 2, 4)),
    "glyphs, conv-4 8 filters, 16 tasks": (
        lambda: mtnets.tasks.glyphs(queries=1, network=mtnets.models.Conv4(filters=8)),
        16,
        (1, 4, 16),
    ),
    "glyphs, conv-4 64 filters, 32 tasks": (lambda: mtnets.tasks.glyphs(queries=1), 32, (1, 4)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=2, help="CPU devices to compare with one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", default="results/batching.json")
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", args.devices)

    machine = {"backend": jax.default_backend(), "device": jax.devices()[0].device_kind, "jax": jax.__version__}
    rows = []
    for case, (build, meta_batch, choices) in CASES.items():
        family = build()
        for devices in sorted({1, min(args.devices, len(jax.devices()))}):
            for at_once in choices:
                if at_once > meta_batch // devices:
                    continue
                training = Training(
                    meta_steps=1, meta_batch=meta_batch, inner_steps=1, devices=devices, tasks_at_once=at_once
                )
                method = mtnets.mt_net(family.recipe.inner_lr)
                run = _Run(family.model(), method, family, training, [0], family.loss, None, False)
                outer = jax.jit(run.program.init)(run.keys, run.inner_lr)
                chunk = run._compile(outer, 1)

                def seconds(steps: int, run=run, outer=outer, chunk=chunk) -> float:
                    begun = time.perf_counter()
                    jax.block_until_ready(
                        chunk(outer, run.keys, jnp.int32(0), jnp.int32(steps), run.inner_lr, run.tasks)
                    )
                    return time.perf_counter() - begun

                seconds(2)
                steps = max(2, int(1 / max(seconds(2) / 2, 1e-5)))
                median = statistics.median(seconds(steps) / steps for _ in range(args.repeats))
                rows.append(
                    {
                        "case": case,
                        "devices": devices,
                        "tasks_at_once": at_once,
                        "ms_per_meta_step": 1000 * median,
                        "compile_seconds": run.compile_seconds,
                    }
                )
                print(f"{case:38} devices {devices}  at once {at_once:3}  {1000 * median:9.3f} ms", flush=True)
                write_json(args.out, {"command": " ".join(["python", *sys.argv]), **machine, "rows": rows})


if __name__ == "__main__":
    main()
