"""Sweeps: seeds × methods × settings, compared on the same tasks.

Reading order: grid, runs, workers, intervals, rows, study, engines, draw, result, sweep.
"""

from mtnets.sweeps.grid import Range, Setting
from mtnets.sweeps.intervals import Difference, Interval
from mtnets.sweeps.result import Sweep
from mtnets.sweeps.rows import Row
from mtnets.sweeps.sweep import sweep

__all__ = ["Difference", "Interval", "Range", "Row", "Setting", "Sweep", "sweep"]
