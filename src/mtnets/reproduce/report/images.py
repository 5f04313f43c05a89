"""Tables of the image experiments: accuracy, and the share of units that move."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
            tasks = part["config"]["tasks"]
            ways, shots, method = tasks["ways"], tasks["shots"], part["method"]
            printed = published.get((ways, shots, method)) if tasks.get("split", "random") == "random" else None
            test, steps = part["tests"]["test"]["inner_steps"], part["inner_steps"]
            held = "–"
            if printed:
                good = reached(100 * test[steps]["mean"], 100 * test[steps]["ci95"], printed, larger_is_better=True)
                held = "holds" if good else "does not" if part["meta_steps"] >= whole else "unfinished"
            best = max(test, key=lambda step: step["mean"] or 0)
            moving = " / ".join(f"{share:.2f}" for share in part["moving"].values()) or "–"
            lines.append(
                row(
                    name.replace(f"-{method}", "").replace("-", " "),
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
        return lines

    return section


def _order(part: Mapping[str, Any]) -> tuple[Any, ...]:
    tasks, method = part["config"]["tasks"], part["method"]
    names = list(NAMES)
    return tasks.get("split", ""), tasks["ways"], tasks["shots"], names.index(method) if method in names else 99


def _accuracy(step: Mapping[str, Any]) -> str:
    return f"{100 * step['mean']:.1f} ± {100 * (step['ci95'] or 0):.1f}"
