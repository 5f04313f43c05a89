"""Why the two-sided T-net with learned rates is not stable on sine: the norms of its meta-gradients.

The recipe of `methods-on-sine` at its best setting, once for each norm to which the meta-gradient is clipped, with the
same seeds, hence the same tasks. Nothing is tested: validation losses are what settings are compared by.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from experiments.methods_on_sine import CLIP, SEARCH, SEARCH_SEED, SEARCH_TASKS, STEPS, VARIANTS, method_of, recipe
from experiments.resumable import check, make_parts, read_part
from mtnets import evaluate, tasks
from mtnets.outer.loop import Best, Ended, Validated, begin, learners, training_events
from mtnets.outer.phases import Phases
from mtnets.outer.plan import Plan, make_plan

VARIANT = "t_net-two-sided-weight-rates"
SPAN = 500  # meta-steps over which norms are summarised; one validation each
CLIPS: dict[str, dict[str, Any]] = {"off": {}, "10": {"clip_norm": CLIP}, "1": {"clip_norm": 1.0}}


class Norms(NamedTuple):
    """State of `remembering`.

    Attributes:
      norms: of the last gradients, `[length]`.
      seen: how many gradients there were.
    """

    norms: Array
    seen: Array


def remembering(length: int) -> optax.GradientTransformation:
    """Passes gradients on, and remembers the norms of the last of them."""

    def init(params: Any) -> Norms:
        return Norms(jnp.zeros(length), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Norms]:
        norm = jnp.linalg.norm(ravel_pytree(updates)[0])
        norms = state.norms.at[state.seen % length].set(norm)
        return updates, Norms(norms, state.seen + 1)

    return optax.GradientTransformation(init, update)


@dataclasses.dataclass(frozen=True)
class SineStability:
    """Norms of meta-gradients of the two-sided T-net with learned rates on sine, and what clipping them does.

    Attributes:
      clips: norms to which the meta-gradient is clipped: off, 10, 1.
      seeds: number of seeds.
      meta_steps: length of each training.
      searched: folder of the searches of `methods-on-sine`, for the inner steps and α.
      out: folder for one JSON per norm.
    """

    clips: tuple[str, ...] = ("off", "10")
    seeds: int = 5
    meta_steps: int = 30_000
    searched: str = f"results/methods-on-sine/{SEARCH}"
    out: str = "results/sine-stability"

    def __call__(self) -> None:
        """Runs the experiment."""
        check(self, {"seeds": 1, "meta_steps": SPAN}, {"clips": CLIPS})
        settings = {"seeds": self.seeds, "meta_steps": self.meta_steps}
        make_parts("sine-stability", self.out, self.clips, self.part, settings=settings)

    def part(self, clip: str) -> dict[str, Any]:
        """All seeds with one norm."""
        best = read_part(Path(self.searched) / f"{VARIANT}.json")["best"]
        settings = {**recipe(method_of(VARIANT), best["inner_steps"], self.meta_steps), **CLIPS[clip]}
        family = tasks.sinusoid()
        plan = make_plan(
            VARIANTS[VARIANT].network,
            method_of(VARIANT),
            family,
            seed=list(range(self.seeds)),
            inner_lr=[best["inner_lr"]],
            options={**settings, "log_every": SPAN, "validate_every": SPAN, "skip_nonfinite": 10**9},
        )
        watched = optax.chain(remembering(SPAN), plan.optimiser)  # norms are those before clipping
        course, chosen = follow(dataclasses.replace(plan, optimiser=watched))
        scores = [
            evaluate(learner, family.validation, SEARCH_TASKS, inner_steps=max(STEPS), seed=SEARCH_SEED).mean
            for learner in learners(plan, chosen)
        ]
        losses = {str(step): [float(score[step]) for score in scores] for step in STEPS}
        setting = {**settings, "inner_lr": best["inner_lr"], "inner_clip": CLIP}
        return {
            "clip": clip,
            "setting": setting,
            "best_meta_step": chosen.step.tolist(),
            "validation": losses,
            "course": course,
        }


def follow(plan: Plan) -> tuple[list[dict[str, Any]], Best]:
    """Trains to the end.

    Args:
      plan: whose meta-optimiser begins with `remembering(SPAN)`.

    Returns:
      For each SPAN meta-steps, with a value for each seed: the median and the largest norm of the meta-gradient, the
      share of norms above CLIP, and the loss on validation tasks at their end; and the best learners.
    """
    course: list[dict[str, Any]] = []
    for event in training_events(plan, begin(plan), Phases(plan)):
        match event:
            case Validated(position, scores):
                remembered: Any = position.outer.optimiser
                norms = np.asarray(remembered[0].norms)  # [seeds, SPAN]
                course.append({
                    "meta_step": position.step,
                    "median_norm": np.median(norms, 1).tolist(),
                    "largest_norm": norms.max(1).tolist(),
                    "above_clip": (norms > CLIP).mean(1).tolist(),
                    "validation": list(scores),
                })  # fmt: skip
            case Ended(position):
                return course, position.best
    raise AssertionError("a training ends")
