"""Every method on sine, side by side: a search on validation tasks, then several seeds at each method's best setting.

Task family, network and test are those of the paper (`sine`); the training is not. By the *recipe* it has a multi-step
loss over its first third (where the estimator takes one), a cosine rate, and gradients of a task clipped to norm 10;
inner steps (1 or 5) and α are those that did best on validation tasks in the search. The search takes some 20 minutes
on one core, the trainings hours.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.resumable import Part, check, make_parts, parts_done, read_part
from experiments.scores import summarise
from experiments.sine import LEAST, SHOTS
from mtnets import METHODS, Implicit, Learner, Method, Model, evaluate, meta_train, models, tasks
from mtnets.inner import method_to_json

PLAIN = models.mlp(1, 40, 40, 1)
STEPS = (1, 5, 10)  # after which scores are kept
RATES = (0.003, 0.01, 0.03, 0.1)
BEYOND = {0.003: (0.0003, 0.001), 0.1: (0.3, 1.0)}  # tried too where the best of RATES is the least or the largest
CLIP = 10.0  # norm of a task's gradient
SEARCH_SEED, SEARCH_TASKS = 1, 1000  # of validation tasks
SEARCH, WIDER = "search", "wider"  # folders of the searches; those of trainings have the names of protocols
TWO_SIDED: Mapping[str, Any] = {"sides": 2, "rates": "weight"}


class Variant(NamedTuple):
    """A method with its options and network.

    Attributes:
      title: its name in tables.
      method: name of the method.
      options: of the method.
      network: that it adapts.
      inner_loss: of the support sets; None for that of the query sets.
    """

    title: str
    method: str
    options: Mapping[str, Any] = {}
    network: Model = PLAIN
    inner_loss: str | None = None


VARIANTS = {  # by the names of their files, in the order in which they are trained
    "mt_net-two-sided-weight-rates": Variant("mt_net, two-sided + weight rates", "mt_net", TWO_SIDED),
    "t_net-two-sided-weight-rates": Variant("t_net, two-sided + weight rates", "t_net", TWO_SIDED),
    "gap": Variant("gap", "gap"),
    "mt_net": Variant("mt_net", "mt_net"),
    "meta_sgd": Variant("meta_sgd", "meta_sgd"),
    "maml": Variant("maml", "maml"),
    "t_net": Variant("t_net", "t_net"),
    "meta_curvature": Variant("meta_curvature", "meta_curvature"),
    "maml-layer-step-rates": Variant("maml, layer-step rates", "maml_plus_plus", {"per_step_offsets": False}),
    "alfa": Variant("alfa", "alfa"),
    "approximate_gap": Variant("approximate_gap", "approximate_gap"),
    "sparse_maml": Variant("sparse_maml", "sparse_maml"),
    "t_net-weight-rates": Variant("t_net + weight rates", "t_net", {"rates": "weight"}),
    "anil": Variant("anil", "anil"),
    "boil": Variant("boil", "boil"),
    "cavia": Variant("cavia", "cavia"),
    "fomaml": Variant("fomaml", "fomaml"),
    "reptile": Variant("reptile", "reptile"),
    "imaml": Variant("imaml", "imaml", {"estimator": Implicit(0.1, damping=10.0)}),
    "m_net": Variant("m_net", "m_net"),
    "warp_grad": Variant("warp_grad", "warp_grad"),
    "maml-residual-warp-layers": Variant(
        "maml, residual warp layers", "maml", network=models.mlp(1, 40, 40, 1, warp="residual")
    ),
    "mt_net_full": Variant("mt_net_full", "mt_net_full"),
    "t_net-two-sided": Variant("t_net, two-sided", "t_net", {"sides": 2}),
    "mt_net-weight-rates": Variant("mt_net + weight rates", "mt_net", {"rates": "weight"}),
    "l2f": Variant("l2f", "l2f"),
    "maml-metal": Variant("maml + MeTAL", "maml", inner_loss="metal(loss='mse')"),
    "alfa-metal": Variant("alfa + MeTAL", "alfa", inner_loss="metal(loss='mse')"),
}


class Protocol(NamedTuple):
    """How learners are trained.

    Attributes:
      title: its heading in the report.
      shots: of training.
      times: length of the training, in lengths of the recipe's.
      settings: of training, besides those of the recipe.
    """

    title: str
    shots: int = 10
    times: int = 1
    settings: Mapping[str, Any] = {}


PROTOCOLS = {
    "recipe": Protocol("By the recipe"),
    "longer": Protocol("By the recipe, for longer", times=2),
    "20-shots": Protocol("By the recipe, trained at 20 shots", shots=20),
    "clipped": Protocol(
        "By the recipe, for longer, the meta-gradient clipped too", times=2, settings={"clip_norm": CLIP}
    ),
}


@dataclasses.dataclass(frozen=True)
class MethodsOnSine:
    """Every method on sine, side by side, each at the setting that did best in a search.

    Attributes:
      variants: which methods, some with options.
      protocols: `recipe`; `longer`, twice as many meta-steps; `20-shots`, trained at 20 shots instead of 10; `clipped`,
        twice as many meta-steps, with the norm of the meta-gradient clipped.
      seeds: number of seeds.
      search_steps: length of the trainings of the search.
      meta_steps: length of each training.
      tasks: test tasks for each number of shots, the same for all.
      runs: folder for run folders, in which trainings go on where they were stopped; those of the search begin anew.
      out: folder for both searches and for each protocol, with one JSON per variant.
    """

    variants: tuple[str, ...] = tuple(VARIANTS)
    protocols: tuple[str, ...] = ("recipe",)
    seeds: int = 5
    search_steps: int = 4000
    meta_steps: int = 30_000
    tasks: int = 2000
    runs: str = "runs/methods-on-sine"
    out: str = "results/methods-on-sine"

    def __call__(self) -> None:
        """Runs the experiment."""
        check(self, LEAST | {"search_steps": 1}, {"variants": VARIANTS, "protocols": PROTOCOLS})
        settings: dict[str, Any] = {"search_steps": self.search_steps}
        make_parts("methods-on-sine", self._folder(SEARCH), self.variants, self.search, settings=settings)
        make_parts("methods-on-sine", self._folder(WIDER), self._at_edge(), self.search_wider)
        # another process may still be searching for the settings of some
        missing = [name for name in self._at_edge() if not self._part(WIDER, name).exists()]
        ready = [name for name in self._searched() if name not in missing]
        settings = {"seeds": self.seeds, "meta_steps": self.meta_steps, "tasks": self.tasks}
        for protocol in self.protocols:
            make_parts(
                "methods-on-sine",
                self._folder(protocol),
                ready,
                lambda name, protocol=protocol: self.train(name, protocol),
                settings=settings,
                enough=self._is_at_best,
            )

    def done(self) -> dict[str, bool]:
        """Whether each part is there."""
        done = {SEARCH: parts_done(self._folder(SEARCH), self.variants)}
        done[WIDER] = parts_done(self._folder(WIDER), self._at_edge())
        for protocol in self.protocols:
            done[protocol] = parts_done(self._folder(protocol), self.variants, self._is_at_best)
        return {f"{kind}/{name}": there for kind, parts in done.items() for name, there in parts.items()}

    def _folder(self, kind: str) -> Path:
        return Path(self.out) / kind

    def _part(self, kind: str, name: str) -> Path:
        return self._folder(kind) / f"{name}.json"

    def _searched(self) -> list[str]:
        """The variants whose search is there."""
        return [name for name in self.variants if self._part(SEARCH, name).exists()]

    def _at_edge(self) -> list[str]:
        """Those whose best α is the least or the largest of it."""
        return [name for name in self._searched() if read_part(self._part(SEARCH, name))["best"]["inner_lr"] in BEYOND]

    def best(self, name: str) -> dict[str, Any]:
        """The setting of a variant that did best in its searches."""
        paths = [self._part(kind, name) for kind in (SEARCH, WIDER)]
        return best_of([row for path in paths if path.exists() for row in read_part(path)["tried"]])

    def _is_at_best(self, name: str, part: Part) -> bool:
        """Whether a training has the setting that did best; a wider search may have found another one since."""
        if not self._part(SEARCH, name).exists():
            return False
        best, setting = self.best(name), part["setting"]
        return all(setting[option] == best[option] for option in ("inner_steps", "inner_lr"))

    def search(self, name: str) -> dict[str, Any]:
        """Loss on validation tasks for each number of inner steps and α, with one seed."""
        rows = [row for inner_steps in (1, 5) for row in tried(name, inner_steps, RATES, self.search_steps)]
        return searched(name, rows, self.search_steps)

    def search_wider(self, name: str) -> dict[str, Any]:
        """The same beyond the edge at which the best α was, with its number of inner steps and as many meta-steps."""
        first = read_part(self._part(SEARCH, name))
        best, meta_steps = first["best"], first["meta_steps"]
        return searched(name, tried(name, best["inner_steps"], BEYOND[best["inner_lr"]], meta_steps), meta_steps)

    def train(self, name: str, protocol: str) -> dict[str, Any]:
        """All seeds of one variant at its best setting, tested on tasks that are the same for all."""
        best, (_, shots, times, settings) = self.best(name), PROTOCOLS[protocol]
        training = {**recipe(method_of(name), best["inner_steps"], times * self.meta_steps), **settings}
        seeds, folder = list(range(self.seeds)), Path(self.runs, protocol, name)
        in_folder = {"out": folder, "resume": True, "report": False, "test_tasks": 1}  # scored once, on more
        learners = train(name, [best["inner_lr"]], seeds, shots, **in_folder, **training)
        return {
            "title": VARIANTS[name].title,
            "protocol": protocol,
            "setting": {**training, "inner_lr": best["inner_lr"], "inner_clip": CLIP, "shots": shots},
            "method": method_to_json(learners[0].method),
            "meta_parameters": sum(leaf.size for leaf in jax.tree.leaves(learners[0].meta)),
            "scores": self.scores(learners),
        }

    def scores(self, learners: Sequence[Learner]) -> dict[str, dict[str, Any]]:
        """Scores at several numbers of shots and of inner steps."""
        scores = {}
        for shots in SHOTS:
            family = tasks.sinusoid(shots=shots)
            summary = summarise([evaluate(each, family, self.tasks, inner_steps=max(STEPS)) for each in learners])
            names = {"mean": "mean", "ci95": "tasks95", "seeds": "seeds", "median": "median", "diverged": "diverged"}
            for step in STEPS:
                row = {name: summary[kind][step] for name, kind in names.items()}
                scores[f"{shots} shots, {step} steps"] = row
        return scores


def tried(name: str, inner_steps: int, inner_lrs: Sequence[float], meta_steps: int) -> list[dict[str, Any]]:
    """Loss on validation tasks after a short training, for each α."""
    validation, rows = tasks.sinusoid().validation, []
    for learner in train(name, inner_lrs, [0], validate_every=0, **recipe(method_of(name), inner_steps, meta_steps)):
        scores = evaluate(learner, validation, SEARCH_TASKS, inner_steps=max(STEPS), seed=SEARCH_SEED).mean
        losses = {str(step): float(scores[step]) for step in STEPS}
        rows.append({"inner_steps": inner_steps, "inner_lr": learner.inner_lr, "validation": losses})
    return rows


def searched(name: str, rows: list[dict[str, Any]], meta_steps: int) -> dict[str, Any]:
    """What is kept of a search."""
    return {"title": VARIANTS[name].title, "tried": rows, "best": best_of(rows), "meta_steps": meta_steps, "seed": 0}


def best_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row with the least loss after 1, 5 or 10 inner steps. One that is not finite is the worst."""

    def least(row: dict[str, Any]) -> float:
        losses = np.array(list(row["validation"].values()), np.float64)  # None, in a part that was read, is NaN
        return np.nan_to_num(losses, nan=np.inf).min()

    return min(rows, key=least)


def method_of(name: str) -> Method:
    """The method of a variant."""
    variant = VARIANTS[name]
    return METHODS[variant.method](**variant.options, inner_clip=CLIP)


def recipe(method: Method, inner_steps: int, meta_steps: int) -> dict[str, Any]:
    """Settings of training by the recipe. Some estimators take no multi-step loss."""
    multi_step = meta_steps // 3 if inner_steps > 1 and method.estimator.weighs_steps else 0
    return {"inner_steps": inner_steps, "meta_steps": meta_steps, "schedule": "cosine", "multi_step_loss": multi_step}


def train(
    name: str, inner_lrs: Sequence[float], seeds: Sequence[int], shots: int = 10, **settings: Any
) -> list[Learner]:
    """Learners of one variant, rate by rate."""
    return meta_train(
        VARIANTS[name].network,
        method_of(name),
        tasks.sinusoid(shots=shots),
        seed=seeds,
        inner_lr=inner_lrs,
        inner_loss=VARIANTS[name].inner_loss,
        skip_nonfinite=10**9,  # a run that fails must not end those beside it; its loss shows that it did
        progress=False,
        **settings,
    )
