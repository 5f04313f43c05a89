"""A search with Optuna: by its tree-structured Parzen estimator, on validation scores, several trials at a time."""

import math
from collections.abc import Mapping
from typing import Any

from mtnets.errors import OptionError, RunError
from mtnets.inner import Method
from mtnets.sweeps.grid import Range, Setting, Vary, applicable, setting_of
from mtnets.sweeps.study import Study

STORAGE, NAME = "optuna.log", "sweep"
SPACE, TRIED = "space", "tried"  # what is kept with the study, and with each trial that was trained


def search(
    study: Study,
    methods: Mapping[str, Method],
    vary: Vary,
    training: Mapping[str, Any],
    trials: int | None,
    higher: bool,
) -> list[Setting]:
    """Trains settings that Optuna suggests, until so many have been tried in this folder.

    Args:
      study: trains them.
      methods: by title.
      vary: lists of values and ranges, by name.
      training: options that all trainings have.
      trials: how many settings are tried.
      higher: whether larger validation scores are better.

    Returns:
      The settings that were tried, in their order.

    Raises:
      OptionError: without Optuna, or for nothing to search over.
      RunError: where the folder has the trials of another search.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
        from optuna.trial import TrialState
    except ImportError as error:
        raise OptionError("The engine optuna needs Optuna: pip install 'mtnets[optuna]'.") from error
    if len(methods) == 1 and not vary:
        raise OptionError("There is nothing to search over; vary something, or name several methods.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study.folder.mkdir(parents=True, exist_ok=True)
    searched = optuna.create_study(
        study_name=NAME,
        storage=JournalStorage(JournalFileBackend(str(study.folder / STORAGE))),
        direction="maximize" if higher else "minimize",
        load_if_exists=True,
    )
    space = {"methods": list(methods), **{name: str(values) for name, values in vary.items()}}
    if searched.user_attrs.setdefault(SPACE, space) != space:
        raise RunError(
            f"The search in {study.folder} is over {searched.user_attrs[SPACE]} and this one over {space}; go on with "
            "the same, or name another folder."
        )
    searched.set_user_attr(SPACE, space)
    for trial in searched.get_trials(states=(TrialState.RUNNING,)):  # the process was stopped: they go on
        searched.tell(trial.number, state=TrialState.FAIL)
        searched.enqueue_trial(trial.params)
    # with one seed for all, a search that goes on would draw what it has drawn before
    searched.sampler = optuna.samplers.TPESampler(seed=len(searched.trials))

    def suggested(trial: Any) -> Setting:
        title = trial.suggest_categorical("method", list(methods)) if len(methods) > 1 else next(iter(methods))
        varied = {name: _suggest(trial, name, vary[name]) for name in applicable(methods[title], vary)}
        return setting_of(title, methods[title], varied, training)

    def tried() -> list[Any]:
        return [trial for trial in searched.trials if TRIED in trial.user_attrs]

    most = trials or 0
    while left := max(0, most - len(tried())):
        asked = [searched.ask() for _ in range(min(left, study.workers))]
        settings = [suggested(trial) for trial in asked]
        done = len(tried()) * len(study.seeds)
        study.train(settings, done, most * len(study.seeds))
        for trial, setting in zip(asked, settings, strict=True):
            score = study.row(setting).validation
            trial.set_user_attr(TRIED, setting.label)
            finite = math.isfinite(score)
            searched.tell(trial, score if finite else None, TrialState.COMPLETE if finite else TrialState.FAIL)
    settings = {}
    for trial in tried()[:most]:
        setting = suggested(optuna.trial.FixedTrial(trial.params))
        settings.setdefault(setting.label, setting)
    return list(settings.values())


def _suggest(trial: Any, name: str, values: Any) -> Any:
    if not isinstance(values, Range):
        by_text = {str(value): value for value in values}  # a category is a word or a number
        return by_text[trial.suggest_categorical(name, list(by_text))]
    if values.whole:
        return trial.suggest_int(name, values.low, values.high, log=values.log)
    return values.rounded(trial.suggest_float(name, values.low, values.high, log=values.log))
