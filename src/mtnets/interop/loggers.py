"""Programs that draw curves of a training while it runs, for `meta_train(..., on_log=...)`.

Each function gives a `Logger`, which opens what it writes to with the first line. Nothing is sent anywhere unless the
user has asked that program to: Weights & Biases is offline unless `WANDB_MODE` says otherwise, and MLflow and Trackio
write to the disk unless `MLFLOW_TRACKING_URI` or `TRACKIO_SPACE_ID` names a server. What these programs tell their
makers is turned off, unless the user has set it.
"""

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mtnets.errors import OptionError

Log = Callable[[dict[str, float], int], object]  # numbers by name, and the meta-step
SILENT = {
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",  # of Trackio
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
PROJECT = "mtnets"  # where a program sorts runs by projects


class Logger:
    """Gets lines of a log; a context manager, which ends what it writes to.

    Args:
      begin: opens what is written to: `log(numbers, meta_step)`, and what ends it.
    """

    def __init__(self, begin: Callable[[], tuple[Log, Callable[[], object]]]) -> None:
        self._begin = begin
        self._begun: tuple[Log, Callable[[], object]] | None = None

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Logs the numbers of a line."""
        self._begun = self._begun or self._begin()  # only now, since before a training its folder must be empty
        self._begun[0](dict(numbers(line)), line["step"])

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, *_: object) -> None:
        if self._begun is not None:
            self._begun[1]()
            self._begun = None


def numbers(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a line by name; those within a mapping or a list have names such as `moving/layers.0`."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, list) and len(value) == 1:
            yield f"{prefix}{name}", value[0]
        elif isinstance(value, list):
            yield from numbers({str(i): each for i, each in enumerate(value)}, f"{prefix}{name}/")
        elif name != "step":
            yield f"{prefix}{name}", value


def tensorboard(folder: str | Path) -> Logger:
    """Events for TensorBoard, in `FOLDER/tensorboard`: `tensorboard --logdir FOLDER`.

    Raises:
      OptionError: without tensorboardX.
    """
    library = _imported("tensorboardX", "mtnets[tensorboard]")

    def begin() -> tuple[Log, Callable[[], object]]:
        writer = library.SummaryWriter(str(Path(folder) / "tensorboard"))

        def log(values: dict[str, float], step: int) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        return log, writer.close

    return Logger(begin)


def wandb(folder: str | Path) -> Logger:
    """Weights & Biases, offline in `FOLDER/wandb` unless `WANDB_MODE` says otherwise: `wandb sync` sends it.

    Raises:
      OptionError: without wandb.
    """
    library = _imported("wandb", "mtnets[wandb]")

    def begin() -> tuple[Log, Callable[[], object]]:
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        run = library.init(project=PROJECT, name=Path(folder).name, dir=str(folder), mode=mode)
        return lambda values, step: run.log(values, step=step), run.finish

    return Logger(begin)


def mlflow(folder: str | Path) -> Logger:
    """MLflow, in `FOLDER/mlflow.db` unless `MLFLOW_TRACKING_URI` names another place: `mlflow ui --backend-store-uri
    sqlite:///FOLDER/mlflow.db`.

    Raises:
      OptionError: without mlflow.
    """
    client = _imported("mlflow.tracking", "mtnets[mlflow]").MlflowClient

    def begin() -> tuple[Log, Callable[[], object]]:
        here = Path(folder).resolve()
        there = os.environ.get("MLFLOW_TRACKING_URI")
        tracking = client(tracking_uri=there or f"sqlite:///{here.as_posix()}/mlflow.db")
        experiment = tracking.get_experiment_by_name(PROJECT)
        if experiment is None:  # without a place it would make a folder wherever the process is
            tracking.create_experiment(PROJECT, artifact_location=None if there else (here / "mlruns").as_uri())
            experiment = tracking.get_experiment_by_name(PROJECT)
        run = tracking.create_run(experiment.experiment_id, run_name=here.name).info.run_id

        def log(values: dict[str, float], step: int) -> None:
            for name, value in values.items():
                tracking.log_metric(run, name, value, step=step)

        return log, lambda: tracking.set_terminated(run)

    return Logger(begin)


def trackio(folder: str | Path) -> Logger:
    """Trackio, on this machine unless `TRACKIO_SPACE_ID` names a Space: `trackio show`.

    Raises:
      OptionError: without trackio.
    """
    library = _imported("trackio")

    def begin() -> tuple[Log, Callable[[], object]]:
        run = library.init(project=PROJECT, name=Path(folder).name, embed=False)
        return lambda values, step: run.log(values, step=step), run.finish

    return Logger(begin)


LOGGERS: Mapping[str, Callable[[str | Path], Logger]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
    "mlflow": mlflow,
    "trackio": trackio,
}


def _imported(module: str, package: str = "") -> Any:
    name = module.partition(".")[0]
    for variable, value in SILENT.items():
        os.environ.setdefault(variable, value)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise OptionError(f"This logger needs {name}; install it: pip install '{package or name}'.") from error
