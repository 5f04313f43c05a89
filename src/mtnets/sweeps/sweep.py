"""`mtnets.sweep`: seeds × methods × settings, compared on the same tasks."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

from mtnets.analysis.figures import check_can_draw
from mtnets.arguments import Seed, checked_arguments
from mtnets.errors import OptionError, RunError
from mtnets.files import check_place
from mtnets.inner import Distribution, LossLike, Method, MetricLike
from mtnets.networks.model import Model
from mtnets.outer.run import CONFIG
from mtnets.outer.settings import TrainingOptions
from mtnets.sweeps.grid import Range, Setting, Vary, applicable, check_vary, setting_of, titled
from mtnets.sweeps.result import JSON, PICTURE, Sweep
from mtnets.sweeps.runs import Problem
from mtnets.sweeps.study import Study
from mtnets.tasks import Family

Engine = Literal["grid", "optuna", "ray"]
# (study, methods, vary, training, trials, whether higher is better) -> the settings that were trained
Search = Callable[[Study, Mapping[str, Method], Vary, Mapping[str, Any], int | None, bool], list[Setting]]


@checked_arguments
def sweep(
    model: Model | None,
    methods: Method | Sequence[Method] | Mapping[str, Method],
    tasks: Family | Distribution,
    *,
    out: str | Path,
    seeds: Sequence[Seed] = (0, 1, 2),
    vary: Vary | None = None,
    loss: LossLike | None = None,
    inner_loss: LossLike | None = None,
    metrics: Mapping[str, MetricLike] | None = None,
    best: str | None = None,
    engine: Engine = "grid",
    trials: int | None = None,
    workers: int = 1,
    side_by_side: int | None = None,
    progress: bool = True,
    **options: Unpack[TrainingOptions],
) -> Sweep:
    """Meta-trains every setting with every seed, and compares them on the same test tasks.

    What differs in seeds and inner rates alone is trained side by side in one program. The best setting is chosen by
    its mean score on validation tasks; test scores choose nothing. Called again with the same folder, it keeps runs
    that have ended, and goes on with one that was stopped; another grid adds to them. A run whose loss or gradient is
    not finite is told of, and the others go on.

    Args:
      model: the network; None for the task family's usual one.
      methods: one, several, or several by titles of yours.
      tasks: a family, or a bare distribution that serves for training, validation and test.
      out: folder for all runs (`SETTING/seed-0`, each that of a single run), `sweep.json`, `sweep.csv` and, with
        matplotlib, `sweep.png`.
      seeds: of each setting.
      vary: lists of values by name: options of a method or of the training, for example `{"inner_lr": [0.01, 0.1],
        "meta_lr": [1e-3, 3e-3]}`. What a method does not have is not varied for it. For a search, also a
        `mtnets.sweeps.Range`.
      loss, inner_loss, metrics, best: as for `meta_train`.
      engine: `"grid"` trains every combination; `"optuna"` searches with Optuna, and keeps its trials in the folder;
        `"ray"` trains on the machines of a Ray cluster, which have to share the folder, every combination of lists, or
        combinations drawn at random where there are ranges. A search goes by validation scores.
      trials: combinations that a search tries.
      workers: processes of this machine that train at a time, each a program of its own; scripts that ask for several
        need `if __name__ == "__main__":`.
      side_by_side: runs that a program trains at most, where memory is short. Defaults to all that can be.
      progress: whether to show progress on standard error.
      **options: fields of `mtnets.Training`, the same for all settings.

    Raises:
      OptionError: for what is not possible; nothing is trained before.
      RunError: where a folder holds a run of another configuration, or a run cannot go on.
    """
    folder, named = Path(out), titled(methods)
    check_place(folder / JSON)
    if (folder / CONFIG).exists():
        raise RunError(f"{folder} holds a single run; name another folder for a sweep.")
    _check(seeds, engine, trials, {"workers": workers, "side_by_side": side_by_side})
    check_vary(named, vary or {}, ranges=engine != "grid")
    problem = Problem(model, tasks, {"loss": loss, "inner_loss": inner_loss, "metrics": metrics, "best": best})
    study = Study(problem, seeds, folder, workers=workers, side_by_side=side_by_side, progress=progress)
    training = {name: value for name, value in options.items() if value is not None}
    for name in vary or {}:
        if name in training:
            raise OptionError(f"{name} is {training[name]!r} and varied too; leave one of them out.")
    title, method = next(iter(named.items()))
    first = {name: (vary or {})[name] for name in applicable(method, vary or {})}
    first = {name: values.low if isinstance(values, Range) else values[0] for name, values in first.items()}
    plan = study.plan(setting_of(title, method, first, training))
    if plan.training.validate_every == 0:
        raise OptionError("validate_every is 0, and a sweep chooses by validation; leave it out.")
    settings = _engine(engine)(study, named, vary or {}, training, trials, plan.criterion.higher_is_better)
    rows = tuple(study.row(setting) for setting in settings)
    result = Sweep(plan.criterion.best, plan.criterion.higher_is_better, plan.training.test_tasks, rows)
    result.save(folder)
    with contextlib.suppress(OptionError):  # a picture is an extra
        check_can_draw()
        result.plot(folder / PICTURE)
    return result


def _engine(name: str) -> Search:
    """What trains settings, and says which."""
    if name == "optuna":
        from mtnets.sweeps.engines.optuna import search
    elif name == "ray":
        from mtnets.sweeps.engines.ray import search
    else:
        from mtnets.sweeps.engines.grid import search
    return search


def _check(seeds: Sequence[int], engine: str, trials: int | None, counts: Mapping[str, int | None]) -> None:
    """Raises OptionError for arguments that are not possible, or not together."""
    if not seeds:
        raise OptionError("seeds is empty; name one, or several.")
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise OptionError(f"seeds is {list(seeds)}, with {seed} twice; name each seed once.")
    for name, count in counts.items():
        if count is not None and count < 1:
            raise OptionError(f"{name} is {count}; it must be at least 1.")
    if engine == "grid" and trials is not None:
        raise OptionError(
            f"trials is {trials}, and a grid tries every combination; leave it out, or search with engine='optuna'."
        )
    if engine == "optuna" and trials is None:
        raise OptionError("The engine optuna needs a number of trials, for example trials=20.")
    if trials is not None and trials < 1:
        raise OptionError(f"trials is {trials}; it must be at least 1.")


__all__: Sequence[str] = ["Engine", "sweep"]
