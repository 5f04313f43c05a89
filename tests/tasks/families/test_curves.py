"""Curves, against their formulas."""

import numpy as np
import pytest

from mtnets.errors import OptionError
from mtnets.tasks import AS_THEY_ARE, Polynomial, Sinusoid, polynomial, sinusoid
from samples import draw

TASKS = 150


def curve(task) -> tuple[np.ndarray, np.ndarray]:
    """All points of each task, support and query, `[tasks, points]`, float64."""
    x = np.concatenate([task.support.x, task.query.x], axis=1)[..., 0]
    y = np.concatenate([task.support.y, task.query.y], axis=1)[..., 0]
    return x.astype(np.float64), y.astype(np.float64)


def test_shapes() -> None:
    for family in (Sinusoid(shots=3, queries=7), Polynomial(shots=3, queries=7)):
        task = draw(family, 2)
        assert task.support.x.shape == task.support.y.shape == (2, 3, 1)
        assert task.query.x.shape == task.query.y.shape == (2, 7, 1)
        assert task.query.x.dtype == np.float32


def test_every_task_is_a_sine() -> None:
    """For the right ω, `A sin(ωx − φ) = a sin ωx + b cos ωx` fits support and query alike exactly."""
    x, y = curve(draw(Sinusoid(shots=20, queries=20), TASKS))
    assert x.min() > -5
    assert x.max() < 5
    amplitudes, phases, frequencies = [], [], []
    for xs, ys in zip(x, y, strict=True):
        grid, residual, frequency, a, b = np.linspace(0.8, 1.2, 41), np.inf, 0.0, 0.0, 0.0
        for _ in range(4):  # finer and finer
            fits = []
            for frequency in grid:
                basis = np.stack([np.sin(frequency * xs), np.cos(frequency * xs)], axis=1)
                solution = np.linalg.lstsq(basis, ys, rcond=None)[0]
                fits.append((np.abs(basis @ solution - ys).max(), frequency, solution))
            residual, frequency, (a, b) = min(fits, key=lambda fit: fit[0])
            grid = np.clip(np.linspace(frequency - grid[1] + grid[0], frequency + grid[1] - grid[0], 21), 0.8, 1.2)
        assert residual < 1e-3
        amplitudes.append(np.hypot(a, b))
        phases.append(np.arctan2(-b, a))
        frequencies.append(frequency)
    for found, (low, high) in ((amplitudes, (0.1, 5)), (phases, (0, np.pi)), (frequencies, (0.8, 1.2))):
        values = np.array(found)
        assert values.min() > low - 0.01
        assert values.max() < high + 0.01
        # Uniform: the mean of n values is normal around the middle.
        assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * TASKS)
        assert values.std() == pytest.approx((high - low) / np.sqrt(12), rel=0.25)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_every_task_is_a_polynomial(order: int) -> None:
    x, y = curve(draw(Polynomial(order=order, shots=10, queries=10), TASKS))
    assert x.min() > -2
    assert x.max() < 2
    fits = np.stack([np.polyfit(xs, ys, order)[::-1] for xs, ys in zip(x, y, strict=True)])
    values = np.stack([np.polyval(c[::-1], xs) for c, xs in zip(fits, x, strict=True)])
    np.testing.assert_allclose(values, y, atol=1e-5)
    bounds = 0.5 ** np.arange(order + 1)
    assert (np.abs(fits) < bounds + 1e-4).all()
    np.testing.assert_allclose(fits.std(0), bounds / np.sqrt(3), rtol=0.25)


def test_families() -> None:
    for family, rate in ((sinusoid(shots=5), 0.01), (polynomial(order=1, shots=5), 1e-3)):
        assert family.train is family.validation is family.test is family.options
        assert family.loss == "mse"
        assert family.inputs is AS_THEY_ARE
        assert (family.recipe.inner_lr, family.recipe.meta_batch) == (rate, 4)
    assert sinusoid(shots=5).options == Sinusoid(shots=5)


@pytest.mark.parametrize("options", [Sinusoid(shots=0), Polynomial(queries=0), Polynomial(order=-1)])
def test_impossible_options(options: Sinusoid | Polynomial) -> None:
    with pytest.raises(OptionError, match="it must be at least"):
        options.build()
