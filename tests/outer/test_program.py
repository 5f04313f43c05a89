"""The weights of a multi-step loss."""

import numpy as np
import pytest

from mtnets.outer.program import multi_step_weights


@pytest.mark.parametrize(
    ("steps", "progress", "weights"),
    [
        (4, 0.0, [0, 0.25, 0.25, 0.25, 0.25]),
        (4, 0.5, [0, 0.125, 0.125, 0.125, 0.625]),
        (4, 1.0, [0, 0, 0, 0, 1]),
        (4, 3.0, [0, 0, 0, 0, 1]),
        (1, 0.3, [0, 1]),
        (0, 0.3, [1]),
    ],
)
def test_multi_step_weights(steps: int, progress: float, weights: list[float]) -> None:
    """Uniform after each step to begin with, the last alone in the end."""
    np.testing.assert_allclose(multi_step_weights(steps, progress), weights, atol=1e-7)
