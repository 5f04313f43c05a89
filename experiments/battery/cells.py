"""Used lithium-ion cells, simulated: the voltage under any load, and readings of it as tasks.

A quasi-static single-particle model. Its open-circuit potentials are published fits of graphite and LiCoO₂; what
differs from cell to cell are seven numbers, each between that of a cell that is nearly new (0) and of a worn one (1).
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mtnets.inner import Batch, Task

NOISE = 0.005  # standard deviation of a reading, V
# NumPy's, since JAX would start with them at the import
CENTRE, SPREAD = (
    np.array(each, np.float32) for each in ([0.5, 0.8, 22.5], [0.3, 0.4, 10.0])
)  # of a load, for networks
VOLT, VOLTS = 3.8, 0.2  # the same of voltages, V
READINGS = 60  # of a cell of the laboratory
CURRENTS, TEMPERATURES = (0.1, 1.5), (5.0, 40.0)  # nominal currents; °C
THERMAL = 2 * 8.314 * 298.15 / 96485  # 2RT/F at 25 °C, V
Y_FULL = 0.5  # lithium in the positive electrode of a charged cell
X_EMPTY, Y_EMPTY = 0.03, 0.98  # lithium at which a discharge ends: beyond, voltages fall steeply


class Cell(NamedTuple):
    """What differs from cell to cell; capacities and currents are in those of a new cell.

    Attributes:
      lithium: lithium in the negative electrode of a charged cell, as a fraction.
      negative, positive: capacities of the electrodes.
      resistance: ohmic, V per nominal current.
      exchange: exchange current at 25 °C.
      diffusion: lithium that a surface lacks, as a fraction per nominal current at 25 °C.
      activation: how exchange and diffusion depend on temperature, kJ/mol.
    """

    lithium: Array
    negative: Array
    positive: Array
    resistance: Array
    exchange: Array
    diffusion: Array
    activation: Array


NEW = np.array([0.86, 1.22, 2.05, 0.02, 1.0, 0.005, 25.0], np.float32)
WORN = np.array([0.70, 1.05, 1.75, 0.08, 0.2, 0.030, 45.0], np.float32)


def cell(wear: Array) -> Cell:
    """The cell of seven numbers `[7]`: 0 is new, 1 is worn; beyond 1 it is more worn."""
    return Cell(*(NEW + wear * (WORN - NEW)))._replace(exchange=NEW[4] * (WORN[4] / NEW[4]) ** wear[4])


def graphite(x: Array) -> Array:
    """Open-circuit potential at a fraction x of lithium, V (Ramadass et al., J. Electrochem. Soc. 151, A196, 2004)."""
    powers = 0.7222 + 0.1387 * x + 0.029 * x**0.5 - 0.0172 / x + 0.0019 / x**1.5
    return powers + 0.2808 * jnp.exp(0.9 - 15 * x) - 0.7984 * jnp.exp(0.4465 * x - 0.4108)


def cobalt_oxide(y: Array) -> Array:
    """The same of LiCoO₂ (as above)."""
    above = jnp.polyval(jnp.array([433.434, -462.471, 342.909, -401.119, 88.669, -4.656]), y**2)
    return above / jnp.polyval(jnp.array([95.96, -73.083, 37.311, -79.532, 18.933, -1.0]), y**2)


def slowness(cell: Cell, temperature: Array) -> Array:
    """How much slower reactions and diffusion are than at 25 °C (Arrhenius)."""
    return jnp.exp(1000 * cell.activation / 8.314 * (1 / (temperature + 273.15) - 1 / 298.15))


def voltage(cell: Cell, load: Array) -> Array:
    """Voltage, V.

    Args:
      load: `[..., (charge drawn since full, current, temperature in °C)]`.
    """
    charge, current, temperature = load[..., 0], load[..., 1], load[..., 2]
    slow = slowness(cell, temperature)
    lack = cell.diffusion * current * slow
    # held where the potentials are of use, for guesses of a cell that would be empty
    x = jnp.maximum(cell.lithium - charge / cell.negative - lack, X_EMPTY / 2)
    y = jnp.minimum(Y_FULL + charge / cell.positive + lack * cell.negative / cell.positive, (1 + Y_EMPTY) / 2)
    kinetics = THERMAL * jnp.arcsinh(current * slow / (2 * cell.exchange))
    return cobalt_oxide(y) - graphite(x) - cell.resistance * current - kinetics


def drawn_loads(cell: Cell, key: Array, count: int) -> Array:
    """Loads `[count, 3]` that a cell can bear: from full to nearly empty at that current and temperature."""
    part, current, temperature = jax.random.uniform(key, (3, count))
    current = CURRENTS[0] + current * (CURRENTS[1] - CURRENTS[0])
    temperature = TEMPERATURES[0] + temperature * (TEMPERATURES[1] - TEMPERATURES[0])
    lack = cell.diffusion * current * slowness(cell, temperature)
    negative = (cell.lithium - X_EMPTY - lack) * cell.negative
    positive = (Y_EMPTY - Y_FULL) * cell.positive - lack * cell.negative
    return jnp.stack([part * jnp.minimum(negative, positive), current, temperature], -1)


def batch(load: Array, volts: Array) -> Batch:
    """Examples in units of the network."""
    return Batch((load - CENTRE) / SPREAD, (volts[:, None] - VOLT) / VOLTS)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Laboratory:
    """Cells of a laboratory, each with the same readings whenever it is drawn. A task is some readings of one to learn
    from, and others to be judged by; all have noise.

    Attributes:
      cells: how many.
      seed: of the cells and their readings.
      shots: numbers of readings to learn from, of which each task has one; those up to the largest are padding.
      queries: readings to be judged by.
    """

    cells: int = 300
    seed: int = 0
    shots: tuple[int, ...] = (5, 10, 20)
    queries: int = 20

    def sample(self, key: Array) -> Task:
        """One task: support `[most shots, …]`, query `[queries, …]`."""
        which, first, count = jax.random.split(key, 3)
        load, volts = self.readings(jax.random.randint(which, (), 0, self.cells))
        most = max(self.shots)
        # readings are independent of each other, so that neighbours are as good as any others
        places = (jax.random.randint(first, (), 0, READINGS) + jnp.arange(most + self.queries)) % READINGS
        both = batch(load[places], volts[places])
        support, query = both.take(slice(most)), both.take(slice(most, None))
        if len(self.shots) > 1:
            weights = jnp.arange(most) < jax.random.choice(count, jnp.array(self.shots))
            support = support._replace(weights=weights.astype(jnp.float32))
        return Task(support, query)

    def readings(self, number: Array | int) -> tuple[Array, Array]:
        """All loads `[60, 3]` and voltages `[60]` of a cell, by its number."""
        keys = jax.random.split(jax.random.fold_in(jax.random.key(self.seed), number), 3)
        drawn = cell(jax.random.uniform(keys[0], (len(NEW),)))
        load = drawn_loads(drawn, keys[1], READINGS)
        return load, voltage(drawn, load) + NOISE * jax.random.normal(keys[2], (READINGS,))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["wear"], meta_fields=["shots", "queries"])
@dataclasses.dataclass(frozen=True)
class NewCells:
    """Cells that were never seen: a few readings with noise, to be judged by the true voltages at other loads.

    Attributes:
      shots: readings to learn from.
      wear: bounds of each of the seven numbers; cells of the laboratory have 0 to 1.
      queries: loads to be judged by.
    """

    shots: int
    wear: tuple[float, float]
    queries: int = 50

    def sample(self, key: Array) -> Task:
        """One task: support `[shots, …]`, query `[queries, …]`."""
        keys = jax.random.split(key, 4)
        drawn = cell(jax.random.uniform(keys[0], (len(NEW),), minval=self.wear[0], maxval=self.wear[1]))
        few, others = drawn_loads(drawn, keys[1], self.shots), drawn_loads(drawn, keys[2], self.queries)
        noise = NOISE * jax.random.normal(keys[3], (self.shots,))
        return Task(batch(few, voltage(drawn, few) + noise), batch(others, voltage(drawn, others)))
