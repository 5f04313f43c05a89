"""The doctor: is the meta-gradient right, does every layer learn, does adaptation help, and what to try if not."""

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtnets.compat import enable_x64
from mtnets.devices import default_at_once, map_over
from mtnets.errors import OptionError
from mtnets.files import finite, replacing
from mtnets.inner.loop import Episode, Inner, Start, inner_loop, starting_point
from mtnets.inner.losses import METRICS
from mtnets.inner.methods import Meta
from mtnets.inner.rules import fixed
from mtnets.inner.task import Distribution
from mtnets.learner.evaluate import TEST_SEED, Estimate, evaluate
from mtnets.learner.learner import Learner
from mtnets.outer.gradient import meta_gradient
from mtnets.tasks.family import Family
from mtnets.tasks.sampling.host_callback import surfacing
from mtnets.trees import leaves_by_path

Severity = Literal["good", "note", "warning"]
FEW = 16  # tasks for gradients and updates
CHECKED = 4  # tasks for finite differences
STEP = 1e-6  # of finite differences, relative to the size of what is changed
NOTHING = 1e-6  # relative size of a gradient that is zero but for rounding
AGREES = 1e-3  # relative error of finite differences below which a gradient counts as confirmed


class Finding(NamedTuple):
    """One sentence for the reader, and how much it matters."""

    severity: Severity
    text: str


