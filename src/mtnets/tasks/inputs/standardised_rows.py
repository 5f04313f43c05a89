"""Rows of numbers standardised by the support rows of their task, which may be few."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from mtnets.arguments import check, check_fields
from mtnets.errors import DataError
from mtnets.networks.exports.program import Field
from mtnets.raw_arrays import REAL, check_real, narrowed, read_array
from mtnets.tasks.inputs.base import Inputs, Usage, check_digits
from mtnets.tasks.inputs.raw_form import RawForm

SOFT_LIMIT = 4.0  # spreads from the mean, beyond which values are pressed together


class Scale(NamedTuple):
    """Where the columns of a table lie.

    Attributes:
      mean: of each column, `[columns]`.
      spread: standard deviation of each column, shrunk, `[columns]`; infinite for one that does not vary.
    """

    mean: Any
    spread: Any


def scale_of(x: Any, weights: Any = None) -> Scale:
    """Mean and spread of the columns of a table.

    The standard deviation of a few rows is mostly chance. Its logarithms are drawn toward their mean over the columns
    by the share of their variance that chance explains (James-Stein): columns of one unit (pixels) get nearly one
    spread, columns of very different units keep their own.

    Args:
      x: the table, `[rows, columns]` (NumPy or JAX).
      weights: for how many rows each counts, `[rows]`; 0 leaves it out. Defaults to one.
    """
    xp = x.__array_namespace__()
    weights = (xp.ones(len(x), dtype=x.dtype) if weights is None else weights)[:, None]
    rows = weights.sum()
    mean = (weights * x).sum(0) / rows
    free = xp.maximum(rows - 1, 1)
    variance = (weights * (x - mean) ** 2).sum(0) / free
    varies = variance > (10 * xp.finfo(x.dtype).eps * mean) ** 2  # more than rounding does
    log = xp.where(varies, xp.log(xp.where(varies, variance, 1)) / 2, 0)
    columns = xp.maximum(varies.sum(), 1)
    middle = log.sum() / columns
    between_columns = xp.where(varies, (log - middle) ** 2, 0).sum() / columns
    chance = (free + 1) / (2 * free**2)  # variance of the logarithm of a standard deviation of normal numbers, nearly
    kept = xp.maximum(between_columns - chance, 0) / xp.maximum(between_columns, 1e-6)
    return Scale(mean, xp.where(varies, xp.exp(middle + kept * (log - middle)), xp.inf))


def standardise(x: Any, scale: Scale, features: int, real: Any = None) -> Any:
    """A table as inputs of a network: centred, in units of the spread, padded with zeros.

    Values far outside are pressed together (`4 tanh(z / 4)`), and everything is multiplied by √(features / real), so
    that the length of a row does not depend on how many columns are real.

    Args:
      x: the table, `[rows, columns]` (NumPy or JAX).
      scale: of the support rows.
      features: columns of the network.
      real: how many columns are real, where x is padded already. Defaults to all.

    Raises:
      DataError: for a table with more columns than the network.
    """
    _check_width(x.shape[1], features)
    xp = x.__array_namespace__()
    z = SOFT_LIMIT * xp.tanh((x - scale.mean) / scale.spread / SOFT_LIMIT)
    z = z * (features / (x.shape[1] if real is None else real)) ** 0.5
    return xp.pad(z, ((0, 0), (0, features - x.shape[1])))


@dataclasses.dataclass(frozen=True)
class StandardisedRows(Inputs):
    """Rows of numbers, which are standardised by `scale_of` and `standardise`.

    `for_task` takes the scale from a support set. Without a scale, rows and targets must be standardised already.

    Attributes:
      features: inputs of the network; narrower rows are padded with zeros.
      scales_targets: whether targets are standardised too (regression).
      shared_classes: see `Inputs`.
      row_scale: mean and spread of the columns; None until they are known.
      target_scale: the same of the targets.
    """

    kind: ClassVar[str | None] = "standardised-rows"

    features: int
    scales_targets: bool = False
    shared_classes: bool = False
    row_scale: Scale | None = None
    target_scale: Scale | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def check_network(self, input_shape: tuple[int, ...], outputs: int) -> None:
        """Raises DataError for a network with other features, or scales of more columns than it has."""
        if input_shape != (self.features,):
            raise DataError(f"Rows have {self.features} features and the network takes {list(input_shape)}.")
        for name, scale, most in (("features", self.row_scale, self.features), ("outputs", self.target_scale, outputs)):
            if scale is not None and len(scale.mean) > most:
                raise DataError(f"The scale has {len(scale.mean)} {name} and the network {most}.")

    def for_task(self, x: Any, y: Any, weights: NDArray[np.float64] | None = None) -> "StandardisedRows":
        """The same with the scale of a support set; unchanged where a scale is known.

        Args:
          x: rows, `[rows, columns]`.
          y: their targets, `[rows]` or `[rows, outputs]`, or labels, which are not looked at.
          weights: for how many rows each counts, `[rows]`. Defaults to one.

        Raises:
          DataError: for rows wider than the network, or without a number.
        """
        rows = read_array(x, "x")
        if self.row_scale is not None or rows.ndim != 2 or not len(rows):
            return self  # there is a sentence for these where rows are checked
        check_real(rows, "x")
        _check_width(rows.shape[1], self.features)
        targets = read_array(y, "y") if self.scales_targets else None
        if targets is not None:
            check_real(targets, "y")
            if targets.shape[:1] != rows.shape[:1]:
                raise DataError(f"x has {len(rows)} examples and y has shape {targets.shape}; they must have as many.")
        with np.errstate(all="ignore"):  # as above, for numbers that are not finite
            scaled = None if targets is None else targets.astype(np.float64).reshape(len(rows), -1)
            return self.with_scale(rows.astype(np.float64), scaled, weights)

    def with_scale(
        self, rows: NDArray[Any], targets: NDArray[Any] | None = None, weights: NDArray[np.float64] | None = None
    ) -> "StandardisedRows":
        """The same with the scale of these rows `[rows, columns]` and targets `[rows, outputs]`, of which each counts
        by its weight."""
        target_scale = None if targets is None else _constant(scale_of(targets, weights))
        return dataclasses.replace(self, row_scale=_constant(scale_of(rows, weights)), target_scale=target_scale)

    def raw_form(self, like: Any) -> RawForm:
        """Rows as wide as those of the support set."""
        mean, spread = (np.array(values) for values in self.row_scale or Scale(np.zeros(self.features), 1.0))
        columns, spread = len(mean), np.where(np.isinf(spread), 0, spread)

        def made_up(count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
            return {"rows": (mean + spread * random.normal(size=(count, columns))).astype(np.float32)}

        def prepared(arrays: Mapping[str, Any]) -> Any:
            rows = arrays["rows"]
            return rows.__array_namespace__().pad(rows, ((0, 0), (0, self.features - columns)))

        about = "numbers in the order and the units of the support set"
        return RawForm({"rows": Field((columns,), np.float32, about)}, prepared, lambda arrays: arrays["rows"], made_up)

    def check_single_precision(self) -> None:
        """Raises OptionError for a column that single precision cannot tell apart."""
        for i, (mean, spread) in enumerate(zip(*(self.row_scale or Scale((), ())), strict=True)):
            check_digits(f"Column {i} of the support set", mean, spread)

    @property
    def learned(self) -> bool:
        """Whether a learner has the scale of its training tasks."""
        return self.row_scale is not None

    def prepare(self, x: Any) -> np.ndarray:
        """Rows, not scaled, padded with zeros to `[rows, features]`.

        Raises:
          DataError: for rows of another width than those of the support set.
        """
        rows = np.asarray(x)
        if self.row_scale is None or rows.ndim != 2:
            return rows
        columns = len(self.row_scale.mean)
        if rows.shape[1] != columns:
            raise DataError(f"X has {rows.shape[1]} features and the support set of this task {columns}.")
        return np.pad(rows, ((0, 0), (0, self.features - columns)))

    def scale(self, x: Any) -> Any:
        """Standardised rows, from padded ones `[rows, features]`."""
        if self.row_scale is None:
            return x
        columns = len(self.row_scale.mean)
        padding = (0, self.features - columns)
        mean = np.pad(self.row_scale.mean, padding)
        spread = np.pad(self.row_scale.spread, padding, constant_values=np.inf)
        return standardise(x, Scale(mean, spread), self.features, columns)

    def prepare_targets(self, y: Any) -> np.ndarray:
        """Standardised targets `[rows, outputs]`, or labels as they are.

        Raises:
          DataError: for targets beyond single precision.
        """
        targets = np.asarray(y)
        if self.target_scale is None or targets.dtype.kind not in REAL:
            return targets
        narrowed(targets, np.float32, "y")
        mean, spread = (np.array(values) for values in self.target_scale)
        return (targets.reshape(len(targets), -1) - mean) / spread

    def unscale(self, prediction: ArrayLike) -> Any:
        """Predictions in units of the targets; logits as they are."""
        if self.target_scale is None:
            return prediction
        mean, spread = (np.array(values) for values in self.target_scale)
        return mean + prediction * np.where(np.isinf(spread), 0, spread)  # a constant target stays what it is

    def from_rows(self, rows: NDArray[Any], shape: tuple[int, ...]) -> Any:
        """The rows themselves, which may be narrower than the network."""
        _check_width(rows.shape[1], self.features)
        return rows

    def describe(self) -> str:
        """The raw data that a learner with these inputs takes."""
        return f"rows of up to {self.features} numbers, standardised by the support set of each task"

    def usage(self, shape: tuple[int, ...], targets: str) -> Usage:
        """Example code for a learner with these inputs."""
        return Usage("x_support, y_support", "x_query", f"[examples, up to {self.features} numbers], {targets}")

    def to_json(self) -> dict[str, Any]:
        """As plain values; None for an infinite spread."""
        scales = {"row_scale": _scale_to_json(self.row_scale), "target_scale": _scale_to_json(self.target_scale)}
        fields = {name: getattr(self, name) for name in ("features", "scales_targets", "shared_classes")}
        return {"kind": self.kind, **fields, **scales}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From the values that `to_json` returns, without the kind."""
        scales = {name: _scale_from_json(values.get(name)) for name in ("row_scale", "target_scale")}
        return cls(**{**values, **scales})


