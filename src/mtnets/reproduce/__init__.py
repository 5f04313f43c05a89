"""The paper's experiments, one command each: `mtnets reproduce NAME`.

Each writes one JSON per part, and goes on where it was stopped; `mtnets reproduce report` draws tables and figures from
those files alone.
"""

from mtnets.reproduce.complexity import Complexity
from mtnets.reproduce.images import CifarFs, ImageExperiment, MiniImageNet, Omniglot
from mtnets.reproduce.report import Report
from mtnets.reproduce.robustness import Robustness
from mtnets.reproduce.sine import Sine
from mtnets.reproduce.updrs import Updrs
from mtnets.reproduce.variants import SineVariants

COMMANDS = {
    "sine": Sine,
    "sine-variants": SineVariants,
    "robustness": Robustness,
    "complexity": Complexity,
    "omniglot": Omniglot,
    "miniimagenet": MiniImageNet,
    "cifar-fs": CifarFs,
    "updrs": Updrs,
    "report": Report,
}

__all__ = [
    "COMMANDS",
    "CifarFs",
    "Complexity",
    "ImageExperiment",
    "MiniImageNet",
    "Omniglot",
    "Report",
    "Robustness",
    "Sine",
    "SineVariants",
    "Updrs",
]
