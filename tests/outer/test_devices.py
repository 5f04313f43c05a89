"""Any number of devices serves any number of tasks."""

import subprocess
import sys

import pytest

CODE = """
import sys
import numpy as np
from mtnets.devices import use_cores
use_cores(int(sys.argv[1]))
import jax, mtnets
tasks, model = mtnets.tasks.sinusoid(shots=2), mtnets.models.mlp(1, 4, 1)
losses = []
for devices in (int(sys.argv[1]), 1):
    learner = mtnets.meta_train(
        model, mtnets.maml(), tasks, meta_steps=4, meta_batch=6, validate_every=2, validation_tasks=10, progress=False,
        devices=devices,
    )
    for more in ({}, {"devices": 2}):  # another number than that of the training
        losses.append(mtnets.evaluate(learner, tasks, 20, **more).losses)
for loss in losses:
    np.testing.assert_allclose(loss, losses[0], rtol=1e-4)
    assert loss.shape == (20, 2)
"""


@pytest.mark.parametrize("count", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 6, 7, 8, 12, 16))])
def test_training_validation_and_test_share_any_number_of_devices(count: int) -> None:
    """A meta-batch of 6, 10 validation tasks and 20 test tasks, on numbers that divide some of them or none."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", CODE, str(count)], check=True)