class Check(NamedTuple):
    """A directional derivative of the meta-loss, by automatic differentiation and by finite differences."""

    automatic: float
    differences: float
    noise: float = 0.0  # what rounding alone may make of the differences

    @property
    def error(self) -> float:
        """Relative to the larger of the two; 0 where they differ by less than the noise."""
        difference, largest = abs(self.automatic - self.differences), max(abs(self.automatic), abs(self.differences))
        return difference / largest if difference > self.noise else 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis:
    """What the doctor found.

    Attributes:
      curve: scores on test tasks per inner step, for more steps than in training.
      inner_steps: of training.
      parts: scores with the head alone moving and with the body alone moving, where there are both.
      gradients: norm of the meta-gradient of each leaf of everything meta-learned, NaN where it is not finite.
      checks: derivatives of the meta-loss along a random direction in the parameters, the fold and the rule.
      unchecked: parts for which finite differences say nothing, and why.
      units: per layer that moves, its number of units.
      moving: share of them that moves, where the method has masks.
      ranks: per layer, the rank of a task's update, mean over tasks.
      conditions: condition number of each metric.
      step_sizes: mean squared singular value of each metric: the factor by which it multiplies α (T = c gives c²).
      findings: what all that means, in sentences.
    """

    curve: Estimate
    inner_steps: int
    parts: Mapping[str, Estimate]
    gradients: Mapping[str, float]
    checks: Mapping[str, Check]
    unchecked: Mapping[str, str]
    units: Mapping[str, int]
    moving: Mapping[str, float]
    ranks: Mapping[str, float]
    conditions: Mapping[str, float]
    step_sizes: Mapping[str, float]
    findings: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        marks = {"good": "✓", "note": "·", "warning": "!"}
        return "\n".join(f"{marks[finding.severity]} {finding.text}" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain numbers; what is not finite is None."""
        values = {
            "findings": [finding._asdict() for finding in self.findings],
            "inner_steps": self.inner_steps,
            "curve": self.curve.to_json(),
            "parts": {name: estimate.to_json() for name, estimate in self.parts.items()},
            "gradients": self.gradients,
            "checks": {name: check._asdict() for name, check in self.checks.items()},
            "unchecked": self.unchecked,
            "units": self.units,
            "moving": self.moving,
            "ranks": self.ranks,
            "conditions": self.conditions,
            "step_sizes": self.step_sizes,
        }
        return finite(values)

    def plot(self, path: str | Path) -> None:
        """Draws it into a PNG file.

        Raises:
          OptionError: without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise OptionError("A picture needs matplotlib: pip install 'mtnets[plot]'.") from error
        figure = Figure(figsize=(12, 7), layout="constrained")
        axes = figure.subplots(2, 2)
        _draw_curve(axes[0, 0], self)
        _draw_parts(axes[0, 1], self)
        _draw_layers(axes[1, 0], self)
        _draw_gradients(axes[1, 1], self)
        with replacing(path) as file:
            figure.savefig(file, dpi=110, format="png")


def diagnose(
    learner: Learner,
    tasks: Family | Distribution,
    num_tasks: int = 200,
    *,
    inner_steps: int | None = None,
    seed: int = TEST_SEED,
    finite_differences: bool = True,
) -> Diagnosis:
    """Examines a learner on test tasks.

    Args:
      learner: what was meta-trained.
      tasks: a family, whose `.test` is used, or a bare distribution.
      num_tasks: how many tasks are drawn for scores.
      inner_steps: how far the curve goes; twice those of training, at least 5, unless given.
      seed: of the tasks.
      finite_differences: whether to check the meta-gradient, in double precision; it compiles two more programs.

    Raises:
      OptionError: for counts below 1.
    """
    if num_tasks < 2:
        raise OptionError(f"num_tasks is {num_tasks}; an interval needs at least 2.")
    inner, distribution = learner.inner, tasks.test if isinstance(tasks, Family) else tasks
    steps = max(5, 2 * inner.steps) if inner_steps is None else inner_steps
    curve = evaluate(learner, distribution, num_tasks, inner_steps=steps, seed=seed)

    parts = {}
    if len(inner.layers) > 1:
        names = [layer.name for layer in inner.layers]
        for part, still in {"head": names[:-1], "body": names[-1:]}.items():
            rules = [learner.method.rule, learner.method.test_rule or learner.method.rule]
            rule, test_rule = (fixed(rule, still) for rule in rules)
            method = dataclasses.replace(learner.method, rule=rule, test_rule=test_rule)
            restricted = dataclasses.replace(learner, method=method)
            parts[part] = evaluate(restricted, distribution, num_tasks, inner_steps=inner.steps, seed=seed)

    keys = jax.random.split(jax.random.key(seed), FEW)
    at_once = default_at_once(learner.meta.params, FEW)
    found = jax.jit(lambda *args: meta_gradient(inner, *args, at_once=at_once))(
        learner.meta, learner.state, learner.inner_lr, distribution, keys
    )
    gradients = {path: float(jnp.linalg.norm(leaf)) for path, leaf in leaves_by_path(found.gradient).items()}
    checks, unchecked = _check(learner, distribution, keys[:CHECKED]) if finite_differences else ({}, {})

    singular = learner.method.folding.spectra(inner.layers, learner.meta.fold)
    diagnosis = Diagnosis(
        curve=curve,
        inner_steps=inner.steps,
        parts=parts,
        gradients={path: norm if np.isfinite(norm) else float("nan") for path, norm in gradients.items()},
        checks=checks,
        unchecked=unchecked,
        units={layer.name: layer.units for layer in inner.layers},
        moving=learner.moving(),
        ranks=update_ranks(learner, distribution, keys),
        conditions={path: float(s[0] / max(s[-1], 1e-30)) for path, s in singular.items()},
        step_sizes={path: float((s**2).mean()) for path, s in singular.items()},
    )
    return dataclasses.replace(diagnosis, findings=tuple(_findings(learner, diagnosis)))


def update_ranks(learner: Learner, tasks: Distribution, keys: jax.Array) -> dict[str, float]:
    """Mean rank of the updates that tasks make to each layer's folded weights: how many directions they really use.

    A direction counts if its singular value is above 1/1000 of the update's largest, and above 10⁻⁶ of the largest of
    the weights themselves: below that is what single precision rounds away, and a layer that does not move has rank 0.

    Args:
      learner: what was meta-trained.
      tasks: where tasks come from.
      keys: one for each task, `[tasks]`.
    """
    inner = learner.inner
    rule = inner.method.test_rule or inner.method.rule

    def begin(meta: Meta) -> tuple[Any, dict[str, jax.Array]]:
        start = starting_point(inner, meta)
        leaves = leaves_by_path(meta.params) | start.folded
        return start, {layer.name: layer.matrix(leaves) for layer in inner.layers}

    def update(context: Any, key: jax.Array) -> dict[str, jax.Array]:
        meta, state, inner_lr, tasks = context
        draw, learn = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        start, before = begin(meta)
        support = tasks.sample(draw).support
        after = leaves_by_path(inner_loop(inner, start, state, inner_lr, support, learn, rule=rule).params)
        return {layer.name: layer.matrix(after) - before[layer.name] for layer in inner.layers}

    context = (learner.meta, learner.state, learner.inner_lr, tasks)
    at_once = default_at_once(learner.meta.params, len(keys))
    with surfacing():
        updates = jax.jit(lambda context, keys: map_over(update, context, keys, at_once=at_once))(context, keys)
        updates = jax.tree.map(np.asarray, updates)
    starts = jax.jit(lambda meta: begin(meta)[1])(learner.meta)
    ranks = {}
    for name, matrices in updates.items():
        start = np.asarray(starts[name], np.float64)
        floor = 1e-6 * np.linalg.norm(start, 2) if np.isfinite(start).all() else np.inf
        kept = [m for m in np.asarray(matrices, np.float64) if np.isfinite(m).all()]
        singular = [np.linalg.svd(m, compute_uv=False) for m in kept]
        ranks[name] = float(np.mean([(s > max(1e-3 * s[0], floor)).sum() for s in singular])) if kept else np.nan
    return ranks


def _check(learner: Learner, tasks: Distribution, keys: jax.Array) -> tuple[dict[str, Check], dict[str, str]]:
    """Finite differences of the exact meta-loss in double precision, along one random direction in each part."""
    inner, surrogate = learner.inner, learner.method.rule.surrogate
    parts = [part for part in learner.meta._fields if jax.tree.leaves(getattr(learner.meta, part))]
    if surrogate == "gradient":
        reason = "the rule holds constant what it makes of gradients (singular vectors)"
        return {}, dict.fromkeys(parts, reason)
    unchecked = {"rule": "masks are differentiated straight through"} if surrogate == "arrays" else {}
    method = dataclasses.replace(learner.method, meta_gradient="exact", last_steps=None, estimator_options={})
    inner = Inner(inner.model, method, inner.loss, inner.steps)
    with surfacing():
        drawn: Any = [(tasks.sample(jax.random.fold_in(key, 0)), jax.random.fold_in(key, 1)) for key in keys]
        jax.block_until_ready(drawn)
    with enable_x64(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # a network that keeps statistics in single precision
        meta, state, drawn = (_double(tree) for tree in (learner.meta, learner.state, drawn))

        @jax.jit
        def loss(meta: Any) -> Any:
            start: Start = starting_point(inner, meta)
            total = 0.0
            for task, key in drawn:
                inner_key, query_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
                episode = Episode(inner, state, float(learner.inner_lr), task, inner_key, query_key)
                total += episode.objective(start)[0] / len(drawn)
            return total

        gradient = jax.jit(jax.grad(loss))(meta)
        random, checks = np.random.default_rng(0), {}
        for part in parts:
            if part in unchecked:
                continue
            tree = getattr(meta, part)
            direction = jax.tree.map(lambda a: random.normal(size=a.shape), tree)
            size = np.sqrt(_dot(tree, tree) / _dot(direction, direction)) or 1.0
            ahead, behind = (
                float(loss(meta._replace(**{part: jax.tree.map(lambda a, d, h=h: a + h * d, tree, direction)})))
                for h in (STEP * size, -STEP * size)
            )
            automatic = _dot(getattr(gradient, part), direction)
            noise = 100 * np.finfo(np.float64).eps * abs(ahead) / (STEP * size)
            checks[part] = Check(automatic, (ahead - behind) / (2 * STEP * size), noise)
    return checks, unchecked


def _double(tree: Any) -> Any:
    def convert(leaf: Any) -> Any:
        return jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(convert, tree)


def _dot(a: Any, b: Any) -> float:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return float(sum(np.vdot(np.asarray(x), np.asarray(y)) for x, y in pairs))


# --- what it means


def _findings(learner: Learner, d: Diagnosis) -> list[Finding]:
    return [Finding(*found) for about in (_gradients, _adaptation, _parts, _layers) for found in about(learner, d)]


def _gradients(learner: Learner, d: Diagnosis) -> Iterator[tuple[Severity, str]]:
    metric = "the metric" if d.conditions else "offsets per step"
    names = {"params": "the network's parameters", "fold": metric, "rule": "the rule"}
    wrong = {part: check for part, check in d.checks.items() if not check.error < AGREES}
    right = [names[part] for part in d.checks if part not in wrong]
    if right:
        estimator = learner.method.estimator.name
        but = "" if estimator == "exact" else f"; this method trains with the {estimator} one, which is not it"
        yield "good", f"Finite differences confirm the exact meta-gradient of {_and(right)}{but}."
    for part, check in wrong.items():
        yield (
            "warning",
            f"The exact meta-gradient of {names[part]} is {check.automatic:.4g} along a random direction, and finite "
            f"differences say {check.differences:.4g}. Look in the network and the loss for what has no derivative "
            "(rounding, argmax, stop_gradient, a custom gradient) or is random without using the key.",
        )
    for part, reason in d.unchecked.items():
        yield "note", f"Finite differences say nothing about {names[part]}: {reason}, by design."
    broken = [path for path, norm in d.gradients.items() if not np.isfinite(norm)]
    if broken:
        advice = "Try a smaller inner rate, inner_clip=1.0 or fewer inner steps."
        yield "warning", f"The meta-gradient of {_some(broken)} is not finite. {advice}"
    # offsets per step stand in for the network's own
    replaced = {path.replace("fold.offsets.", "params.", 1) for path in d.gradients if path.startswith("fold.offsets.")}
    nothing = NOTHING * max(filter(np.isfinite, d.gradients.values()), default=0.0)
    zero = [path for path, norm in d.gradients.items() if norm <= nothing and path not in replaced]
    if zero:
        before_norm = learner.model.norm != "none" and any(path.endswith("bias") for path in zero)
        why = " (a bias just before batch norm has none, since the mean is subtracted)" if before_norm else ""
        yield "note", f"The meta-gradient of {_some(zero)} is zero: it does not learn{why}."


def _adaptation(learner: Learner, d: Diagnosis) -> Iterator[tuple[Severity, str]]:
    curve, n, last = d.curve, d.inner_steps, len(d.curve.mean) - 1
    name, sign = curve.metric, 1.0 if METRICS[learner.loss][2] else -1.0
    if n:
        gain = sign * (curve.scores[:, n].astype(np.float64) - curve.scores[:, 0])
        with np.errstate(all="ignore"):  # infinite where tasks diverged
            mean, half = float(gain.mean()), float(1.96 * gain.std(ddof=1) / np.sqrt(len(gain)))
        said = (
            f"{name} {curve.mean[0]:.4g} before and {curve.mean[n]:.4g} after {_steps(n)} on {curve.num_tasks} test "
            f"tasks (gain {mean:.4g} ± {half:.2g})"
        )
        if mean > half:
            yield "good", f"Adaptation helps: {said}."
        elif abs(mean) <= half and not curve.diverged[: n + 1].any():
            advice = "Try a larger inner rate, learned rates (rates='layer-step') or a longer training."
            yield "warning", f"Adaptation does not help: {said}. {advice}"
        else:
            advice = "Try a smaller inner rate, inner_clip=1.0 or learned rates (rates='layer-step')."
            yield "warning", f"Adaptation makes it worse: {said}. {advice}"
    usable = np.where(np.isfinite(curve.mean), sign * curve.mean, -np.inf)
    best = int(np.argmax(usable))
    if best > n and usable[best] > usable[n] + float(curve.ci95[best]):
        said = f"{name} {curve.mean[best]:.4g} after {best}; evaluate and adapt with inner_steps={best}"
        yield "note", f"More inner steps than in training still help: {said}."
    elif 0 < best < n:
        said = f"The best {name}, {curve.mean[best]:.4g}, comes after {best} of {_steps(n)}"
        yield "note", f"{said}; later ones overfit or overshoot. Try a smaller inner rate or rates='layer-step'."
    diverged = curve.diverged
    if diverged[: n + 1].max() > 0:
        advice = "Try inner_clip=1.0, a smaller inner rate, or learned rates."
        yield "warning", f"{diverged[: n + 1].max():.2%} of the tasks diverge within {_steps(n)}. {advice}"
    elif diverged.max() > 0:
        advice = "To use more steps than in training, train with more, or with inner_clip=10."
        yield "note", f"{diverged.max():.2%} of the tasks diverge by step {last}, none by step {n}. {advice}"
    else:
        yield "good", f"No task diverges within {_steps(last)}."


def _parts(learner: Learner, d: Diagnosis) -> Iterator[tuple[Severity, str]]:
    n = d.inner_steps
    if not d.parts or not n:
        return
    before, whole = float(d.curve.mean[0]), float(d.curve.mean[n])
    head, body = (float(d.parts[part].mean[n]) for part in ("head", "body"))
    better = METRICS[learner.loss][2]
    if np.isfinite([whole, head, body]).all() and (whole > before if better else whole < before):
        shares = [f"{(score - before) / (whole - before):.0%}" for score in (head, body)]
        yield (
            "note",
            f"With the head alone moving, {d.curve.metric} is {head:.4g}; with the body alone, {body:.4g}; with both, "
            f"{whole:.4g} ({' and '.join(shares)} of the gain).",
        )


def _layers(learner: Learner, d: Diagnosis) -> Iterator[tuple[Severity, str]]:
    if d.moving:
        expected = {name: share * d.units[name] for name, share in d.moving.items()}
        listed = ", ".join(f"{name} {expected[name]:.1f} of {d.units[name]}" for name in d.moving)
        yield "note", f"Units that a task moves, on average: {listed}."
        still = [name for name, share in d.moving.items() if share < 0.05]
        if still:
            yield "note", f"Tasks hardly move {_some(still)}; leaving it out (adapts=…) would change little."
        free = [name for name, share in d.moving.items() if share > 0.95]
        if free:
            yield "note", f"The mask of {_some(free)} lets nearly everything move; there it makes no difference."
    if d.ranks:
        listed = ", ".join(f"{name} {rank:.1f}" for name, rank in d.ranks.items())
        yield "note", f"Rank of a task's update, mean over {FEW} tasks: {listed}."
    lost = [name for name, condition in d.conditions.items() if condition > 1e4]
    if lost:
        said = f"The metric of {_some(lost)} is nearly singular (condition number {max(d.conditions.values()):.2g})"
        yield "warning", f"{said}: some directions cannot move. Try clip_norm=10 or a smaller meta_lr."
    elif d.conditions:
        yield "good", f"Every metric is well conditioned (condition number at most {max(d.conditions.values()):.3g})."
    alpha = float(learner.inner_lr)
    large = {name: factor for name, factor in d.step_sizes.items() if not 0.25 <= factor <= 4}
    if large:
        listed = ", ".join(f"{name} × {factor:.2g} (to {alpha * factor:.2g})" for name, factor in large.items())
        yield (
            "note",
            f"The metric has changed the step size {alpha:g}: {listed}. A start nearer to that helps.",
        )


def _steps(n: int) -> str:
    return f"{n} inner step" + "s" * (n != 1)


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


# --- the picture; colours are told apart by colour-blind readers too

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.6"


def _draw_curve(ax: Any, d: Diagnosis) -> None:
    scores, steps = d.curve.scores.astype(np.float64), np.arange(d.curve.scores.shape[1])
    with np.errstate(all="ignore"):
        low, high = np.nanquantile(np.where(np.isfinite(scores), scores, np.nan), [0.1, 0.9], axis=0)
    ax.fill_between(steps, low, high, color=BLUE, alpha=0.15, label="80 % of tasks")
    ax.errorbar(steps, d.curve.mean, d.curve.ci95, color=BLUE, marker="o", label="mean ± 95 %")
    ax.plot(steps, d.curve.median, color=ORANGE, linestyle="--", label="median")
    ax.axvline(d.inner_steps, color=GREY, linestyle=":", label="steps of training")
    if d.curve.metric == "loss" and np.nanmin(low) > 0:
        ax.set_yscale("log")
    ax.set(title="Does adaptation help?", xlabel="inner steps", ylabel=f"{d.curve.metric} on query sets")
    ax.legend(fontsize=8)


def _draw_parts(ax: Any, d: Diagnosis) -> None:
    n = d.inner_steps
    bars = {"before": (d.curve, 0)}
    bars |= {f"{name} alone": (estimate, n) for name, estimate in d.parts.items()} | {"all": (d.curve, n)}
    for i, (name, (estimate, step)) in enumerate(bars.items()):
        ax.bar(i, estimate.mean[step], color=GREY if name == "before" else BLUE, yerr=estimate.ci95[step], capsize=4)
    ax.set_xticks(range(len(bars)), bars)
    ax.set(title=f"What moves, after {_steps(n)}", ylabel=f"mean {d.curve.metric} ± 95 %")


def _draw_layers(ax: Any, d: Diagnosis) -> None:
    names = list(d.units)
    x = np.arange(len(names))
    expected = [d.moving.get(name, np.nan) * d.units[name] for name in names]
    ax.bar(x - 0.27, [d.units[name] for name in names], 0.25, color=GREY, label="units")
    if d.moving:
        ax.bar(x, expected, 0.25, color=ORANGE, label="units that move (expected)")
    ax.bar(
        x + (0.27 if d.moving else 0),
        [d.ranks.get(name, np.nan) for name in names],
        0.25,
        color=BLUE,
        label="rank of the update",
    )
    ax.set_xticks(x, names, rotation=20 if len(names) > 3 else 0)
    ax.set(title="How much of each layer a task moves", ylabel="number")
    ax.margins(y=0.3)  # so that the legend hides no bar
    ax.legend(fontsize=8, loc="upper right")


def _draw_gradients(ax: Any, d: Diagnosis) -> None:
    names, norms = list(d.gradients), np.array(list(d.gradients.values()))
    shown = np.argsort(-np.where(np.isnan(norms), np.inf, norms))[:24][::-1]
    values = [norms[i] if norms[i] > 0 else np.nan for i in shown]
    ax.barh(range(len(shown)), values, color=BLUE)
    labels = [names[i] + ("" if norms[i] > 0 else "  (zero)" if norms[i] == 0 else "  (not finite)") for i in shown]
    ax.set_yticks(range(len(shown)), labels, fontsize=6)
    if np.nanmax(np.where(norms > 0, norms, np.nan), initial=0) > 0:
        ax.set_xscale("log")
    ax.set(title="Meta-gradient by leaf", xlabel="norm")
