"""Norms of meta-gradients on sine: a section of methods-on-sine.md."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.methods_on_sine import CLIP
from experiments.report.tables import Parts, head, number, row
from experiments.resumable import command, read_parts
from experiments.sine_stability import CLIPS, SPAN

HEAD = f"""
## Norms of the meta-gradient

The two-sided T-net with weight rates by the recipe, 30 000 meta-steps, the same seeds with the meta-gradient clipped
and not. Norms are those before clipping, over all meta-steps of a training. Losses are on validation tasks at 10
shots: after as many inner steps as in training at three meta-steps (200 tasks), and after ten of the learner that is
kept (1000 tasks). `{command("sine-stability")}`; the norms of every {SPAN} meta-steps are in
`results/sine-stability`.
"""


def section(results: Path) -> list[str]:
    """The lines of the section; none if there are no results."""
    parts = read_parts(results)
    return ["", *HEAD.strip().splitlines(), "", *_table(parts)] if parts else []


def _table(parts: Parts) -> Iterator[str]:
    """One row per norm and seed."""
    thirds = ("a third", "two thirds", "the end")
    heads = ("clipped to", "seed", "median norm", "largest norm, by meta-step", f"above {CLIP:g}")
    yield from head(*heads, *(f"loss at {third}" for third in thirds), "loss after ten")
    for clip in (name for name in CLIPS if name in parts):
        course = parts[clip]["course"]
        for seed, kept in enumerate(parts[clip]["validation"]["10"]):
            largest, losses = ([span[kind][seed] for span in course] for kind in ("largest_norm", "validation"))
            worst = int(np.argmax(largest))
            yield row(
                clip,
                seed,
                f"{np.median([span['median_norm'][seed] for span in course]):.2g}",
                f"{largest[worst]:.2g}, {course[worst]['meta_step']:,}",
                f"{np.mean([span['above_clip'][seed] for span in course]):.2%}",
                *(number(losses[len(losses) * k // 3 - 1]) for k in (1, 2, 3)),
                number(kept),
            )
