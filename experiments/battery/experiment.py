"""A used cell from a few readings: the voltage that it will have under any load, at any charge and temperature.

Networks are trained on the readings of 300 simulated cells of a laboratory (`cells`); α and inner steps, or the rate
and steps of Adam, are those that did best on 100 others. All are tested on cells that nobody has seen, and on cells
that are more worn in every respect than any of the laboratory. Nothing is chosen by the test.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.battery.cells import Laboratory, NewCells, voltage
from experiments.battery.judging import (
    AS_TRAINED,
    CLOSE,
    SHOTS,
    TIMED_SHOTS,
    WEAR,
    Candidate,
    Fit,
    Predict,
    Scores,
    chosen,
    drawn,
    errors,
    errors_of,
    seconds,
    summary,
)
from experiments.resumable import check, make_parts, settings_of
from experiments.scores import by_rate
from mtnets import METHODS, Learner, Method, OptionError, maml, meta_train, models
from mtnets.inner import method_to_json
from mtnets.learner import AdaptedModel

NETWORK = models.mlp(3, 40, 40, 1, init="pytorch")
CLIP = 10.0  # norm of a task's gradient, and of the meta-gradient
TRAINING: Mapping[str, Any] = {
    "inner_steps": 3,
    "meta_batch": 4,
    "schedule": "cosine",
    "clip_norm": CLIP,
    "validate_every": 0,  # the last learner: other cells choose α and steps alone
    "skip_nonfinite": 10**9,  # a run that fails must not end those beside it
}
RATES, MOST = (0.03, 0.1), 20  # α that are tried; inner steps at test, at most
ADAM_RATES, ADAM_MOST = (0.003, 0.01, 0.03), 200  # the same for Adam
LEARNED = ("mt_net", "meta_sgd", "maml")
PRETRAINED, FURTHER, NOTHING, PROCESS = "pretrained", "pretrained-further", "nothing", "gaussian-process"
ADAM = {FURTHER: "pretrained, Adam", NOTHING: "nothing, Adam"}  # titles
ALONE = {  # models that know no other cell
    "ridge": "ridge regression",
    PROCESS: "Gaussian process",
    "equations-simplified": "equations, simplified",
    "equations-limits": "equations, limits alone",
    "equations": "equations",
}
PARTS = (*LEARNED, PRETRAINED, *ADAM, *ALONE)


@dataclasses.dataclass(frozen=True)
class Battery:
    """A used battery cell from 5 to 20 readings: meta-learned networks, the same otherwise, and its equations.

    Attributes:
      parts: which models; `pretrained-further` adapts by Adam, `nothing` likewise from random weights; those from
        `ridge` on know no other cell.
      seeds: of trainings.
      meta_steps: length of each training.
      tasks: test cells, the same for all.
      out: folder for one JSON per part.
    """

    parts: tuple[str, ...] = PARTS
    seeds: int = 3
    meta_steps: int = 5000
    tasks: int = 150
    out: str = "results/battery"

    def __call__(self) -> None:
        """Runs the experiment."""
        check(self, {"seeds": 1, "meta_steps": 1, "tasks": 2}, {"parts": PARTS})
        try:
            import sklearn  # noqa: F401  # of the models beside networks
        except ImportError as error:
            raise OptionError("Batteries need scikit-learn: pip install 'mtnets[experiments]'.") from error
        make_parts("battery", self.out, self.parts, self.part, settings=settings_of(self, "parts"))

    def part(self, name: str) -> dict[str, Any]:
        """The rows of one part."""
        if name in ALONE:
            return {"rows": {ALONE[name]: self._alone(name)}}
        if name in LEARNED:
            method = METHODS[name](inner_clip=CLIP)
            learners = train(method, self.seeds, self.meta_steps, inner_lr=RATES)
            candidates = [Candidate(each, rate) for rate, each in by_rate(learners, RATES)]
            about = {"method": method_to_json(learners[0].method), "training": TRAINING, "rates": RATES}
            return {**about, "rows": {name: self._row(candidates, MOST)}}
        steps = 0 if name == NOTHING else self.meta_steps
        learners = train(maml(ADAM_RATES[0], inner_optimiser="adam"), self.seeds, steps, inner_steps=0)
        about = {"training": {**TRAINING, "inner_steps": 0}}
        if name == PRETRAINED:
            return {**about, "rows": self._shared(learners)}
        row = self._row([Candidate(learners, rate, given=True) for rate in ADAM_RATES], ADAM_MOST)
        return {**about, "rates": ADAM_RATES, "rows": {ADAM[name]: row}}

    def _row(self, candidates: Sequence[Candidate], most: int) -> Scores:
        """Scores of learners of several seeds, at the rate and steps that other cells choose."""
        scores, steps, close = {}, 0, False
        for shots in SHOTS:
            setting = chosen(candidates, shots, most)
            kept = {"rate": setting.candidate.rate, "steps": setting.steps, "tried": setting.tried}
            for kind, wear in WEAR.items():
                each = errors(setting.candidate, NewCells(shots, wear), self.tasks, most)
                scores[name_of(shots, kind)] = summary(each[:, :, setting.steps]) | {"setting": kept}
                if (shots, kind) == (TIMED_SHOTS, AS_TRAINED):
                    course = np.median(each, axis=(0, 1))  # [steps + 1]
                    close = bool((course <= CLOSE).any())
                    steps = int((course <= CLOSE).argmax() if close else course.argmin())
        learner = candidates[0].learners[0]  # at any rate a step takes as long
        return {
            "scores": scores,
            "time": {"close": close, "steps": steps, **seconds(lambda x, y: learner.adapt(x, y, inner_steps=steps))},
        }

    def _shared(self, learners: Sequence[Learner]) -> dict[str, Scores]:
        """A network of all cells as it is, and with a Gaussian process of what it leaves of one."""
        from experiments.battery.models import kernel_of_rest, of_rest

        x, y = np.zeros((1, 3), np.float32), np.zeros((1, 1), np.float32)  # which nothing is learned from
        networks = [functools.partial(_predicted, learner.adapt(x, y, inner_steps=0)) for learner in learners]
        as_it_is = [functools.partial(_unfitted, network) for network in networks]
        rest = [functools.partial(of_rest, each, kernel_of_rest(each, Laboratory())) for each in networks]
        return {
            "pretrained": self._fitted(dict.fromkeys(SHOTS, as_it_is)),
            "pretrained, Gaussian process": self._fitted(dict.fromkeys(SHOTS, rest)),
        }

    def _alone(self, name: str) -> Scores:
        """A model that knows no other cell, but for the kernel that others choose for each number of readings."""
        from experiments.battery.models import best_kernel, by_equations, gaussian_process, ridge, with_resistor

        if name == PROCESS:
            return self._fitted({shots: [functools.partial(gaussian_process, best_kernel(shots))] for shots in SHOTS})
        fits: dict[str, Fit] = {
            "ridge": ridge,
            "equations": functools.partial(by_equations, voltage, 1.0),
            "equations-limits": functools.partial(by_equations, voltage, 0.0),
            "equations-simplified": functools.partial(by_equations, with_resistor, 1.0),
        }
        return self._fitted({shots: [fits[name]] for shots in SHOTS})

    def _fitted(self, fits: Mapping[int, Sequence[Fit]]) -> Scores:
        """Scores of models that are fitted to a task, for each number of readings; several are those of seeds."""
        scores = {
            name_of(shots, kind): summary(
                np.stack([errors_of(fit, drawn(NewCells(shots, wear), self.tasks)) for fit in fits[shots]])
            )
            for shots in SHOTS
            for kind, wear in WEAR.items()
        }
        close = scores[name_of(TIMED_SHOTS, AS_TRAINED)]["median"] <= CLOSE
        return {"scores": scores, "time": {"close": close, **seconds(fits[TIMED_SHOTS][0])}}


def name_of(shots: int, kind: str) -> str:
    """The name of a test."""
    return f"{shots} readings, {kind}"


def train(method: Method, seeds: int, meta_steps: int, **settings: Any) -> list[Learner]:
    """Learners of several seeds, and of several α if there are some, side by side, rate by rate."""
    options = {**TRAINING, "loss": "mse", "meta_steps": meta_steps, "progress": False, **settings}
    return meta_train(NETWORK, method, Laboratory(), seed=list(range(seeds)), **options)


def _predicted(network: AdaptedModel, x: Any) -> np.ndarray:
    """What a network predicts, on the host."""
    return np.asarray(network(x))


def _unfitted(network: Predict, x: Any, y: Any) -> Predict:
    """A network that learns nothing from the readings."""
    return network
