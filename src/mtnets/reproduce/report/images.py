"""Tables and figures of the image experiments: accuracy, and the share of units that move."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtnets.reproduce.report.drawing import COLOURS, figure, save
from mtnets.reproduce.report.tables import NAMES, Published, head, reached, row

Parts = Mapping[str, Mapping[str, Any]]
Section = Callable[[Parts, Path], list[str]]

# Accuracy in per cent, as printed, by ways, shots and method.
OMNIGLOT = {
    (5, 1, "maml"): Published(98.7, 0.4),
    (5, 1, "meta_sgd"): Published(99.53, 0.26),
    (5, 1, "mt_net"): Published(99.5),
    (20, 1, "maml"): Published(95.8, 0.3),
    (20, 1, "meta_sgd"): Published(95.93, 0.38),
    (20, 1, "mt_net"): Published(96.2),
}
MINIIMAGENET = {
    (5, 1, "maml"): Published(48.70, 1.84),
    (5, 1, "meta_sgd"): Published(50.47, 1.87),
    (5, 1, "t_net"): Published(50.86, 1.82),
    (5, 1, "mt_net"): Published(51.70, 1.84),
}
STYLES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "v"))  # line and marker, by kind of tasks
CIFAR_FS = {(5, 1, "maml"): Published(58.9, 1.9), (5, 5, "maml"): Published(71.5, 1.0)}


def images(published: Mapping[tuple[int, int, str], Published], whole: int) -> Section:
    """The section on an image experiment.

    Args:
      published: what was printed.
      whole: meta-steps of a whole training.
    """

    def section(parts: Parts, figures: Path) -> list[str]:
        found = sorted(parts.items(), key=lambda item: _order(item[1]))
        first = found[0][1]
        lines = [
            f"`{first['command']}`: {first['tests']['test']['num_tasks']} test tasks, seed {first['seed']}; accuracy "
            "in % after as many inner steps as in training, ± 95 % over tasks (one seed: nothing over seeds). “its "
            "validation” are the validation classes, on which the MT-net's code reported by mistake. A whole training "
            f"has {whole} meta-steps: what has fewer is unfinished, and has no verdict unless it is there already.",
            "",
            *head(
                "tasks", "method", "meta-steps", "test classes", "its validation", "best step", "moving by layer",
                "published", "verdict", "s per meta-step",
            ),
        ]  # fmt: skip
        for name, part in found:
            method, printed = part["method"], _published(part, published)
            test, steps = part["tests"]["test"]["inner_steps"], part["inner_steps"]
            held = "–"
            if printed:
                good = reached(100 * test[steps]["mean"], 100 * test[steps]["ci95"], printed, larger_is_better=True)
                held = "holds" if good else "does not" if part["meta_steps"] >= whole else "unfinished"
            best = max(test, key=lambda step: step["mean"] or 0)
            moving = " / ".join(f"{share:.2f}" for share in part["moving"].values()) or "–"
            lines.append(
                row(
                    _tasks(name, part),
                    NAMES.get(method, method),
                    f"{part['meta_steps']:,}".replace(",", " "),
                    _accuracy(test[steps]),
                    _accuracy(part["tests"]["validation"]["inner_steps"][steps]),
                    f"{_accuracy(best)} at {best['step']}",
                    moving,
                    "–" if printed is None else f"{printed.value}" + (f" ± {printed.half}" if printed.half else ""),
                    held,
                    "–" if not part["seconds_per_meta_step"] else f"{part['seconds_per_meta_step']:.2f}",
                )
            )
        return [*lines, "", _draw(found, published, whole, figures / f"{first['command'].split()[-1]}.png")]

    return section


def _draw(
    parts: Sequence[tuple[str, Mapping[str, Any]]],
    published: Mapping[tuple[int, int, str], Published],
    whole: int,
    path: Path,
) -> str:
    """Error over training of all methods, and the share of units that the MT-nets let a task move, by layer.

    A method is a colour, the kind of tasks a marker and a line style.
    """
    movers = [(name, part) for name, part in parts if part["method"] == "mt_net" and part.get("course")]
    made, (errors, *shares) = figure(1 + len(movers), width=6 + 3 * len(movers), height=4.4, share=False)
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    methods = list(dict.fromkeys(part["method"] for _, part in parts))
    kinds = list(dict.fromkeys(_tasks(name, part) for name, part in parts))
    for name, part in parts:
        method, (line, marker) = part["method"], STYLES[kinds.index(_tasks(name, part)) % len(STYLES)]
        colour, course = COLOURS.get(method, "black"), part.get("course", ())
        steps, wrong = [span["step"] for span in course], [100 * (1 - span["accuracy"]) for span in course]
        errors.plot(steps, wrong, line, color=colour)
        test = part["tests"]["test"]["inner_steps"][part["inner_steps"]]
        bar = {"fmt": marker, "color": colour, "markersize": 6, "capsize": 3}
        errors.errorbar(part["meta_steps"], 100 * (1 - test["mean"]), 100 * (test["ci95"] or 0), **bar)
        printed = _published(part, published)
        if printed:
            errors.errorbar(1.2 * whole, 100 - printed.value, printed.half or None, **(bar | {"mfc": "white"}))
    errors.set(xlabel="meta-steps", ylabel="error in %", xscale="log", yscale="log")
    errors.set_title("training (lines), test (filled), published (hollow, right)", fontsize=9)
    for axis in (errors.xaxis, errors.yaxis):
        axis.set_major_formatter("{x:g}")
    errors.grid(alpha=0.3, which="both")
    keys = [Line2D([], [], color=COLOURS.get(name, "black"), label=NAMES.get(name, name)) for name in methods]
    for kind, (line, marker) in zip(kinds, STYLES, strict=False):
        keys.append(Line2D([], [], ls=line, marker=marker, color="0.4", label=kind))
    errors.legend(handles=keys, fontsize=7, loc="lower left")
    for ax, (name, part) in zip(shares, movers, strict=True):
        layers = list(part["course"][-1]["moving"])
        for i, layer in enumerate(layers):
            steps = [span["step"] for span in part["course"]]
            colour = colormaps["viridis"](0.9 * i / max(1, len(layers) - 1))
            ax.plot(steps, [span["moving"][layer] for span in part["course"]], color=colour, label=layer)
        ax.set(xlabel="meta-steps", ylim=(0, 1))
        ax.locator_params(axis="x", nbins=5)
        ax.set_title(f"share of units that a task moves\n(MT-net, {_tasks(name, part)})", fontsize=9)
        ax.grid(alpha=0.3)
        ax.legend(fontsize=7)
    return save(made, path)


def _tasks(name: str, part: Mapping[str, Any]) -> str:
    """What a run was trained on, as people say it."""
    return name.replace(f"-{part['method']}", "").replace("-", " ")


def _published(part: Mapping[str, Any], published: Mapping[tuple[int, int, str], Published]) -> Published | None:
    """What was printed of the same tasks and method, if anything."""
    tasks = part["config"]["tasks"]
    if tasks.get("split", "random") != "random":
        return None
    return published.get((tasks["ways"], tasks["shots"], part["method"]))


def _order(part: Mapping[str, Any]) -> tuple[Any, ...]:
    tasks, method = part["config"]["tasks"], part["method"]
    names = list(NAMES)
    return tasks.get("split", ""), tasks["ways"], tasks["shots"], names.index(method) if method in names else 99


def _accuracy(step: Mapping[str, Any]) -> str:
    return f"{100 * step['mean']:.1f} ± {100 * (step['ci95'] or 0):.1f}"
