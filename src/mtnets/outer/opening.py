"""What is said before a training: how it learns, what it learns with, and what the numbers to come are."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax

from mtnets.outer.loop import Position
from mtnets.outer.plan import Plan
from mtnets.tasks import Images, Inputs, Options


def opening(plan: Plan, position: Position) -> Iterator[tuple[str, str]]:
    """Words and what is said of each.

    Args:
      plan: of the training.
      position: where it begins.
    """
    method, model, training = plan.method, plan.model, plan.training
    learned = f"; learned besides the start: {method.learns}" if method.learns else ""
    yield "method", f"{method.name.replace('_', '-')}: {method.step or 'of your own'}{learned}"
    name = "of your own" if model.config is None else model.config["network"]
    moving = method.choose(model.layers)
    numbers, in_all = _numbers(position.outer.meta.params), _numbers(position.outer.meta)
    layers = f"{len(model.layers)} layers" + f", of which {len(moving)} move" * (len(moving) < len(model.layers))
    yield (
        "network",
        f"{name}: {layers}; {numbers // plan.runs:,} numbers, and {in_all // plan.runs:,} meta-learned in all",
    )
    family = "of your own" if plan.family is None or plan.family.options is None else plan.family.options.family
    steps = f"{training.inner_steps} inner step{'s' * (training.inner_steps != 1)}"
    rates = ", ".join(f"{rate:g}" for rate in dict.fromkeys(plan.inner_lrs))
    images = images_in_words(plan.inputs, None if plan.family is None else plan.family.options)
    changed = augmentation_in_words(None if plan.family is None else plan.family.options)
    yield "tasks", f"{family}: {training.meta_batch} per meta-step, {steps} each, α {rates}{images}{changed}"
    if plan.runs > 1:
        yield "runs", f"{plan.runs} side by side, whose means are shown"
    shown = "loss on query sets before → after adaptation, a mean since the last line of the log"
    if method.rule.moving(plan.program.inner.layers, position.outer.meta.rule):
        shown += "; moving: the share of its units that a task moves, layer by layer"
    yield "shown", shown


def images_in_words(inputs: Inputs, options: Options | None) -> str:
    """The size at which the network sees images, which decides over time and memory, and what changes it."""
    if not isinstance(inputs, Images):
        return ""
    change = " (image_size=..., --image-size, changes it)" if hasattr(options, "image_size") else ""
    kind = "grey" if inputs.channels == 1 else "RGB"
    return f"; {kind} images of {inputs.size} × {inputs.size} pixels{change}"


def augmentation_in_words(options: Options | None) -> str:
    """How training images are changed as they are drawn, and those of which set, where not of both."""
    augment: Sequence[str] = getattr(options, "augment", ())
    if not augment:
        return ""
    where = getattr(options, "augment_where", "all")
    which = "" if where == "all" else f" those of the {where} set"
    return f"; in training{which} augmented by {', '.join(map(str, augment))}"


def _numbers(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
