"""Says what the measurements of a learner mean, in sentences."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from mtnets.analysis.measure import FEW, Measurements
from mtnets.learner.learner import Learner

Severity = Literal["good", "note", "warning"]
Sentences = Iterator[tuple[Severity, str]]
NO_GRADIENT = 1e-6  # relative size of a gradient that is zero except for rounding
CONFIRMED = 1e-3  # relative error of finite differences below which they confirm a gradient
SINGULAR = 1e4  # condition number above which a metric counts as nearly singular


class Finding(NamedTuple):
    """One sentence for the reader, and how much it matters."""

    severity: Severity
    text: str


def interpret(learner: Learner, numbers: Measurements) -> tuple[Finding, ...]:
    """What the measurements of a learner mean."""
    topics = (_checks, _gradients, _adaptation, _more_steps, _divergence, _head_and_body, _masks, _metrics)
    return tuple(Finding(*sentence) for topic in topics for sentence in topic(learner, numbers))


def _checks(learner: Learner, numbers: Measurements) -> Sentences:
    metric = "the metric" if numbers.conditions else "offsets per step"
    names = {"params": "the network's parameters", "fold": metric, "rule": "the rule"}
    wrong = {part: check for part, check in numbers.checks.items() if not check.error < CONFIRMED}
    right = [names[part] for part in numbers.checks if part not in wrong]
    if right:
        estimator = learner.method.estimator.name
        other = "" if estimator == "exact" else f". Training took the {estimator} one instead, which is not checked"
        yield "good", f"Finite differences confirm the exact meta-gradient of {_and(right)}{other}."
    for part, check in wrong.items():
        yield (
            "warning",
            f"The exact meta-gradient of {names[part]} is {check.automatic:.4g} along a random direction, and finite "
            f"differences say {check.differences:.4g}. Look in the network and the loss for operations that have no "
            "derivative (rounding, argmax, stop_gradient, a custom gradient) or are random without using the key.",
        )
    for part, reason in numbers.unchecked.items():
        yield "note", f"Finite differences cannot check {names[part]}: {reason}, by design."


def _gradients(learner: Learner, numbers: Measurements) -> Sentences:
    broken = [path for path, norm in numbers.gradients.items() if not np.isfinite(norm)]
    if broken:
        advice = "Try a smaller inner rate, inner_clip=1.0 or fewer inner steps."
        yield "warning", f"The meta-gradient of {_some(broken)} is not finite. {advice}"
    # Offsets per step replace those of the network, which then need no gradient.
    offsets = "fold.offsets."
    replaced = {path.replace(offsets, "params.", 1) for path in numbers.gradients if path.startswith(offsets)}
    rounding = NO_GRADIENT * max(filter(np.isfinite, numbers.gradients.values()), default=0.0)
    zero = [path for path, norm in numbers.gradients.items() if norm <= rounding and path not in replaced]
    if zero:
        before_norm = learner.model.norm != "none" and any(path.endswith("bias") for path in zero)
        why = " (a bias just before batch norm has none, since the mean is subtracted)" if before_norm else ""
        yield "note", f"The meta-gradient of {_some(zero)} is zero: it does not learn{why}."


def _adaptation(learner: Learner, numbers: Measurements) -> Sentences:
    curve, n = numbers.curve, numbers.inner_steps
    if not n:
        return
    gain = _sign(learner) * (curve.scores[:, n].astype(np.float64) - curve.scores[:, 0])
    with np.errstate(all="ignore"):  # infinite where tasks diverged
        mean, half = float(gain.mean()), float(1.96 * gain.std(ddof=1) / np.sqrt(len(gain)))
    scores = (
        f"{curve.metric} {curve.mean[0]:.4g} before and {curve.mean[n]:.4g} after {_steps(n)} on {curve.num_tasks} "
        f"test tasks (gain {mean:.4g} ± {half:.2g})"
    )
    if mean > half:
        yield "good", f"Adaptation helps: {scores}."
    elif abs(mean) <= half and not curve.diverged[: n + 1].any():
        advice = "Try a larger inner rate, learned rates (rates='layer-step') or a longer training."
        yield "warning", f"Adaptation does not help: {scores}. {advice}"
    else:
        advice = "Try a smaller inner rate, inner_clip=1.0 or learned rates (rates='layer-step')."
        yield "warning", f"Adaptation makes it worse: {scores}. {advice}"


def _more_steps(learner: Learner, numbers: Measurements) -> Sentences:
    curve, n, sign = numbers.curve, numbers.inner_steps, _sign(learner)
    usable = np.where(np.isfinite(curve.mean), sign * curve.mean, -np.inf)
    best = int(np.argmax(usable))
    if best > n and usable[best] > usable[n] + float(curve.ci95[best]):
        score = f"{curve.metric} {curve.mean[best]:.4g} after {best}"
        advice = f"evaluate and adapt with inner_steps={best}"
        yield "note", f"More inner steps than in training still help: {score}; {advice}."
    elif 0 < best < n:
        score = f"The best {curve.metric}, {curve.mean[best]:.4g}, comes after {best} of {_steps(n)}"
        yield "note", f"{score}; later ones overfit or overshoot. Try a smaller inner rate or rates='layer-step'."


def _divergence(learner: Learner, numbers: Measurements) -> Sentences:
    diverged, n = numbers.curve.diverged, numbers.inner_steps
    last = len(diverged) - 1
    if diverged[: n + 1].max() > 0:
        advice = "Try inner_clip=1.0, a smaller inner rate, or learned rates."
        yield "warning", f"{diverged[: n + 1].max():.2%} of the tasks diverge within {_steps(n)}. {advice}"
    elif diverged.max() > 0:
        advice = "To use more steps than in training, train with more, or with inner_clip=10."
        yield "note", f"{diverged.max():.2%} of the tasks diverge by step {last}, none by step {n}. {advice}"
    else:
        yield "good", f"No task diverges within {_steps(last)}."


def _head_and_body(learner: Learner, numbers: Measurements) -> Sentences:
    n, sign = numbers.inner_steps, _sign(learner)
    if not numbers.parts or not n:
        return
    before, whole = float(numbers.curve.mean[0]), float(numbers.curve.mean[n])
    head, body = (float(numbers.parts[part].mean[n]) for part in ("head", "body"))
    if np.isfinite([whole, head, body]).all() and sign * whole > sign * before:
        shares = [f"{(score - before) / (whole - before):.0%}" for score in (head, body)]
        yield (
            "note",
            f"With the head alone moving, {numbers.curve.metric} is {head:.4g}; with the body alone, {body:.4g}; with "
            f"both, {whole:.4g} ({' and '.join(shares)} of the gain).",
        )


def _masks(learner: Learner, numbers: Measurements) -> Sentences:
    if numbers.moving:
        units = [f"{n} {share * numbers.units[n]:.1f} of {numbers.units[n]}" for n, share in numbers.moving.items()]
        yield "note", f"Units that a task moves, on average: {', '.join(units)}."
        still = [name for name, share in numbers.moving.items() if share < 0.05]
        if still:
            yield "note", f"Tasks hardly move {_some(still)}; leaving it out (adapts=…) would change little."
        free = [name for name, share in numbers.moving.items() if share > 0.95]
        if free:
            yield "note", f"The mask of {_some(free)} lets nearly everything move; there it makes no difference."
    if numbers.ranks:
        ranks = ", ".join(f"{name} {rank:.1f}" for name, rank in numbers.ranks.items())
        yield "note", f"Rank of a task's update, mean over {FEW} tasks: {ranks}."


def _metrics(learner: Learner, numbers: Measurements) -> Sentences:
    largest = max(numbers.conditions.values(), default=0.0)
    singular = [name for name, condition in numbers.conditions.items() if condition > SINGULAR]
    if singular:
        metrics = f"The metric of {_some(singular)} is nearly singular (condition number {largest:.2g})"
        yield "warning", f"{metrics}: some directions cannot move. Try clip_norm=10 or a smaller meta_lr."
    elif numbers.conditions:
        yield "good", f"Every metric is well conditioned (condition number at most {largest:.3g})."
    alpha = float(learner.inner_lr)
    changed = {name: factor for name, factor in numbers.step_sizes.items() if not 0.25 <= factor <= 4}
    if changed:
        rates = ", ".join(f"{name} × {factor:.2g} (to {alpha * factor:.2g})" for name, factor in changed.items())
        yield "note", f"The metric has changed the step size {alpha:g}: {rates}. Training may start closer to that."


def _sign(learner: Learner) -> float:
    """1 if a larger score is better, −1 otherwise."""
    return 1.0 if learner.criterion.higher_is_better else -1.0


def _steps(n: int) -> str:
    return f"{n} inner step" + "s" * (n != 1)


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
