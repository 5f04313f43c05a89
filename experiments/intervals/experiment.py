"""How sure it is: intervals of a network, of several masks and of several seeds, with and without calibration.

Four families; for each loss five learners, trained side by side. The rows of one network, and of 16 masks, are means
over these five, each of which is asked alone.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.intervals.problems import PROBLEMS, WAYS, training
from experiments.intervals.scores import calibration, log_score, of_intervals, of_labels, of_sets, summary
from experiments.resumable import check, make_parts
from mtnets import Conformal, Ensemble, Learner, conformal, losses, meta_train, mt_net
from mtnets.inner import LOSSES, Task, method_to_json
from mtnets.learner import TEST_SEED
from mtnets.learner.queries import drawn_tasks, predict_queries
from mtnets.learner.spread import core_of, interval_of, std_of
from mtnets.tasks import Family

COVERAGE = 0.9
MASKS = 16
METHOD = mt_net(rates="weight", inner_clip=10.0)
SEEDS = "seeds"  # the row of all learners together
Rows = dict[str, dict[str, Any]]


class Asked(NamedTuple):
    """What several networks predict for the test tasks.

    Attributes:
      learners: that they are of.
      masks: how many each has adapted with; None for one.
      outputs: `[networks, tasks, queries, outputs]`.
    """

    learners: Sequence[Learner]
    masks: int | None
    outputs: NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Intervals:
    """How sure it is: intervals of one network, several masks and several seeds, with and without calibration.

    Attributes:
      problems: which families.
      seeds: number of learners.
      meta_steps: length of each training; that of characters is a fifth.
      calibration: validation tasks that intervals are calibrated on.
      tasks: test tasks, the same for all.
      out: folder for one JSON per family and loss.
    """

    problems: tuple[str, ...] = tuple(PROBLEMS)
    seeds: int = 5
    meta_steps: int = 5000
    calibration: int = 500
    tasks: int = 1000
    out: str = "results/intervals"

    def __call__(self) -> None:
        """Runs the experiment."""
        least = {"seeds": 2, "meta_steps": 1, "calibration": 9, "tasks": 2}
        check(self, least, {"problems": PROBLEMS})
        names = [f"{problem}-{loss}" for problem in self.problems for loss in PROBLEMS[problem].losses]
        settings = {name: getattr(self, name) for name in least}
        make_parts("intervals", self.out, names, self.part, settings=settings)

    def part(self, name: str) -> dict[str, Any]:
        """One family and loss: every way to say how sure it is."""
        problem = next(problem for problem in PROBLEMS if name.startswith(f"{problem}-"))
        chosen, loss = PROBLEMS[problem], name.removeprefix(f"{problem}-")
        family, settings = chosen.family(), training(chosen, self.meta_steps)
        network = chosen.network(WAYS if LOSSES[loss]().labels else LOSSES[loss]().outputs_per_target)
        method = dataclasses.replace(METHOD, inner_lr=chosen.inner_lr)
        learners = meta_train(
            network, method, family, loss=loss, seed=list(range(self.seeds)), progress=False, **settings
        )
        keys = jax.random.split(jax.random.key(TEST_SEED), self.tasks)
        tests = drawn_tasks(learners[0], family, family.test, keys)
        rows: Rows = {}
        alone = [[learner] for learner in learners]
        for kind, groups, masks in (("one", alone, None), ("masks", alone, MASKS), (SEEDS, [learners], None)):
            asked = [Asked(group, masks, predict_queries(group, tests, masks=masks)) for group in groups]
            compare = self._labels if learners[0].loss.labels else self._numbers
            seconds = _seconds(functools.partial(predict_queries, groups[0], tests, masks=masks))
            rows |= {
                f"{kind}{row}": {**scores, "seconds_per_task": seconds / self.tasks}
                for row, scores in compare(asked, tests, family).items()
            }
        return {
            "problem": problem,
            "loss": loss,
            "method": method_to_json(method),
            "training": settings,
            "coverage": COVERAGE,
            "rows": rows,
        }

    def _numbers(self, asked: Sequence[Asked], tests: Task, family: Family) -> Rows:
        """Coverage, width, interval score and log score, as they are and calibrated; means over what was asked."""
        y, loss = np.asarray(tests.query.y), asked[0].learners[0].loss
        said = [_as_they_are(each, tests) for each in asked]
        rows: Rows = {"": summary(said)}
        quantile = isinstance(loss, losses.Quantile)
        several = len(asked[0].outputs) > 1 and not quantile
        for scaled in (False, True) if several and loss.name == "mse" else (None,):
            scores = []
            for each in asked:
                fit = self._fit(each, family, scaled)
                low, high, unit = core_of(loss, each.outputs, COVERAGE, fit.scaled)
                beyond = fit.threshold * (1 if unit is None else unit)
                scores.append(of_intervals(low - beyond, high + beyond, y, COVERAGE))
            rows[", conformal, scaled" if scaled else ", conformal"] = summary(scores)
        return rows

    def _labels(self, asked: Sequence[Asked], tests: Task, family: Family) -> Rows:
        """Accuracy, log score and calibration error; coverage and size of sets."""
        y, loss = np.asarray(tests.query.y), asked[0].learners[0].loss
        logs = [loss.mixed(each.outputs) for each in asked]
        sets = [1 - np.exp(log) <= self._fit(each, family).threshold for each, log in zip(asked, logs, strict=True)]
        said = summary([of_labels(log, y) for log in logs]) | {"calibration_error": calibration(logs, y)}
        return {"": said, ", conformal": summary([of_sets(each, y) for each in sets])}

    def _fit(self, asked: Asked, family: Family, scaled: bool | None = None) -> Conformal:
        learner = asked.learners[0] if len(asked.learners) == 1 else Ensemble(tuple(asked.learners))
        return conformal(learner, family, self.calibration, coverage=COVERAGE, masks=asked.masks, scaled=scaled)


def _as_they_are(asked: Asked, tests: Task) -> dict[str, NDArray[Any]]:
    """Scores of the intervals that networks say themselves. One network with the squared loss says none: its interval
    is that of a normal distribution as wide as its residuals on the support set."""
    y, loss, outputs = np.asarray(tests.query.y), asked.learners[0].loss, asked.outputs
    if len(outputs) == 1 and loss.name == "mse":
        on_support = predict_queries(asked.learners, tests._replace(query=tests.support))[0]
        spread = np.sqrt(np.square(on_support - tests.support.y).mean(1, keepdims=True))
        mean, std = outputs[0], np.broadcast_to(spread, outputs[0].shape)
        half = statistics.NormalDist().inv_cdf((1 + COVERAGE) / 2) * std
        return of_intervals(mean - half, mean + half, y, COVERAGE) | {"log_score": log_score(mean, std, y)}
    scores = of_intervals(*interval_of(loss, outputs, COVERAGE), y, COVERAGE)
    if isinstance(loss, losses.Quantile):
        return scores  # quantiles say no density
    return scores | {"log_score": log_score(loss.point(loss.mixed(outputs)), std_of(loss, outputs), y)}


def _seconds(predict: Callable[[], Any], times: int = 3) -> float:
    """The shortest of several times; programs are compiled already."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        predict()
        taken.append(time.perf_counter() - begun)
    return min(taken)
