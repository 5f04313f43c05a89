"""The recordings of Parkinson's telemonitoring, by patient."""

import contextlib
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtnets import DataError, OptionError

Floats = NDArray[np.floating[Any]]
Groups = Mapping[str, tuple[Floats, Floats]]  # x [rows, features] and y [rows, 1] of each group

FILES = ("parkinsons_updrs.csv", "parkinsons_updrs.data")  # the latter is the name in the archive of UCI
SOURCE = "https://archive.ics.uci.edu/dataset/189/parkinsons+telemonitoring (UCI, Tsanas et al. 2009)"
PATIENT, TIME = "subject#", "test_time"
TARGETS = ("motor_UPDRS", "total_UPDRS")
# Positive and skewed: some recordings are 17 standard deviations from the mean, but their logarithms are not.
LOGARITHMIC = (
    *("Jitter(%)", "Jitter(Abs)", "Jitter:RAP", "Jitter:PPQ5", "Jitter:DDP"),
    *("Shimmer", "Shimmer(dB)", "Shimmer:APQ3", "Shimmer:APQ5", "Shimmer:APQ11", "Shimmer:DDA", "NHR"),
)
VOICE = (*LOGARITHMIC, "HNR", "RPDE", "DFA", "PPE")
FEATURES = ("age", "sex", TIME, *VOICE)
SPLIT_SEED = 0


def find(root: Path) -> Path:
    """The file in a folder. Raises DataError if it is not there."""
    for name in FILES:
        if (root / name).is_file():
            return root / name
    raise DataError(
        f"Parkinson's telemonitoring is not in {root}: expected {' or '.join(FILES)} there; it is published at "
        f"{SOURCE}. Fetch it, or set --root or MTNETS_DATA."
    )


def read(path: Path, target: str = "total_UPDRS") -> dict[str, tuple[Floats, Floats]]:
    """Reads the recordings of each patient in order of time.

    Returns:
      By patient: features `[recordings, 19]`, jitter, shimmer and NHR as logarithms; and the target `[recordings, 1]`.

    Raises:
      DataError: if a column is missing, a line has another number of cells than the header, a cell is not a finite
        number, or a number is not above 0 whose logarithm is taken.
      OptionError: for another target than `TARGETS`.
    """
    if target not in TARGETS:
        raise OptionError(f"target is {target!r}; it must be {' or '.join(TARGETS)}.")
    table = _table(path, (PATIENT, *FEATURES, target))
    numbers = table[:, 0]
    if (numbers != np.round(numbers)).any():
        i = int(np.argmax(numbers != np.round(numbers)))
        raise DataError(f"{PATIENT} on line {i + 2} of {path} is {numbers[i]}; expected a whole number.")
    patients = {}
    for patient in np.unique(numbers):
        rows = table[numbers == patient, 1:]
        rows = rows[np.argsort(rows[:, FEATURES.index(TIME)], kind="stable")]
        patients[str(int(patient))] = rows[:, :-1], rows[:, -1:]
    return patients


def _table(path: Path, names: Sequence[str]) -> Floats:
    """These columns of a CSV file, `[lines, columns]`."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *lines = [[cell.strip() for cell in line] for line in csv.reader(file)] or [[]]
    missing = [name for name in names if name not in header]
    if missing or not lines:
        what = f"no column {', '.join(missing)}" if missing else "no recordings"
        raise DataError(f"{path} has {what}; expected one recording a line below a header {','.join(names)}.")
    table = np.empty((len(lines), len(names)))
    for i, line in enumerate(lines):
        if len(line) != len(header):
            raise DataError(f"Line {i + 2} of {path} has {len(line)} cells; expected {len(header)}, as in the header.")
        for j, name in enumerate(names):
            table[i, j] = _number(line[header.index(name)], name, f"on line {i + 2} of {path}")
    return table


def _number(cell: str, name: str, where: str) -> float:
    logarithmic = name in LOGARITHMIC
    with contextlib.suppress(ValueError):
        number = float(cell)
        if np.isfinite(number) and (number > 0 or not logarithmic):
            return float(np.log(number)) if logarithmic else number
    expected = "a number above 0" if logarithmic else "a finite number"
    raise DataError(f"{name} {where} is {cell!r}; expected {expected}.")


def split(names: Sequence[str], folds: int) -> list[dict[str, list[str]]]:
    """Splits patients: each fold in turn is test, the next one validation, and all others are training."""
    if len(names) < folds:
        raise OptionError(f"folds is {folds}, more than the {len(names)} patients; use fewer.")
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(names)
    parts = [[str(name) for name in part] for part in np.array_split(shuffled, folds)]
    return [
        {
            "train": [name for j in range(2, folds) for name in parts[(i + j) % folds]],
            "validation": parts[(i + 1) % folds],
            "test": parts[i],
        }
        for i in range(folds)
    ]


def standardised(patients: Mapping[str, Groups]) -> tuple[Mapping[str, Groups], float]:
    """Standardises features and targets by mean and standard deviation of the training patients.

    Returns:
      The patients of each part, and the standard deviation of the target.
    """
    x, y = joined(patients["train"])
    (x_mean, x_std), (y_mean, y_std) = ((a.mean(0), np.where(a.std(0) > 0, a.std(0), 1.0)) for a in (x, y))
    groups = {
        part: {name: ((x - x_mean) / x_std, (y - y_mean) / y_std) for name, (x, y) in tables.items()}
        for part, tables in patients.items()
    }
    return groups, float(y_std[0])


def joined(groups: Groups) -> tuple[Floats, Floats]:
    """The rows of all groups as one table."""
    return np.concatenate([x for x, _ in groups.values()]), np.concatenate([y for _, y in groups.values()])


def longest(groups: Mapping[str, Groups]) -> int:
    """The number of rows of the group with most."""
    return max(len(y) for part in groups.values() for _, y in part.values())
