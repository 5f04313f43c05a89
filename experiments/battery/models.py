"""Models of one cell's readings alone, and the Gaussian process of what a network of all cells leaves.

Each takes the inputs and targets of a task, in units of the network, and returns a function of further inputs.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Kernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.battery.cells import (
    CENTRE,
    NEW,
    NOISE,
    SPREAD,
    THERMAL,
    VOLT,
    VOLTS,
    Cell,
    Laboratory,
    batch,
    cell,
    slowness,
    voltage,
)
from experiments.battery.judging import CHOOSING_SEED, Predict, drawn, errors_of, others

Array = NDArray[Any]
APART = 1e6  # between cells, in a kernel's units: they say nothing of each other
KERNEL_TASKS = 20  # by which a kernel is chosen
KERNEL_CELLS, KERNEL_READINGS = 30, 12  # that the kernel of the rest is fitted to
FIXED: dict[str, Any] = {"optimizer": None}
SMALL = 0.01  # charge that is missing or left, at least, in logarithms
GUESS, SPAN = 0.5, 12**-0.5  # mean and standard deviation of wear in the laboratory
LIMITS = (-0.2, 2.0)  # of wear, for cells of any kind
STARTS = (0.0, 0.5, 1.0)  # of wear, of which further ones are tried where the fit is bad; the best counts
WEAK = 1e-3  # of the strength: it tells apart what readings do not


def combined(x: Array) -> Array:
    """Features of the combined model (Plett, J. Power Sources 134, 262, 2004), with a resistance that depends on
    temperature, `[examples, 6]`."""
    charge, current, temperature = (x * np.asarray(SPREAD) + np.asarray(CENTRE)).T
    left = np.maximum(1 - charge, SMALL)
    return np.stack(
        [1 / left, left, np.log(left), np.log(np.maximum(charge, SMALL)), current, current * (temperature - 25)], 1
    )


def ridge(x: Array, y: Array) -> Predict:
    """Ridge regression on these features; its strength is chosen by leaving one reading out."""
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-4, 3, 15))).fit(combined(x), y[:, 0])
    return lambda new: model.predict(combined(new))[:, None]


LENGTHS, UNKNOWN = (0.1, 30.0), WhiteKernel(1e-3, (1e-5, 1e-1))  # of kernels, in units of inputs; noise
EACH: Any = [2.0] * 3  # a length for each input
EACH_AND_CELL: Any = [*EACH, 1.0]
KERNELS = {  # one of which other cells choose
    "one length": ConstantKernel() * RBF(2.0, LENGTHS) + UNKNOWN,
    "a length for each input": ConstantKernel() * RBF(EACH, LENGTHS) + UNKNOWN,
    "a plane and one length": DotProduct() + ConstantKernel(0.1) * RBF(2.0, LENGTHS) + UNKNOWN,
}


def gaussian_process(kernel: Kernel, x: Array, y: Array) -> Predict:
    """A Gaussian process whose kernel is fitted to the readings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound
        model = GaussianProcessRegressor(kernel, normalize_y=True).fit(x, y)
    return lambda new: np.asarray(model.predict(new)).reshape(-1, 1)


def best_kernel(shots: int) -> Kernel:
    """The kernel that does best on cells of the laboratory that no network is trained on."""
    tasks = drawn(others(shots), KERNEL_TASKS, CHOOSING_SEED)
    means = {
        name: errors_of(functools.partial(gaussian_process, kernel), tasks).mean() for name, kernel in KERNELS.items()
    }
    return KERNELS[min(means, key=means.__getitem__)]


def kernel_of_rest(population: Predict, cells: Laboratory) -> Kernel:
    """The kernel of what a network of all cells leaves, fitted to cells that it was trained on."""
    inputs, rest = [], []
    loads, volts = jax.device_get(jax.jit(jax.vmap(cells.readings))(np.arange(KERNEL_CELLS)))
    for number in range(KERNEL_CELLS):
        x, y, *_ = jax.device_get(batch(loads[number], volts[number]).take(slice(KERNEL_READINGS)))
        rest.append(y - population(x))
        inputs.append(np.concatenate([x, np.full((len(x), 1), APART * number)], 1))
    lengths = RBF(EACH_AND_CELL, [LENGTHS] * 3 + [(0.999, 1.001)])  # the last one is of cells
    kernel = ConstantKernel(0.1, (1e-4, 1e2)) * lengths + UNKNOWN
    model: Any = GaussianProcessRegressor(kernel).fit(np.concatenate(inputs), np.concatenate(rest))
    return model.kernel_


def of_rest(population: Predict, kernel: Kernel, x: Array, y: Array) -> Predict:
    """A network of all cells, and a Gaussian process of what it leaves of one."""
    model = GaussianProcessRegressor(kernel, **FIXED).fit(_one_cell(x), y - population(x))
    return lambda new: population(new) + np.asarray(model.predict(_one_cell(new))).reshape(-1, 1)


def _one_cell(x: Array) -> Array:
    return np.concatenate([x, np.zeros((len(x), 1))], 1)


def with_resistor(cell: Cell, load: jax.Array) -> jax.Array:
    """The equations as far as they are commonly used: the open-circuit voltage and a resistance that depends on
    temperature. The exchange current stands for that of reactions; diffusion is left out."""
    reaction = THERMAL / 2 * load[..., 1] * slowness(cell, load[..., 2]) / cell.exchange
    still = load.at[..., 1].set(0.0)
    return voltage(cell, still) - cell.resistance * load[..., 1] - reaction


def by_equations(equations: Callable[[Cell, jax.Array], jax.Array], strength: float, x: Array, y: Array) -> Predict:
    """The seven numbers of a cell by least squares on its equations.

    Args:
      equations: voltage, given a cell and loads.
      strength: of what is known of the laboratory's cells: 1 is the maximum a posteriori with a normal distribution of
        their mean and spread, 0 has bounds alone.
      x, y: the readings.
    """
    residual, slope, predict = _compiled(equations)
    args, answers = (x, y[:, 0], max(strength, WEAK)), []
    for start in STARTS:
        answers.append(least_squares(residual, np.full(len(NEW), start), slope, bounds=LIMITS, args=args))
        if answers[-1].cost < len(answers[-1].fun):  # twice what noise makes of it
            break
    best = min(answers, key=lambda answer: answer.cost)
    return lambda new: np.asarray(predict(best.x, new), np.float64)[:, None]


@functools.cache
def _compiled(equations: Callable[[Cell, jax.Array], jax.Array]) -> tuple[Any, Any, Any]:
    def predict(wear: jax.Array, x: jax.Array) -> jax.Array:
        return (equations(cell(wear), x * SPREAD + CENTRE) - VOLT) / VOLTS

    def residual(wear: jax.Array, x: jax.Array, y: jax.Array, strength: jax.Array) -> jax.Array:
        apart = (predict(wear, x) - y) * VOLTS / NOISE
        return jnp.concatenate([apart, strength * (wear - GUESS) / SPAN])

    return jax.jit(residual), jax.jit(jax.jacfwd(residual)), jax.jit(predict)
