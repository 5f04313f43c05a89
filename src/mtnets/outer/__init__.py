"""The outer loop: settings, the meta-gradient, the compiled program, the loop, the run folder.

Reading order: gradient, program, settings, plan, phases, loop, log, forecast, batching, checkpoints, run, folders,
opening, progress, train.
"""

from mtnets.outer.forecast import Need, memory_needed
from mtnets.outer.gradient import MetaStep, meta_gradient
from mtnets.outer.run import RunResult
from mtnets.outer.settings import Training, TrainingOptions
from mtnets.outer.train import meta_train, run_training

__all__ = [
    "MetaStep",
    "Need",
    "RunResult",
    "Training",
    "TrainingOptions",
    "memory_needed",
    "meta_gradient",
    "meta_train",
    "run_training",
]
