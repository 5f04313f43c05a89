"""Tasks from a table with a column that tells them apart: a patient, a machine, a shop is a task."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mtnets.arguments import Seed, checked_arguments
from mtnets.errors import DataError, OptionError, listed
from mtnets.networks.models import Mlp
from mtnets.tasks.families.splits import PARTS, check_splits, split_names
from mtnets.tasks.family import Family, Options, Recipe
from mtnets.tasks.inputs.cells import Cells, cells_of, is_table, read_cells
from mtnets.tasks.inputs.table_inputs import TableInputs
from mtnets.tasks.sampling.rows import Rows
from mtnets.tasks.sampling.sizes import Sizes

# α and length served on Parkinson's telemonitoring; other tables may want others
RECIPE = Recipe(inner_lr=0.05, inner_steps=5, meta_batch=16, meta_steps=5_000, inner_clip=10.0, clip_norm=10.0)


@dataclasses.dataclass(frozen=True)
class Table(Options):
    """Rows of a CSV or Parquet file. Whole tasks are split into those of training, validation and test.

    Columns of numbers are standardised; where training tasks have missing ones, those count as the mean and one more
    feature tells that they were missing. Columns of text are categories with one feature each. All that is learned from
    rows of training tasks and kept with the learner. `docs/data.md` says how numbers in text are read.

    Attributes:
      data: the file; a CSV file has a first line of column names, and commas, semicolons, tabs or bars between cells.
      task_column: the column that tells tasks apart.
      target: the column to predict.
      kind: regression or classification; auto is classification where the target is text.
      features: the columns to predict from. Defaults to all others.
      ignore: columns to leave out.
      categories: columns of numbers that are categories, such as a postcode; or of text that looks like numbers.
      scale_target: whether numbers to predict are standardised like the others. Not so for counts (the loss poisson)
        and for numbers from 0 to 1 (the loss binary).
      shots: support rows of a task, drawn at random.
      queries: query rows of a task.
      fewest_shots: support rows that will do of a task with fewer rows than shots + queries, which is padded; queries
        are left out first. Defaults to shots.
      fewest_queries: query rows that will do of such a task. Defaults to queries.
      ahead: whether rows are in order of time and a task looks ahead: its support is a run of neighbouring rows, its
        queries are later ones.
      leave_out_small: leave out tasks with fewer rows than shots + queries (or than the fewest), instead of an error.
      splits: shares of the tasks for training, validation and test.
      split_seed: seed of the split.
      network: the usual network of the family.
    """

    family: ClassVar[str] = "table"
    data_option: ClassVar[str | None] = "data"

    data: str
    task_column: str
    target: str
    kind: Literal["auto", "regression", "classification"] = "auto"
    features: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    scale_target: bool = True
    shots: int = 10
    queries: int = 10
    fewest_shots: int | None = None
    fewest_queries: int | None = None
    ahead: bool = False
    leave_out_small: bool = False
    splits: tuple[float, float, float] = (0.64, 0.16, 0.2)
    split_seed: Seed = 0
    network: Mlp = Mlp(hidden=(64, 64), init_std=0.1)

    def build(self) -> Family:
        """Reads the file and builds the family.

        Raises:
          OptionError: for options that are not possible.
          DataError: for a file that cannot be read, a column that is absent, a table with too few tasks or rows, or
            cells of another kind than their column.
        """
        return table_family(read_cells(self.data), self)


@checked_arguments
def table(data: Any, task_column: str | int, target: str | int, **options: Any) -> Family:
    """Tasks from a table with a column that tells them apart.

    Args:
      data: a CSV or Parquet file, a mapping of columns, or a data frame (of pandas, Polars, PyArrow, DuckDB, say).
      task_column, target: as in `Table`.
      **options: the other fields of `Table`.

    Raises:
      As `Table.build`.
    """
    for name in ("features", "ignore", "categories"):  # columns of a data frame may be called by numbers
        if name in options:
            names = (options[name],) if isinstance(options[name], str) else options[name]
            options[name] = tuple(str(column) for column in names)
    if isinstance(data, str | Path):
        return Table(str(data), str(task_column), str(target), **options).build()
    if not is_table(data):
        raise DataError(
            f"data is of type {type(data).__name__}; expected a file, a data frame, or a mapping of columns."
        )
    family = table_family(cells_of(data), Table("This table", str(task_column), str(target), **options))
    return dataclasses.replace(family, options=None)  # a table in memory cannot be recorded


def table_family(cells: Cells, options: Table) -> Family:
    """The family of tasks from the cells of a table. Raises as `Table.build`."""
    _check(options)
    features = _features(cells, options)
    tasks = _tasks(cells, options)
    split = split_names(list(tasks), options.splits, options.split_seed)
    used, training = cells.take(_rows(tasks, list(tasks))), cells.take(_rows(tasks, split["train"]))
    inputs = TableInputs.of(
        training, features, options.target, options.task_column,
        classify=None if options.kind == "auto" else options.kind == "classification", categories=options.categories,
        scale_target=options.scale_target,
    ).with_classes_of(used)  # fmt: skip
    ends = np.cumsum([len(rows) for rows in tasks.values()])[:-1]
    x, y = inputs.scale(inputs.prepare(used)).astype(np.float32), inputs.target.targets(used)
    examples = dict(zip(tasks, zip(np.split(x, ends), np.split(y, ends), strict=True), strict=True))
    train, validation, test = (
        Rows.of(
            {task: examples[task] for task in split[part]},
            **dataclasses.asdict(_sizes(options)), ahead=options.ahead, inputs=inputs, split=part,
        )
        for part in PARTS
    )  # fmt: skip
    return Family(
        train, validation, test, "cross-entropy" if inputs.classes else "mse", RECIPE,
        lambda each=1: options.network.build(len(inputs.features), len(inputs.classes) or each),
        options=options, inputs=inputs, classes={part: tuple(names) for part, names in split.items()},
    )  # fmt: skip


def _sizes(options: Table) -> Sizes:
    return Sizes(options.shots, options.queries, options.fewest_shots, options.fewest_queries)


def _check(options: Table) -> None:
    _sizes(options)
    if options.kind not in ("auto", "regression", "classification"):
        raise OptionError(f"kind is {options.kind!r}; it must be 'auto', 'regression' or 'classification'.")
    check_splits(options.splits)


def _features(cells: Cells, options: Table) -> list[str]:
    """The columns to predict from. Raises DataError for a column that does not exist."""
    special = (options.task_column, options.target)
    if options.target == options.task_column:
        raise OptionError(f"target is {options.target!r}, which is the task column; name the column to predict.")
    for argument, names in (
        ("task_column", special[:1]),
        ("target", special[1:]),
        ("features", options.features),
        ("ignore", options.ignore),
        ("categories", options.categories),
    ):
        cells.require(names, f"{argument}=...")
    if options.target in options.categories and options.kind != "classification":
        raise OptionError(f"categories names the target, {options.target}; predict classes: kind='classification'.")
    chosen = options.features or [name for name in cells.columns if name not in special]
    features = list(dict.fromkeys(name for name in chosen if name not in options.ignore))
    if not features:
        names = [name for name in cells.columns if name not in special]
        raise OptionError(
            f"No column is left to predict {options.target} from: besides it and {options.task_column}, the table has "
            f"{listed(names)}, and ignore names {listed(options.ignore)}; keep one."
        )
    if set(special) & set(features):
        raise OptionError(
            f"features is {listed(features)}; it must name columns other than the target ({options.target}) and the "
            f"task column ({options.task_column})."
        )
    return features


def _tasks(cells: Cells, options: Table) -> dict[str, NDArray[np.intp]]:
    """The rows of each task. Raises DataError for too few tasks, or one with too few rows."""
    tasks, sizes = cells.by_value(options.task_column), _sizes(options)
    need = sizes.least
    if options.leave_out_small:
        tasks = {name: rows for name, rows in tasks.items() if len(rows) >= need}
    if len(tasks) < 3:
        large = f" of at least {need} rows" if options.leave_out_small else ""
        raise DataError(
            f"{options.data} has {len(tasks)} task{'s' * (len(tasks) != 1)} in column {options.task_column}{large}; "
            "training, validation and test need at least one each: choose another task_column=..., or fewer shots=... "
            "and queries=..."
        )
    for name, rows in tasks.items():
        sizes.check(f"Task {name}", len(rows), "rows", "or leave such tasks out: leave_out_small=True.")
    return tasks


def _rows(tasks: Mapping[str, NDArray[np.intp]], names: Sequence[str]) -> NDArray[np.intp]:
    return np.concatenate([tasks[name] for name in names])
