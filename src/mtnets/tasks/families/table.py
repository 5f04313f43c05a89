"""Tasks from a table with a column that tells them apart: a patient, a machine, a shop is a task."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional

from mtnets.errors import DataError, OptionError
from mtnets.networks.models import Mlp
from mtnets.tasks.families.sinusoid import check_counts
from mtnets.tasks.family import Family, Recipe
from mtnets.tasks.inputs.table_inputs import (
    Columnar,
    Columns,
    as_text,
    cells_of,
    is_missing,
    is_table,
    learn,
    listed,
    require,
)
from mtnets.tasks.sampling.rows import Rows

SPLITS = ("train", "validation", "test")
# α and length served on Parkinson's telemonitoring; other tables may want others
RECIPE = Recipe(inner_lr=0.05, inner_steps=5, meta_batch=16, meta_steps=5_000, inner_clip=10.0, clip_norm=10.0)


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of a CSV or Parquet file. Whole tasks are split into those of training, validation and test.

    Columns of numbers are standardised; where training tasks have missing ones, those count as the mean and one more
    feature tells that they were missing. Columns of text are categories, one feature each; unknown ones are none of
    them. All that is learned from rows of training tasks and kept with the learner.

    Attributes:
      data: the file; a CSV file has a first line of column names, and commas, semicolons or tabs between cells.
      task_column: the column that tells tasks apart.
      target: the column to be predicted.
      kind: regression or classification; classification where the target is text, unless given.
      features: the columns to predict from; all others unless given.
      ignore: columns to leave out.
      categories: columns of numbers that are categories, such as a postcode.
      shots: support rows of a task, drawn at random.
      queries: query rows of a task.
      ahead: whether rows are in order of time and a task looks ahead: its support is a run of neighbouring rows, its
        queries are later ones.
      leave_out_small: leave out tasks with fewer rows than shots + queries, instead of an error.
      splits: shares of the tasks for training, validation and test.
      split_seed: another one is another split.
      network: the usual network of the family.
    """

    data: Positional[str]
    task_column: str
    target: str
    kind: Literal["auto", "regression", "classification"] = "auto"
    features: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    shots: int = 10
    queries: int = 10
    ahead: bool = False
    leave_out_small: bool = False
    splits: tuple[float, float, float] = (0.64, 0.16, 0.2)
    split_seed: int = 0
    network: Mlp = Mlp(hidden=(64, 64), init_std=0.1)

    def build(self) -> Family:
        """Reads the file and builds the family.

        Raises:
          OptionError: for options that are not possible.
          DataError: for a file that cannot be read, a column that is absent, a table with too few tasks or rows, or
            cells that are not what they should be.
        """
        return family_of(read_table(self.data), self)


def table(data: Any, task_column: str, target: str, **options: Any) -> Family:
    """Tasks from a table with a column that tells them apart.

    Args:
      data: a CSV or Parquet file, a data frame (of pandas or Polars, say), or a mapping of columns.
      task_column, target, **options: as in `Table`.

    Raises:
      As `Table.build`.
    """
    for name in ("features", "ignore", "categories"):  # columns of a data frame may be called by numbers
        if name in options:
            options[name] = tuple(str(column) for column in options[name])
    if isinstance(data, str | Path):
        return Table(str(data), str(task_column), str(target), **options).build()
    if not is_table(data):
        raise DataError(
            f"data is of type {type(data).__name__}; expected a file, a data frame, or a mapping of columns."
        )
    made = Table("this table", str(task_column), str(target), **options)
    return dataclasses.replace(family_of(cells_of(data), made), options=None)


def read_table(path: str | Path) -> Columnar:
    """The cells of each column of a CSV or Parquet file.

    Raises:
      DataError: if it is not there, is neither, or is damaged.
      OptionError: without pandas.
    """
    file = Path(path).expanduser()
    readers = {".csv": "read_csv", ".parquet": "read_parquet", ".pq": "read_parquet"}
    kind = file.name.lower().removesuffix(".gz")
    reader = next((name for ending, name in readers.items() if kind.endswith(ending)), None)
    if not file.is_file():
        raise DataError(f"There is no file {file}; name a .csv or .parquet file.")
    if reader is None:
        raise DataError(f"{file} is neither .csv nor .parquet; save it as one of them.")
    try:
        import pandas
    except ImportError as error:
        raise OptionError("Reading tables from files needs pandas: pip install 'mtnets[table]'.") from error
    try:
        read = getattr(pandas, reader)(file)
        for separator in ";\t":
            if reader == "read_csv" and len(read.columns) == 1 and separator in str(read.columns[0]):
                read = pandas.read_csv(file, sep=separator)
        return cells_of(read)
    except DataError:
        raise
    except ImportError as error:
        raise OptionError("Reading Parquet needs pyarrow: pip install 'mtnets[table]'.") from error
    except Exception as error:  # what readers raise on damaged files is nearly anything
        raise DataError(f"{file} cannot be read: {str(error).strip().splitlines()[0]}; repair it.") from error


