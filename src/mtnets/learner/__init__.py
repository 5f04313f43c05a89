"""What a user holds after a training: the learner, the models that it adapts, their evaluation and files.

Reading order: tensors, data, compiled, task_files, adapted, learner, meeting, evaluate, predictions.
"""

from mtnets.learner.adapted import AdaptedModel, AdaptedModels, load_adapted
from mtnets.learner.evaluate import TEST_SEED, Estimate, evaluate
from mtnets.learner.learner import Learner, load
from mtnets.learner.predictions import Predictions, predict_files

__all__ = [
    "TEST_SEED",
    "AdaptedModel",
    "AdaptedModels",
    "Estimate",
    "Learner",
    "Predictions",
    "evaluate",
    "load",
    "load_adapted",
    "predict_files",
]
