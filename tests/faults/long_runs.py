"""What a process gathers in a long run: memory, memory maps, open files, threads, compiled programs.

    python -m tests.faults.long_runs [sizes] [learners] [training] --report results/faults/long-runs.json

runs all of it, or the parts named, in about ten minutes on two cores.
"""

import functools
import gc
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import mtnets
from mtnets import Learner, Model
from mtnets.compilation import program
from tests.faults.measuring import measure


def held() -> dict[str, Any]:
    """What this process holds now."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8").splitlines())
    return {
        "MB": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "maps": Path("/proc/self/maps").read_bytes().count(b"\n"),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": int(status["Threads"]),
        "python_threads": threading.active_count(),
        "programs": program.cache_info().currsize,
    }


def points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Examples of a sine curve."""
    random = np.random.default_rng(seed)
    x = random.uniform(-5, 5, (count, 1)).astype(np.float32)
    return x, random.uniform(0.1, 5) * np.sin(x)


def training(meta_steps: int, samples: int) -> list[dict[str, Any]]:
    """A training of sine in a run folder, looked at after each validation."""
    rows = [{"meta_steps": 0} | held()]
    with tempfile.TemporaryDirectory() as folder:
        mtnets.run_training(
            mtnets.models.mlp(1, 40, 40, 1),
            mtnets.mt_net(0.01),
            mtnets.tasks.sinusoid(shots=10),
            out=Path(folder) / "run",
            progress=False,
            report=False,
            callback=lambda step, _: rows.append({"meta_steps": step} | held()),
            meta_steps=meta_steps,
            validate_every=meta_steps // samples,
            checkpoint_seconds=5,
        )
    return [*rows, {"meta_steps": meta_steps} | held()]


def small_learner(model: Model | None = None) -> Learner:
    """A learner of sine curves."""
    model, tasks = model or mtnets.models.mlp(1, 40, 40, 1), mtnets.tasks.sinusoid()
    return mtnets.meta_train(
        model, mtnets.mt_net(0.01), tasks, meta_steps=1, meta_batch=1, validate_every=0, progress=False
    )


def sizes(learner: Learner, adaptations: int, most: int, samples: int) -> list[dict[str, Any]]:
    """Adaptations to tasks of 1 … `most` examples, each with a prediction for as many others."""
    rows, begun = [{"adaptations": 0} | held()], time.perf_counter()
    random = np.random.default_rng(0)
    for i in range(1, adaptations + 1):
        support, query = random.integers(1, most + 1, 2)
        x, y = points(int(support), i)
        assert np.isfinite(learner.adapt(x, y)(points(int(query), -i % 2**31)[0])).all()
        if i % (adaptations // samples) == 0:
            rows.append({"adaptations": i, "seconds": round(time.perf_counter() - begun, 1)} | held())
    return rows


def learners(count: int, samples: int) -> list[dict[str, Any]]:
    """Learners that are loaded, used and thrown away, each with a network that equals no other."""
    network = mtnets.models.mlp(1, 8, 1)
    x, y = points(5, 0)
    with tempfile.TemporaryDirectory() as folder:
        small_learner(network).save(folder)
        rows, begun = [{"learners": 0} | held()], time.perf_counter()
        for i in range(1, count + 1):
            own = Model(functools.partial(network.init), functools.partial(network.apply), (1,))
            learner = mtnets.load(folder, model=own)
            assert np.isfinite(learner.adapt(x, y)(x)).all()
            if i % (count // samples) == 0:
                rows.append({"learners": i, "seconds": round(time.perf_counter() - begun, 1)} | held())
    return rows


PARTS = {
    "sizes": lambda: sizes(small_learner(), 10_000, 100, 20),
    "learners": lambda: learners(300, 20),
    "training": lambda: training(100_000, 20),
}


if __name__ == "__main__":
    measure(__doc__, PARTS)
