"""Tables and figures of the image experiments: accuracy, and the share of units that move."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from experiments.report.drawing import COLOURS, figure, save
from experiments.report.tables import Parts, Published, head, place, reached, row, title
from experiments.resumable import Part, command
from experiments.scores import interval95

Section = Callable[[Parts, Path], list[str]]
Printed = Mapping[tuple[int, int, str], Published]  # accuracy in per cent by ways, shots and method
Groups = Mapping[tuple[str, str], Sequence[Part]]  # the seeds of the same tasks and method

OMNIGLOT: Printed = {
    (5, 1, "maml"): Published(98.7, 0.4),
    (5, 1, "meta_sgd"): Published(99.53, 0.26),
    (5, 1, "mt_net"): Published(99.5),
    (20, 1, "maml"): Published(95.8, 0.3),
    (20, 1, "meta_sgd"): Published(95.93, 0.38),
    (20, 1, "mt_net"): Published(96.2),
}
MINIIMAGENET: Printed = {
    (5, 1, "maml"): Published(48.70, 1.84),
    (5, 1, "meta_sgd"): Published(50.47, 1.87),
    (5, 1, "t_net"): Published(50.86, 1.82),
    (5, 1, "mt_net"): Published(51.70, 1.84),
}
CIFAR_FS: Printed = {(5, 1, "maml"): Published(58.9, 1.9), (5, 5, "maml"): Published(71.5, 1.0)}
RANDOM = "random split"  # the paper's; also that of families with a single split
STYLES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "v"))  # line and marker, by kind of tasks


def images(name: str, published: Printed, whole: int) -> Section:
    """The writer of a section on few-shot classification.

    Args:
      name: of the experiment.
      published: printed accuracies.
      whole: meta-steps of a whole training.
    """

    def section(parts: Parts, figures: Path) -> list[str]:
        groups: dict[tuple[str, str], list[Part]] = {}
        for part in sorted(parts.values(), key=_order):
            groups.setdefault((_tasks(part), part["method"]), []).append(part)
        first = next(iter(parts.values()))
        steps = ("test classes", "± seeds", "its validation", "best step", "moving by layer", "published", "verdict")
        lines = [
            f"`{command(name)}`: {first['tests']['test']['num_tasks']} test tasks; accuracy in % after as many "
            "inner steps as in training, ± 95 % over tasks; ± seeds where there are several. “its validation” are the "
            "validation classes, on which the MT-net's code reported by mistake. The best number of inner steps is "
            "picked on the test tasks: it is for orientation. The learner is the last one, as in the paper; "
            "with our recipe the one that did best on tasks of the validation classes. "
            f"A whole training has {_thousands(whole)} meta-steps: what has fewer is unfinished, and has no verdict "
            "unless it is there already. Hours are meta-steps times the seconds that one took on the machine of the "
            "JSON, which other work shared.",
            "",
            *head("tasks", "method", "meta-steps", *steps, "hours"),
        ]
        lines += [_row(kind, group, published, whole) for (kind, _), group in groups.items()]
        return [*lines, "", _draw(groups, published, whole, figures / f"{name}.png")]

    return section


def _row(kind: str, group: Sequence[Part], published: Printed, whole: int) -> str:
    """A method on a kind of tasks, averaged over seeds."""
    part = group[0]
    method, printed, steps = part["method"], _published(part, published), part["inner_steps"]
    test, validation = (
        [_mean([each["tests"][split]["inner_steps"][step] for each in group]) for step in range(_steps(group))]
        for split in ("test", "validation")
    )
    length = min(each["meta_steps"] for each in group)
    held = "–"
    if printed:
        good = reached(100 * test[steps].mean, 100 * test[steps].half, printed, larger_is_better=True)
        held = "holds" if good else "unfinished" if length < whole else "does not"
    best = max(range(len(test)), key=lambda step: test[step].mean)
    shares = {layer: fmean(each["moving"][layer] for each in group) for layer in part["moving"]}
    moving = " / ".join(f"{share:.2f}" for share in shares.values()) or "–"
    spread = [100 * each["tests"]["test"]["inner_steps"][steps]["mean"] for each in group]
    seconds = [each["seconds_per_meta_step"] for each in group if each["seconds_per_meta_step"]]
    return row(
        kind,
        title(method),
        _thousands(length),
        _accuracy(test[steps]),
        f"± {float(interval95(np.array(spread))):.1f} ({len(group)})" if len(group) > 1 else "–",
        _accuracy(validation[steps]),
        f"{_accuracy(test[best])} at {best}",
        moving,
        "–" if not printed else f"{printed.value}" + (f" ± {printed.half}" if printed.half else ""),
        held,
        f"{fmean(seconds) * length / 3600:.1f}" if seconds else "–",
    )


def _draw(groups: Groups, published: Printed, whole: int, path: Path) -> str:
    """Error over training of all methods, a panel for each number of ways and shots; and the share of units that the
    MT-nets let a task move, by layer.

    A method is a colour, a split of the classes a marker and a line style.
    """
    sizes = list(dict.fromkeys(_size(group[0]) for group in groups.values()))
    movers = {_size(group[0]): group[0] for group in groups.values() if _moves(group[0])}
    panels = len(sizes) + len(movers)
    canvas, axes = figure(panels, width=4.3 * panels, height=4.4, share=False)
    methods = sorted({method for _, method in groups}, key=place)
    for ax, size in zip(axes, sizes, strict=False):
        shown = [group for group in groups.values() if _size(group[0]) == size]
        _draw_errors(ax, size, shown, methods, published, whole)
    for ax, (size, part) in zip(axes[len(sizes) :], movers.items(), strict=True):
        _draw_movers(ax, size, part)
    return save(canvas, path)


def _draw_errors(
    ax: Any, size: str, groups: Sequence[Sequence[Part]], methods: Sequence[str], published: Printed, whole: int
) -> None:
    """A panel: error in training (lines), at test (filled markers), and as published (hollow markers)."""
    splits = list(dict.fromkeys(_split(group[0]) for group in groups))
    for group in groups:
        part, course = group[0], group[0].get("course") or ()
        line, marker = STYLES[splits.index(_split(part)) % len(STYLES)]
        colour = COLOURS.get(part["method"], "black")
        # side by side where trainings are of one length
        aside = 1 + 0.06 * (methods.index(part["method"]) - (len(methods) - 1) / 2)
        steps, wrong = [span["step"] for span in course], [100 - 100 * span["accuracy"] for span in course]
        ax.plot(steps, wrong, line, color=colour, linewidth=1)
        test = _mean([each["tests"]["test"]["inner_steps"][part["inner_steps"]] for each in group])
        bar = {"fmt": marker, "color": colour, "markersize": 6, "capsize": 3}
        ax.errorbar(aside * part["meta_steps"], 100 - 100 * test.mean, 100 * test.half, **bar)
        printed = _published(part, published)
        if printed:
            ax.errorbar(1.6 * aside * whole, 100 - printed.value, printed.half or None, **(bar | {"mfc": "white"}))
    ax.axvline(1.25 * whole, color="0.7", linewidth=1)
    ax.set(xlabel="meta-steps", xscale="log", yscale="log")
    ax.set_title(f"{size}: error in %\ntraining (lines), test (filled) | published (hollow)", fontsize=9)
    _set_ticks(ax, whole)
    ax.grid(alpha=0.3)
    used = [method for method in methods if any(group[0]["method"] == method for group in groups)]
    _add_legend(ax, used, splits)


def _set_ticks(ax: Any, whole: int) -> None:
    from matplotlib.ticker import NullFormatter

    ticks: Sequence[float] = [100, 1000, 10_000, whole]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    low, high = ax.get_ylim()
    ticks = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if high > 8 * low else (10, 20, 30, 40, 50, 60, 70, 80)
    ax.set_yticks([tick for tick in ticks if low <= tick <= high])
    ax.yaxis.set_major_formatter("{x:g}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())


def _add_legend(ax: Any, methods: Sequence[str], splits: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    keys = [Line2D([], [], color=COLOURS.get(method, "black"), label=title(method)) for method in methods]
    if len(splits) > 1:
        for split, (line, marker) in zip(splits, STYLES, strict=False):
            keys.append(Line2D([], [], ls=line, marker=marker, color="0.4", label=split))
    ax.legend(handles=keys, fontsize=7, loc="lower left")


def _draw_movers(ax: Any, size: str, part: Part) -> None:
    """A panel: the share of units that a task moves over training, by layer."""
    from matplotlib import colormaps

    layers = list(part["course"][-1]["moving"])
    for i, layer in enumerate(layers):
        steps = [span["step"] for span in part["course"]]
        colour = colormaps["viridis"](0.9 * i / max(1, len(layers) - 1))
        ax.plot(steps, [span["moving"][layer] for span in part["course"]], color=colour, label=layer)
    ax.set(xlabel="meta-steps", ylim=(0, 1))
    ax.locator_params(axis="x", nbins=4)
    ax.set_title(f"share of units that a task moves\n(MT-net, {size})", fontsize=9)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=7)


def _tasks(part: Part) -> str:
    """The tasks of a run, for people."""
    images = ", nearest pixels" if part["config"]["tasks"].get("resize") == "nearest" else ""
    return _size(part) + (f", {_split(part)}" if _split(part) != RANDOM else "") + images


def _size(part: Part) -> str:
    tasks = part["config"]["tasks"]
    return f"{tasks['ways']}-way {tasks['shots']}-shot"


def _split(part: Part) -> str:
    split = part["config"]["tasks"].get("split", "random")
    return "split of Vinyals" if split == "vinyals" else RANDOM


def _moves(part: Part) -> bool:
    """Whether to show the masks of a run over training: those of MT-nets on the paper's split."""
    return part["method"] == "mt_net" and bool(part.get("course")) and _split(part) == RANDOM


def _published(part: Part, published: Printed) -> Published | None:
    """The accuracy printed for the same tasks and method, if any."""
    tasks = part["config"]["tasks"]
    if _split(part) != RANDOM:
        return None
    return published.get((tasks["ways"], tasks["shots"], part["method"]))


def _order(part: Part) -> tuple[Any, ...]:
    tasks = part["config"]["tasks"]
    return _split(part), tasks["shots"], tasks["ways"], place(part["method"]), part["seed"]


class _Mean(NamedTuple):
    """Accuracy averaged over seeds, and the mean half-width of its intervals over tasks."""

    mean: float
    half: float


def _mean(steps: Sequence[Mapping[str, Any]]) -> _Mean:
    # a score that is not finite is None in JSON, and counts as 0
    return _Mean(fmean(step["mean"] or 0.0 for step in steps), fmean(step["ci95"] or 0.0 for step in steps))


def _steps(group: Sequence[Mapping[str, Any]]) -> int:
    return min(len(each["tests"]["test"]["inner_steps"]) for each in group)


def _accuracy(step: _Mean) -> str:
    return f"{100 * step.mean:.1f} ± {100 * step.half:.1f}"


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")
