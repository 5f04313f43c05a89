"""Trials on the machines of a Ray cluster, with Ray Tune: every combination of lists, or combinations at random."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mtnets.errors import OptionError, RunError, first_line
from mtnets.inner import Method
from mtnets.sweeps.grid import Range, Setting, Vary, applicable, expand, setting_of
from mtnets.sweeps.study import Study

SEED = 0  # of what is drawn: the same combinations again, so that those that were trained are found in the folder
FOLDER, METRIC = "ray", "validation"


def search(
    study: Study,
    methods: Mapping[str, Method],
    vary: Vary,
    training: Mapping[str, Any],
    trials: int | None,
    higher: bool,
) -> list[Setting]:
    """Trains settings where Ray has room for them; what has ended in the folder is not trained again.

    Args:
      study: trains them; its folder has to be one for all machines.
      methods: by title.
      vary: lists of values and ranges, by name.
      training: options that all trainings have.
      trials: how many combinations are drawn where there are ranges; None where there are none.
      higher: whether larger validation scores are better.

    Returns:
      The settings that were tried.

    Raises:
      OptionError: without Ray, or where the number of trials and what is varied do not fit.
      RunError: for what went wrong in a trial.
    """
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise OptionError("The engine ray needs Ray Tune: pip install 'mtnets[ray]'.") from error
    settings = _settings(methods, vary, training, trials)
    for setting in settings:
        study.plan(setting)  # raises before anything is trained
    study.folder.mkdir(parents=True, exist_ok=True)
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        trial = _trial(study.alone(), {setting.label: setting for setting in settings}, higher)
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1, "gpu": int(jax.default_backend() == "gpu")}),
            param_space={"setting": tune.grid_search([setting.label for setting in settings])},
            tune_config=tune.TuneConfig(metric=METRIC, mode="max" if higher else "min"),
            run_config=tune.RunConfig(storage_path=str((study.folder / FOLDER).resolve()), verbose=0),
        ).fit()
        if results.errors:
            raise RunError(
                f"{len(results.errors)} trials went wrong ({first_line(results.errors[0])}); see "
                f"{study.folder / FOLDER}."
            )
    finally:
        if started:
            ray.shutdown()
    return settings


def _trial(study: Study, settings: Mapping[str, Setting], higher: bool) -> Any:
    """What a machine does for a trial."""

    def trial(config: Mapping[str, Any]) -> None:
        from ray import tune

        setting = settings[config["setting"]]
        study.train([setting])
        score = study.row(setting).validation
        worst = -math.inf if higher else math.inf
        tune.report({METRIC: score if math.isfinite(score) else worst})

    return trial


def _settings(
    methods: Mapping[str, Method], vary: Vary, training: Mapping[str, Any], trials: int | None
) -> list[Setting]:
    """Every combination, or so many at random where there are ranges.

    Raises:
      OptionError: for a number of trials without ranges, or the reverse.
    """
    ranges = [name for name, values in vary.items() if isinstance(values, Range)]
    if bool(ranges) != (trials is not None):
        if ranges:
            raise OptionError(f"{ranges[0]} is varied over a range, which needs a number of trials, such as trials=20.")
        raise OptionError(f"trials is {trials}, and without a range every combination is tried; leave it out.")
    if trials is None:
        return expand(methods, vary, training)
    settings: dict[str, Setting] = {}
    for i in range(trials):  # each by a seed of its own, so that more trials are the same ones and others
        random = np.random.default_rng([SEED, i])
        title = list(methods)[random.integers(len(methods))]
        varied = {name: _drawn(vary[name], random) for name in applicable(methods[title], vary)}
        setting = setting_of(title, methods[title], varied, training)
        settings.setdefault(setting.label, setting)
    return list(settings.values())


def _drawn(values: Any, random: np.random.Generator) -> Any:
    return values.at(random.uniform()) if isinstance(values, Range) else values[random.integers(len(values))]