def family_of(cells: Columnar, options: Table) -> Family:
    """The family of tasks from the cells of a table. Raises as `Table.build`."""
    check_counts(shots=options.shots, queries=options.queries)
    if options.kind not in ("auto", "regression", "classification"):
        raise OptionError(f"kind is {options.kind!r}; it must be 'auto', 'regression' or 'classification'.")
    if len(options.splits) != 3 or min(options.splits) <= 0:
        raise OptionError(f"splits is {options.splits}; it must be three shares above 0: training, validation, test.")
    chosen = options.features or tuple(n for n in cells if n not in (options.task_column, options.target))
    for names, option in (
        ((options.task_column,), "--task-column"),
        ((options.target,), "--target"),
        (options.features, "--features"),
        (options.ignore, "--ignore"),
        (options.categories, "--categories"),
    ):
        require(cells, names, option)
    features = [name for name in chosen if name not in options.ignore]
    if not features or {options.target, options.task_column} & set(features):
        raise OptionError(
            f"features is {listed(features)}; it must name columns other than the target ({options.target}) and the "
            f"task column ({options.task_column})."
        )
    groups = rows_by_task(cells, options.task_column)
    need = options.shots + options.queries
    if options.leave_out_small:
        groups = {name: rows for name, rows in groups.items() if len(rows) >= need}
    if len(groups) < 3:
        raise DataError(
            f"{options.data} has {len(groups)} task{'s' * (len(groups) != 1)} in column {options.task_column}"
            f"{f' of at least {need} rows' if options.leave_out_small else ''}; training, validation and test need at "
            "least one each: choose another --task-column, or fewer --shots and --queries."
        )
    small = next((name for name, rows in groups.items() if len(rows) < need), None)
    if small is not None:
        raise DataError(
            f"Task {small} has {len(groups[small])} rows, fewer than {options.shots} shots + {options.queries} "
            "queries; use fewer, or --leave-out-small."
        )
    split = split_tasks(list(groups), options.splits, options.split_seed)
    training = np.concatenate([groups[name] for name in split["train"]])
    every = np.sort(np.concatenate(list(groups.values())))  # other rows belong to no task
    classify = None if options.kind == "auto" else options.kind == "classification"
    columns = Columns.of(
        {name: column[training] for name, column in cells.items()},
        features, options.target, options.task_column, classify=classify, categories=options.categories,
    )  # fmt: skip
    goal = cells[options.target][every]
    if columns.classes:  # a rare one may be in no training task
        columns = dataclasses.replace(columns, target=learn(options.target, goal, category=True))
    x = columns.scale(columns.prepare({name: column[every] for name, column in cells.items()})).astype(np.float32)
    y = columns.prepare_targets(goal)
    places = {name: np.searchsorted(every, rows) for name, rows in groups.items()}
    made = {}
    for part, names in split.items():
        tables = {name: (x[places[name]], y[places[name]]) for name in names}
        made[part] = Rows.of(tables, shots=options.shots, queries=options.queries, ahead=options.ahead, split=part)
    outputs = len(columns.classes) or 1
    return Family(
        made["train"], made["validation"], made["test"], "cross-entropy" if columns.classes else "mse", RECIPE,
        lambda: options.network.build(len(columns.features), outputs),
        options=options, inputs=columns, classes={part: tuple(names) for part, names in split.items()},
    )  # fmt: skip


def rows_by_task(cells: Columnar, column: str) -> dict[str, NDArray[np.intp]]:
    """The rows of each task, in their order, by its name; rows without a task belong to none."""
    found: dict[str, list[int]] = {}
    for row, cell in enumerate(cells[column]):
        if not is_missing(cell):
            found.setdefault(as_text(cell), []).append(row)
    return {name: np.array(rows) for name, rows in found.items()}


def split_tasks(names: list[str], shares: Sequence[float], seed: int) -> dict[str, list[str]]:
    """These names, at least three, in three parts of about these shares, each of at least one."""
    order = np.random.default_rng(seed).permutation(len(names))
    first, second = np.round(np.cumsum(shares)[:2] / sum(shares) * len(names)).astype(int)
    first = min(max(first, 1), len(names) - 2)
    second = min(max(second, first + 1), len(names) - 1)
    parts = np.split(order, [first, second])
    return {split: [names[int(i)] for i in part] for split, part in zip(SPLITS, parts, strict=True)}