def _check_width(columns: int, features: int) -> None:
    if columns == 0:
        raise DataError("X has no features; give at least one for each row.")
    if columns > features:
        raise DataError(
            f"X has {columns} features, more than the {features} of this learner; choose among them first (for "
            "example sklearn.feature_selection.SelectKBest, or sklearn.decomposition.PCA), or use a learner of yours."
        )


def _constant(scale: Scale) -> Scale:
    """The same as tuples, which compare by value."""
    return Scale(*(tuple(float(value) for value in values) for values in scale))


def _scale_to_json(scale: Scale | None) -> dict[str, Any] | None:
    if scale is None:
        return None
    return {"mean": list(scale.mean), "spread": [None if np.isinf(spread) else spread for spread in scale.spread]}


def _scale_from_json(values: Mapping[str, Any] | None) -> Scale | None:
    if values is None:
        return None
    scale = Scale(tuple(values["mean"]), tuple(np.inf if spread is None else spread for spread in values["spread"]))
    for name, numbers in scale._asdict().items():
        check(name, numbers, tuple[float, ...])
    mean, spread = map(np.array, scale)
    if mean.shape != spread.shape or not np.isfinite(mean).all() or not (spread > 0).all():
        raise DataError("The scale is not one finite mean and one spread above 0 for each column.")
    return scale
