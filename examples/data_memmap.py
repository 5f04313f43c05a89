"""An array larger than memory: examples stay on the disk, and only those of a task are read when it is drawn.

python examples/data_memmap.py        (a minute or two on two cores)
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import mtnets

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
CLASSES, EXAMPLES, FEATURES = 200, 50, 64

with tempfile.TemporaryDirectory() as folder:
    # as any program may have written the array, block by block
    path, rng = Path(folder) / "x.npy", np.random.default_rng(0)
    x = np.lib.format.open_memmap(path, "w+", np.float32, (CLASSES * EXAMPLES, FEATURES))
    y = np.arange(CLASSES).repeat(EXAMPLES)
    relevant = rng.normal(size=(4, FEATURES))  # classes differ in four directions, the same for all
    for c in range(CLASSES):
        x[y == c] = rng.normal(size=4) @ relevant + rng.normal(size=(EXAMPLES, FEATURES))
    x.flush()

    tasks = mtnets.tasks.arrays(np.load(path, mmap_mode="r"), y, ways=5, shots=1, queries=10)
    learner = mtnets.meta_train(None, mtnets.mt_net(), tasks, meta_steps=STEPS, validate_every=min(200, STEPS))
    print(mtnets.evaluate(learner, tasks, num_tasks=min(600, 4 * STEPS)))
